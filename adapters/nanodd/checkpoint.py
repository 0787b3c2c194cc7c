"""Reading and writing nanoDD's `ckpt.pt`, the one file that its training script writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.base import CheckpointError
from adapters.masked.schedules import D3PM
from adapters.nanodd.diffusion import absorbing
from adapters.nanodd.layout import EMA_PREFIX, FILE_NAME, MODEL_CLASS, window_length
from adapters.nanodd.network import ModelArgs, NanoddNetwork, rotary_frequencies
from adapters.weights import read_weights, weight_file

NETWORK_PREFIX = "net."
#: What torch.compile and DistributedDataParallel put before a name when the wrapped module is saved.
WRAPPERS = ("_orig_mod.", "module.")
#: The buffers follow from T and the sizes; a cumulative product made elsewhere may differ by rounding.
BUFFER_TOLERANCE = 1e-5


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says about itself.

    Attributes:
        args: sizes and diffusion settings.
        length: tokens a training window had.
        iterations: optimiser steps made, None where not stated.
        training_args: as stored, the authors' names.
    """

    args: ModelArgs
    length: int
    iterations: int | None
    training_args: Mapping[str, Any] = field(default_factory=dict)


def load_network(
    path: Path, device: str = "cpu", dtype: str = "float32"
) -> tuple[NanoddNetwork, D3PM, CheckpointFacts]:
    """Read the EMA weights, as the authors' sample.py and evaluate.py do by default.

    Args:
        path: `ckpt.pt` (or what `tdbench convert` made of it) or the folder that holds it.
        device: torch device name.
        dtype: arithmetic of the matrix products: "float32", "bfloat16" (the authors' on a GPU) or "float16".

    Returns:
        the network in eval mode on `device`, its noise schedule, and what the file says about itself.

    Raises:
        CheckpointError: for a file that is missing, empty, damaged, of another model, wrongly shaped, without EMA
            weights, or with more in it than tensors and plain values.
    """
    file = weight_file(path, FILE_NAME) if path.is_dir() else path
    content = _read(file)
    args = _model_args(file, content)
    state = _ema_state(file, content)
    _check_buffers(file, args, state)
    network = _build(file, args, state, device, getattr(torch, dtype))
    training_args = content.get("training_args")
    training_args = training_args if isinstance(training_args, dict) else {}
    length = window_length(file, content)
    iterations = content.get("iter_num")
    facts = CheckpointFacts(args, length, iterations if isinstance(iterations, int) else None, training_args)
    return network, D3PM(transitions=args.T), facts


def _read(file: Path) -> dict[str, Any]:
    """The dictionary in the file; nothing but tensors and plain values is ever built from it."""
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist: give the folder (or file) of a nanoDD checkpoint, {FILE_NAME}.")
    content = read_weights(file)
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is not a nanoDD checkpoint: it holds a {type(content).__name__}, no dictionary.")
    return content


def _model_args(file: Path, content: Mapping[str, Any]) -> ModelArgs:
    missing = [key for key in ("model_cls", "model_args", "ema") if not content.get(key)]
    if missing == ["ema"]:
        raise CheckpointError(
            f"{file} has no EMA weights (entry 'ema'), the ones the authors sample from: use a file of their train.py."
        )
    if missing:
        raise CheckpointError(
            f"{file} is not a nanoDD checkpoint: it has no {', '.join(missing)} (found: {_listed(content)})."
        )
    if content["model_cls"] != MODEL_CLASS:
        raise CheckpointError(f"{file} holds a {content['model_cls']!r}, not nanoDD's {MODEL_CLASS}.")
    if not isinstance(content["model_args"], dict):
        raise CheckpointError(f"{file}: model_args is no dictionary.")
    try:
        return ModelArgs.from_mapping(content["model_args"])
    except ValueError as error:
        raise CheckpointError(f"{file}: model_args {error}.") from None


def _listed(names: Mapping[str, Any] | list[str], most: int = 4) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "") or "nothing"


