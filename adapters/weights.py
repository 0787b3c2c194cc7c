"""Reading weight files from strangers: tensors and plain values only, nothing in them is ever run.

Two kinds of files hold the same object: NAME, which ``torch.save`` wrote, and NAME.safetensors, into which ``tdbench
convert`` turned it. The native engines and, inside their images, those of the authors' code read both through here.

Python 3.8 syntax with torch; safetensors where such a file is read.
"""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any, Dict, Sequence

import torch
from torch import Tensor

from adapters.base import AdapterError, CheckpointError
from adapters.nested import unpack

#: What `tdbench convert` puts behind a name.
CONVERTED = ".safetensors"
#: Where a converted file's metadata has the text of `adapters.nested`: one entry, since safetensors shuffles several.
ABOUT = "tdbench"
#: What torch's reader raises on damaged bytes, depending on where the damage is.
DAMAGED = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


def weight_file(folder: Path, name: str) -> Path:
    """Where a weight file lies: FOLDER/NAME.safetensors as `tdbench convert` writes it, else FOLDER/NAME.

    The converted one is taken where both are there: it holds the same, and reading it can run nothing.
    """
    converted = folder / (name + CONVERTED)
    return converted if converted.is_file() else folder / name


def original_name(file: Path) -> str:
    """Name of a weight file before it was converted."""
    return file.name[: -len(CONVERTED)] if file.suffix == CONVERTED else file.name


def read_weights(file: Path, allowed: Sequence[Any] = ()) -> Any:
    """The object in a weight file, original or converted, on the CPU.

    Both give equal objects, except that a converted file has Python's numbers for numpy's and lacks what is neither a
    tensor nor a plain value. A safetensors file of others gives its tensors by name.

    Args:
        file: as `weight_file` finds it.
        allowed: as in `read_pickle`.

    Raises:
        CheckpointError: for a file that is missing, empty or damaged, or holds more than tensors and plain values.
        AdapterError: where the package safetensors is needed and not installed.
    """
    if not file.is_file():
        raise CheckpointError("{} is missing: get the checkpoint again.".format(file))
    return read_converted(file) if file.suffix == CONVERTED else read_pickle(file, allowed)


def read_pickle(file: Path, allowed: Sequence[Any] = ()) -> Any:
    """The content of a file of ``torch.save``, on the CPU.

    torch before 2.6 can be made to run code even so (CVE-2025-32434). Only images have it, and containers are shut off.

    Args:
        file: an existing file.
        allowed: further harmless globals that its pickle names (`torch.serialization.safe_globals`). torch before 2.5
            cannot be told of them, and refuses the file.

    Raises:
        CheckpointError: for an empty or damaged file, or one that holds more than tensors and plain values.
    """
    if file.stat().st_size == 0:
        raise CheckpointError("{} is empty: get it again.".format(file))
    allowing = getattr(torch.serialization, "safe_globals", lambda _: contextlib.nullcontext())
    try:
        with allowing(list(allowed)):
            return torch.load(str(file), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            "{} is damaged or holds more than tensors and plain values; it is refused because reading it could run "
            "code. Use the authors' original file, or take its tensors out in a container: tdbench convert.".format(
                file
            )
        ) from None
    except DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError("{} is truncated or damaged ({}): get it again.".format(file, reason)) from None


def read_converted(file: Path) -> Any:
    """The object in a safetensors file of `tdbench convert`; errors as `read_weights`."""
    tensors, metadata = read_safetensors(file), safetensors_metadata(file)
    if ABOUT not in metadata:
        return tensors
    try:
        return unpack(metadata[ABOUT], tensors)
    except ValueError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError("{} was not written by tdbench convert: {}.".format(file, reason)) from None


def read_safetensors(file: Path) -> Dict[str, Tensor]:
    """The tensors of a safetensors file by name, on the CPU.

    Raises:
        CheckpointError: for a damaged file.
        AdapterError: where the package safetensors is not installed.
    """
    with _reading(file):
        from safetensors.torch import load_file

        return dict(load_file(str(file)))


def safetensors_metadata(file: Path) -> Dict[str, str]:
    """What a safetensors file says beside its tensors; errors as `read_safetensors`."""
    with _reading(file) as package, package.safe_open(str(file), framework="pt") as content:
        return dict(content.metadata() or {})


@contextlib.contextmanager
def _reading(file: Path) -> Any:
    """The package safetensors, with its errors in words of ours."""
    try:
        import safetensors
    except ImportError:
        raise AdapterError("{} needs the package safetensors: pip install safetensors.".format(file)) from None
    try:
        yield safetensors
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            "{} is truncated or no safetensors file ({}): get it again.".format(file, error)
        ) from None
