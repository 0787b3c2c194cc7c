"""The two layouts in which RADD weights exist, read and written.

- Hub folder: config.json (the authors' nested Hydra config) and model.safetensors, or pytorch_model.bin.
- Training run: .hydra/config.yaml and checkpoints-meta/checkpoint.pth (or the path of one snapshot in checkpoints/): a
  dict with "model" (raw weights) and "ema", whose "shadow_params" lists the averaged weights in parameter order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from adapters.base import CheckpointError
from adapters.masked.schedules import Geometric, LogLinear, Schedule
from adapters.radd.layout import CONFIG, NUMPY_NUMBER, OLD_WEIGHTS, RUN_CONFIG, RUN_WEIGHTS, WEIGHTS
from adapters.radd.network import RaddNetwork, RaddSize
from adapters.weights import read_safetensors, read_weights, weight_file

#: Buffers that are computed where a file lacks them.
COMPUTED = {"rotary_emb.inv_freq"}
#: No RADD number comes near this; it keeps a wrong config from asking for more than tensor sizes can express.
LARGEST = 1 << 24

Config = dict[str, Any]
State = dict[str, Tensor]


def load_network(path: Path, device: str, dtype: torch.dtype) -> tuple[RaddNetwork, Schedule, Config]:
    """Load published weights, unchanged.

    Args:
        path: a Hub folder, a training-run folder, or one snapshot file inside a training run.
        device: torch device name.
        dtype: network arithmetic; the weights stay float32.

    Returns:
        the network in eval mode, its noise schedule, and the config as stored.

    Raises:
        CheckpointError: one line that names the path, what is wrong with it, and what to do.
    """
    if not path.exists():
        raise CheckpointError(f"checkpoint {path} does not exist: give a folder with {CONFIG} and {WEIGHTS}.")
    if path.is_file() or (path / RUN_CONFIG).is_file():
        config, state = _read_run(path)
    elif (path / CONFIG).is_file():
        config, state = _read_hub(path)
    else:
        found = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
        raise CheckpointError(
            f"checkpoint {path} is no RADD checkpoint: it needs {CONFIG} and {WEIGHTS} (Hub), or {RUN_CONFIG} and "
            f"{RUN_WEIGHTS} (training run); found {found}."
        )
    size, schedule = read_config(config, path)
    network = _build(size, state, path, dtype)
    return network.to(device).eval(), schedule, config


def save_hub_folder(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write config.json and model.safetensors, as the authors' `save_pretrained` does.

    Args:
        folder: made where it is missing.
        state: `RaddNetwork.state_dict()` (float32), buffer included.
        config: as `hub_config` makes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().float().contiguous().clone() for name, tensor in state.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def hub_config(size: RaddSize, length: int, facts: Mapping[str, Any]) -> Config:
    """The config the authors' loader wants, log-linear noise. `facts` of a training here are kept under "tdbench"."""
    return {
        "tokens": size.tokens,
        "model": {
            "name": "tiny_radd",
            "type": "ddit_wot",
            "hidden_size": size.hidden,
            "cond_dim": 128,
            "length": length,
            "n_blocks": size.blocks,
            "n_heads": size.heads,
            "dropout": size.dropout,
            "use_checkpoint": False,
            "dtype": "float16",
        },
        "noise": {"type": "loglinear", "sigma_min": 1e-4, "sigma_max": 20},
        "tdbench": dict(facts),
    }


def read_config(config: Config, path: Path) -> tuple[RaddSize, Schedule]:
    """Architecture and noise from the authors' config.

    Raises:
        CheckpointError: for a key that is missing or a value that makes no sense.
    """
    model, noise = _section(config, "model", path), _section(config, "noise", path)
    size = RaddSize(
        tokens=_count(config, "tokens", path),
        hidden=_count(model, "hidden_size", path),
        blocks=_count(model, "n_blocks", path),
        heads=_count(model, "n_heads", path),
        dropout=_number(model, "dropout", path),
    )
    if size.hidden % (2 * size.heads):
        raise CheckpointError(
            f"{path}: in its config hidden_size {size.hidden} is no even multiple of n_heads {size.heads}."
        )
    if noise.get("type") == "loglinear":
        return size, LogLinear()
    if noise.get("type") == "geometric":
        return size, Geometric(_number(noise, "sigma_min", path), _number(noise, "sigma_max", path))
    raise CheckpointError(f"{path}: noise.type is {noise.get('type')!r} in its config, not loglinear or geometric.")


def _section(config: Config, key: str, path: Path) -> Config:
    section = config.get(key)
    if not isinstance(section, dict):
        raise CheckpointError(f"{path}: its config has no section '{key}', so it is no RADD checkpoint.")
    return section