def _ema_state(file: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The averaged model's tensors under the model's own names."""
    ema = content["ema"]
    if not isinstance(ema, dict):
        raise CheckpointError(f"{file}: the entry 'ema' is no dictionary.")
    state = {_bare(k[len(EMA_PREFIX) :]): v for k, v in ema.items() if isinstance(k, str) and k.startswith(EMA_PREFIX)}
    if not state:
        raise CheckpointError(f"{file} has no EMA weights: nothing in 'ema' is named '{EMA_PREFIX}...'.")
    if wrong := [k for k, v in state.items() if not (isinstance(v, Tensor) and v.is_floating_point())]:
        raise CheckpointError(f"{file}: {_listed(wrong)} in 'ema' is no tensor of floating-point numbers.")
    return state


def _bare(name: str) -> str:
    while wrapper := next((w for w in WRAPPERS if name.startswith(w)), None):
        name = name[len(wrapper) :]
    return name


def _check_buffers(file: Path, args: ModelArgs, state: dict[str, Tensor]) -> None:
    """Take `betas` and `alpha_bars` out of the state and compare all buffers with what the sizes imply."""
    frequencies = state.get(NETWORK_PREFIX + "rotary_emb.inv_freq")
    found = {"betas": state.pop("betas", None), "alpha_bars": state.pop("alpha_bars", None), "inv_freq": frequencies}
    expected_shape = {"betas": args.T + 1, "alpha_bars": args.T + 1, "inv_freq": args.n_embed // args.n_heads // 2}
    for name, tensor in found.items():
        if tensor is None or tuple(tensor.shape) != (expected_shape[name],):
            shape = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
            raise CheckpointError(f"{file}: the buffer {name} is {shape}, not ({expected_shape[name]},).")
    process = absorbing(args.T, args.vocab_size + 1)
    expected = {
        "betas": process.betas,
        "alpha_bars": process.alpha_bars,
        "inv_freq": rotary_frequencies(args.n_embed // args.n_heads),
    }
    for name, tensor in found.items():
        if tensor is not None and not torch.allclose(tensor.float(), expected[name], rtol=0, atol=BUFFER_TOLERANCE):
            raise CheckpointError(f"{file}: the buffer {name} has other values than model_args imply.")


def _build(file: Path, args: ModelArgs, state: Mapping[str, Tensor], device: str, dtype: torch.dtype) -> NanoddNetwork:
    with torch.device("meta"):
        network = NanoddNetwork(args, dtype)
    wanted = {NETWORK_PREFIX + name: tensor for name, tensor in network.state_dict().items()}
    if missing := [name for name in wanted if name not in state]:
        raise CheckpointError(f"{file} does not fit its model_args: it has no {_listed(missing)}.")
    if extra := [name for name in state if name not in wanted]:
        raise CheckpointError(f"{file} does not fit its model_args: unknown weights {_listed(extra)}.")
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{file}: {name} has shape {tuple(state[name].shape)}, model_args make it {tuple(tensor.shape)}."
            )
        if not bool(torch.isfinite(state[name]).all()):
            raise CheckpointError(f"{file}: {name} holds values that are not finite; the training run had failed.")
    own = {name[len(NETWORK_PREFIX) :]: tensor.to(device, torch.float32, copy=True) for name, tensor in state.items()}
    network.load_state_dict(own, assign=True)
    return network.eval().requires_grad_(False)


def save_checkpoint(
    folder: Path,
    raw: Mapping[str, Tensor],
    ema: Mapping[str, Tensor],
    args: ModelArgs,
    training_args: Mapping[str, Any],
    iterations: int,
    total_batch_size: int | None = None,
    best_val_loss: float | None = None,
    raw_dtype: torch.dtype = torch.float32,
) -> Path:
    """Write `folder/ckpt.pt` in the authors' layout, without the optimiser (as their published files).

    Args:
        folder: made where it is missing.
        raw: `NanoddNetwork.state_dict()` of the last weights.
        ema: the same names, averaged weights.
        args: sizes and diffusion settings.
        training_args: plain values under the names of the authors' train.py.
        iterations: optimiser steps made.
        total_batch_size: sequences a step.
        best_val_loss: the authors' l_T in nats a token, None where it was not measured.
        raw_dtype: dtype of the raw weights, which nothing but a resumed training reads; the EMA is always float32.

    Returns:
        the file.
    """
    process = absorbing(args.T, args.vocab_size + 1)
    buffers = {"betas": process.betas, "alpha_bars": process.alpha_bars}

    def whole(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        """Names of the authors' module; buffers stay float32."""
        named = {}
        for name, tensor in state.items():
            kept = torch.float32 if name.endswith("inv_freq") else dtype
            named[NETWORK_PREFIX + name] = tensor.detach().to("cpu", kept, copy=True)
        return {**buffers, **named}

    averaged = {EMA_PREFIX + name: tensor for name, tensor in whole(ema, torch.float32).items()}
    content = {
        "model": whole(raw, raw_dtype),
        "ema": {"initted": torch.tensor(True), "step": torch.tensor(iterations), **averaged},
        "model_cls": MODEL_CLASS,
        "model_args": args.as_dict(),
        "training_args": dict(training_args),
        "total_batch_size": total_batch_size,
        "iter_num": iterations,
        "best_val_loss": best_val_loss,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE_NAME
    partial = file.with_suffix(".tmp")
    torch.save(content, partial)
    partial.replace(file)
    return file
