"""The functions inside the authors' two `main`s (sample.py, train.py).

Each `main` builds and loads the networks before it defines what we want. So it is run up to where it would go on with
its own programme (demonstrations, training), and they are taken out of its frame.

Python 3.8 syntax: this runs inside old images too.
"""

from __future__ import annotations

import contextlib
import types
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping, Tuple

import torch
from torch import Tensor

from adapters.plaid.layout import PlaidSize
from adapters.upstream import StandIn, patched, their_locals


class _ReachedError(Exception):
    """Their `main` has made what is wanted of it."""


def _reached(module: types.ModuleType, names: Tuple[str, ...], found: Dict[str, Any]) -> Callable[..., Any]:
    """A function which, called by their `main`, keeps some of its variables and ends it."""

    def reached(*args: Any, **named: Any) -> Any:
        found.update(zip(names, their_locals(module, ("main",), names)))
        raise _ReachedError

    return reached


def sampling(
    code: Mapping[str, types.ModuleType], states: Mapping[str, Mapping[str, Tensor]], size: PlaidSize
) -> Tuple[Callable[..., Tensor], Dict[str, Any], Dict[str, Any]]:
    """(their `generate_samples`, the loaded modules it uses by name, the settings that it reads at every call)."""
    sample, datasets = code["sample"], code["lib.datasets"]

    def stored(file: str, map_location: Any) -> Mapping[str, Tensor]:
        return states[Path(file).stem]

    found: Dict[str, Any] = {}
    stop = _reached(sample, ("generate_samples", "modules", "args"), found)
    quiet_torch = StandIn(torch, load=stored, set_default_device=_nothing, set_default_dtype=_nothing)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(_ReachedError))
        stack.enter_context(patched(sample, torch=quiet_torch))
        stack.enter_context(patched(datasets, openwebtext2_tokenizer=stop))
        sample.main(weights_path="", **asdict(size))
    return found["generate_samples"], found["modules"], found["args"]


def training(
    code: Mapping[str, types.ModuleType],
    modules: Mapping[str, Any],
    size: PlaidSize,
    batches: Iterable[Tensor] = (),
    **settings: Any,
) -> Dict[str, Any]:
    """Functions inside the `main` of their train.py, which use the modules given; called within `their_world`.

    Args:
        code: their modules of code by name.
        modules: networks by name, of this size.
        batches: ids [B, L] to train on.
        settings: of theirs, by their names.

    Returns:
        "compute_nll": (batches of ids, index of the last one) -> nats a token, and "forward": (step, 0, 1) -> the loss
        of the next batch and its parts.
    """
    train, names = code["train"], ("compute_nll", "forward", "modules", "ddp_modules")

    def corpus(*args: Any) -> Any:
        return (iter(batches), None, None), (range(size.vocab_size), None)

    found: Dict[str, Any] = {}
    quiet_torch = StandIn(torch, set_default_device=_nothing, set_default_dtype=_nothing)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(_ReachedError))
        stack.enter_context(torch.random.fork_rng())  # it draws weights, which it then does without
        stack.enter_context(patched(train, torch=quiet_torch, DDP=_itself))
        stack.enter_context(patched(code["lib.utils"], train_loop=_reached(train, names, found)))
        stack.enter_context(patched(code["lib.datasets"], REGISTRY={"given": corpus}))
        train.main(dataset="given", **asdict(size), **settings)
    found.pop("modules").update(modules)
    found.pop("ddp_modules").update(modules)
    return found


def _nothing(*args: Any) -> None:
    """In place of what would change the whole process."""


def _itself(module: Any, **named: Any) -> Any:
    """In place of the wrapper for several processes."""
    return module
