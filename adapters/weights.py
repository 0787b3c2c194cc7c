"""Reading weight files from strangers: tensors and plain values only, nothing in them is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adapters.base import CheckpointError

#: What torch's reader raises on damaged bytes, depending on where the damage is.
_DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


def read_pickle(file: Path, allowed: Sequence[Any] = ()) -> Any:
    """The content of a file of ``torch.save``, on the CPU.

    Args:
        file: an existing file.
        allowed: further harmless globals that its pickle names (`torch.serialization.safe_globals`).

    Raises:
        CheckpointError: for an empty or damaged file, or one that holds more than tensors and plain values.
    """
    if file.stat().st_size == 0:
        raise CheckpointError(f"{file} is empty: get it again.")
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file} is damaged or holds more than tensors and plain values; it is refused because reading it could "
            "run code. Use the authors' original file, or safetensors."
        ) from None
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file} is truncated or damaged ({reason}): get it again.") from None


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, on the CPU; raises `CheckpointError` for a damaged one."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is truncated or no safetensors file ({error}): get it again.") from None
