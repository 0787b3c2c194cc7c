"""What the RADD goldens are recorded and checked with: one small network, the same weights on every machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from adapters.masked.denoiser import Denoiser
from adapters.masked.schedules import Geometric, LogLinear, Schedule
from adapters.radd.network import RaddNetwork, RaddSize
from tests.goldens.weights import frozen_state

GOLDENS = Path(__file__).parent.parent / "goldens"
SIZE = RaddSize(tokens=37, hidden=32, blocks=2, heads=4)
LENGTH = 16
#: Seeds of the weights, and of the averaged weights of a training run.
WEIGHTS, AVERAGED = 11, 12
SCHEDULES: dict[str, Schedule] = {"loglinear": LogLinear(), "geometric": Geometric(1e-4, 20.0)}


def config(noise: str = "loglinear", dtype: str = "float32") -> dict[str, Any]:
    """The authors' nested config of the small network."""
    return {
        "tokens": SIZE.tokens,
        "model": {
            "name": "golden_radd",
            "type": "ddit_wot",
            "hidden_size": SIZE.hidden,
            "cond_dim": 128,
            "length": LENGTH,
            "n_blocks": SIZE.blocks,
            "n_heads": SIZE.heads,
            "dropout": SIZE.dropout,
            "use_checkpoint": False,
            "dtype": dtype,
        },
        "noise": {"type": noise, "sigma_min": 1e-4, "sigma_max": 20},
        "training": {"ema": 0.9999},
    }


def weights(seed: int = WEIGHTS) -> dict[str, Tensor]:
    """Random parameters by their published names, the usually zero ones included; the rotary buffer is left out."""
    shapes = {name: tuple(p.shape) for name, p in RaddNetwork(SIZE).named_parameters()}
    return {name: torch.from_numpy(value) for name, value in frozen_state(shapes, seed).items()}


def network(dtype: torch.dtype = torch.float32) -> RaddNetwork:
    """The golden network, in eval mode."""
    made = RaddNetwork(SIZE, dtype)
    made.load_state_dict(weights(), strict=False)
    return made.eval()


def denoiser(noise: str, sequences: int) -> Denoiser:
    """The golden network with a noise schedule, counting for so many sequences."""
    made = Denoiser(network(), SCHEDULES[noise])
    made.counted.reset(sequences)
    return made


def write_hub(folder: Path) -> Path:
    """A Hub folder as the authors' `save_pretrained` leaves it."""
    folder.mkdir(parents=True)
    save_file({**network().state_dict(), **weights()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config()), encoding="utf-8")
    return folder


def write_run(root: Path) -> Path:
    """A training-run folder as the authors leave it: raw and averaged weights differ, the learning rate is numpy's."""
    saved = {
        "optimizer": {"state": {}, "param_groups": [{"lr": 3e-4 * np.minimum(7 / 2500, 1.0), "params": [0]}]},
        "model": network().state_dict(),
        "ema": {"decay": 0.9999, "num_updates": 7, "shadow_params": list(weights(AVERAGED).values())},
        "step": 7,
    }
    (root / ".hydra").mkdir(parents=True)
    (root / "checkpoints-meta").mkdir()
    (root / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config()), encoding="utf-8")
    torch.save(saved, root / "checkpoints-meta" / "checkpoint.pth")
    return root