def _count(config: Config, key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
        raise CheckpointError(
            f"{path}: '{key}' is {value!r} in its config; it must be a whole number from 1 to {LARGEST}."
        )
    return value


def _number(config: Config, key: str, path: Path) -> float:
    try:
        return float(config[key])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path}: '{key}' is {config.get(key)!r} in its config; it must be a number.") from None


def _read_hub(folder: Path) -> tuple[Config, State]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG} is not JSON ({error}): fetch the checkpoint again.") from None
    if (folder / WEIGHTS).is_file():
        return _mapping(config, folder / CONFIG), read_safetensors(folder / WEIGHTS)
    old = weight_file(folder, OLD_WEIGHTS)
    if old.is_file():
        return _mapping(config, folder / CONFIG), _tensors(read_weights(old), old)
    raise CheckpointError(f"checkpoint {folder} has no weights ({WEIGHTS} or {OLD_WEIGHTS}): fetch it again.")


def _read_run(path: Path) -> tuple[Config, State]:
    root, file = (path.parent.parent, path) if path.is_file() else (path, weight_file(path, str(RUN_WEIGHTS)))
    if not (root / RUN_CONFIG).is_file():
        raise CheckpointError(f"{path} lies in no RADD training run: {root / RUN_CONFIG} is missing.")
    if not file.is_file():
        raise CheckpointError(f"checkpoint {root} is a training run without weights: {RUN_WEIGHTS} is missing.")
    try:
        config = yaml.safe_load((root / RUN_CONFIG).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{root / RUN_CONFIG} is not YAML ({reason}).") from None
    saved = read_weights(file, NUMPY_NUMBER)
    if not isinstance(saved, dict) or not isinstance(saved.get("ema"), dict) or "model" not in saved:
        raise CheckpointError(f"{file} is no RADD training checkpoint: it needs the keys 'model' and 'ema'.")
    return _mapping(config, root / RUN_CONFIG), _averaged(_tensors(saved["model"], file), saved["ema"], file)


def _averaged(state: State, ema: Config, file: Path) -> State:
    """The averaged weights by name: the list follows the parameters, and state dicts keep that order, buffers aside."""
    names = [name for name in state if name not in COMPUTED]
    shadow = ema.get("shadow_params")
    if not isinstance(shadow, list) or len(shadow) != len(names):
        count = len(shadow) if isinstance(shadow, list) else "no"
        raise CheckpointError(f"{file} has {count} averaged tensors for {len(names)} parameters: it is damaged.")
    return {**state, **_tensors(dict(zip(names, shadow, strict=True)), file)}


def _mapping(value: Any, file: Path) -> Config:
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is no RADD config: it holds a {type(value).__name__}, not keys and values.")
    return value


def _tensors(value: Any, file: Path) -> State:
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} holds a {type(value).__name__}, not named tensors: it is no RADD checkpoint.")
    other = next((name for name, tensor in value.items() if not isinstance(tensor, Tensor)), None)
    if other is not None:
        raise CheckpointError(f"{file} holds more than tensors ('{other}' is a {type(value[other]).__name__}).")
    return dict(value)


def _build(size: RaddSize, state: State, path: Path, dtype: torch.dtype) -> RaddNetwork:
    blocks = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    if blocks != size.blocks:
        raise CheckpointError(
            f"checkpoint {path} has weights of {blocks} RADD blocks but its config asks for {size.blocks}: "
            "config and weights are not of one checkpoint."
        )
    with torch.device("meta"):  # shapes without memory, so a wrong config cannot ask for all of it
        expected = {name: tensor.shape for name, tensor in RaddNetwork(size).state_dict().items()}
    missing = sorted(set(expected) - set(state) - COMPUTED)
    foreign = sorted(set(state) - set(expected))
    if missing or foreign:
        raise CheckpointError(
            f"checkpoint {path} holds another model's weights: {len(missing)} of {len(expected)} RADD tensors missing "
            f"({', '.join(missing[:2]) or 'none'}), {len(foreign)} unknown ({', '.join(foreign[:2]) or 'none'})."
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name]:
            raise CheckpointError(
                f"checkpoint {path}: '{name}' has shape {list(tensor.shape)} but its config asks for "
                f"{list(expected[name])}: config and weights are not of one checkpoint."
            )
        if not tensor.is_floating_point():
            raise CheckpointError(f"checkpoint {path}: '{name}' holds {tensor.dtype}, not floating-point numbers.")
    network = RaddNetwork(size, dtype)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    return network
