"""Reading and writing the published layout: four bare state dicts, see `adapters.plaid.layout`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.base import CheckpointError
from adapters.plaid.layout import CONFIG, MODULES, PlaidSize, file_of, row_length, settings, size_of
from adapters.plaid.network import PlaidNetwork
from adapters.weights import read_weights

State = dict[str, Tensor]


def load_network(folder: Path, options: Mapping[str, Any], device: str, dtype: torch.dtype) -> tuple[PlaidNetwork, int]:
    """Load published weights, unchanged.

    Args:
        folder: holds model.pt, embedding_matrix.pt, noise_schedule.pt and gamma_bounds.pt.
        options: n_heads and seq_len where the card names them; `config.json` in the folder may do so too.
        device: torch device name.
        dtype: of the blocks; their matrices are kept in it.

    Returns:
        the network in eval mode, and the tokens of a training row.

    Raises:
        CheckpointError: one line that names the file, what is wrong with it, and what to do.
    """
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {folder} is no folder: give the one that holds {_names()}.")
    states = {module: _read(folder, module) for module in MODULES}
    named = settings(folder, options)
    shapes = {module: {name: tuple(t.shape) for name, t in state.items()} for module, state in states.items()}
    size = size_of(folder, shapes, named.get("n_heads"))
    with torch.device("meta"):  # shapes without memory
        network = PlaidNetwork(size, dtype)
    for module in MODULES:
        _check(file_of(folder, module), getattr(network, module).state_dict(), states[module])
        own = {name: _placed(name, tensor, device, dtype) for name, tensor in states.pop(module).items()}
        getattr(network, module).load_state_dict(own, assign=True)
    low, high = (float(bound.detach()) for bound in network.gamma_bounds.parameters())
    if low >= high:
        raise CheckpointError(
            f"{file_of(folder, 'gamma_bounds')}: gamma_0 {low:g} is not below gamma_1 {high:g}: noise must grow with t."
        )
    return network.eval().requires_grad_(False), row_length(folder, size, named)


def _names() -> str:
    return ", ".join(f"{module}.pt" for module in MODULES)


def _read(folder: Path, module: str) -> State:
    file = file_of(folder, module)
    if not file.is_file():
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
        raise CheckpointError(f"checkpoint {folder} has no {file.name}: it needs {_names()}; found {found}.")
    state = read_weights(file)
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds a {type(state).__name__}, not named tensors: it is no Plaid checkpoint.")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            what = tensor.dtype if isinstance(tensor, Tensor) else f"a {type(tensor).__name__}"
            raise CheckpointError(f"{file}: '{name}' is {what}, not a tensor of floating-point numbers.")
    return dict(state)


def _check(file: Path, wanted: Mapping[str, Tensor], state: State) -> None:
    """Raise `CheckpointError` where names, shapes or values are not those of a network of this size."""
    missing, foreign = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing or foreign:
        raise CheckpointError(
            f"{file} holds another model's weights: {len(missing)} of {len(wanted)} tensors missing "
            f"({', '.join(missing[:2]) or 'none'}), {len(foreign)} unknown ({', '.join(foreign[:2]) or 'none'})."
        )
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{file}: '{name}' has shape {list(tensor.shape)}, the other files make it {list(wanted[name].shape)}."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{file}: '{name}' holds values that are not finite; the training run had failed.")


def _placed(name: str, tensor: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    """On the device; matrices of the blocks in their dtype, all else float32."""
    return tensor.to(device, dtype if name.startswith("blocks.") else torch.float32)


def save_checkpoint(folder: Path, state: Mapping[str, Tensor], size: PlaidSize, length: int, facts: Any = None) -> None:
    """Write the published layout, and our `config.json` beside it.

    Args:
        folder: made where it is missing.
        state: `PlaidNetwork.state_dict()`.
        size: architecture numbers; the number of heads goes into the config.
        length: tokens of a training row.
        facts: kept in the config under "tdbench".
    """
    folder.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        prefix = f"{module}."
        own = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
        stored = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in own.items()}
        torch.save(stored, folder / f"{module}.pt")
    config = {"n_heads": size.n_heads, "seq_len": length, **({"tdbench": facts} if facts else {})}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
