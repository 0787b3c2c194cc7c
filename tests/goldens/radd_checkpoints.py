"""The checkpoints on which RADD's goldens are recorded: random weights that any machine can rebuild.

    python -m tests.goldens.radd_checkpoints FOLDER

writes each as FOLDER/<name>, in the authors' published layouts. Their goldens are recorded from there with
``tdbench parity radd checkpoint=FOLDER/<name> upstream.path=CHECKOUT rounds=0 --record`` (for `run`, where only the
loading is of interest, with ``kinds=network``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from adapters.parity import frozen_state
from adapters.radd.network import RaddNetwork, RaddSize
from adapters.tokenizers import FILE_NAME, word_tokenizer

SIZE = RaddSize(tokens=37, hidden=32, blocks=2, heads=4)
LENGTH = 16
#: Seeds of the weights, and of the averaged weights of a training run.
WEIGHTS, AVERAGED = 11, 12


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


def write_hub(folder: Path, noise: str = "loglinear") -> Path:
    """A Hub folder as the authors' `save_pretrained` leaves it, and a tokenizer."""
    folder.mkdir(parents=True)
    save_file({**network().state_dict(), **weights()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config(noise)), encoding="utf-8")
    return _with_tokenizer(folder)


def write_run(root: Path) -> Path:
    """A training-run folder as the authors leave it: raw and averaged weights differ, the learning rate is numpy's.
    And a tokenizer."""
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
    return _with_tokenizer(root)


def _with_tokenizer(folder: Path) -> Path:
    word_tokenizer(f"w{i}" for i in range(1, SIZE.tokens)).save(str(folder / FILE_NAME))
    return folder


#: How each golden checkpoint is written, by name.
WRITERS = {
    "loglinear": write_hub,
    "geometric": lambda folder: write_hub(folder, "geometric"),
    "run": write_run,
}

if __name__ == "__main__":
    for name, write in WRITERS.items():
        print(write(Path(sys.argv[1]) / name))
