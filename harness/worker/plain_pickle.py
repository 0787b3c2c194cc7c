"""What is plain in a pickle, whatever else it holds.

A pickle is a program that may import and call anything. Of that program only the parts are run that build tensors and
plain values: any other class or function is not imported, and a stand-in takes its place, which does nothing.

For use inside a container that is shut off (`harness.worker.convert`). Python 3.8 syntax with torch and numpy.
"""

from __future__ import annotations

import io
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

import numpy as np
import torch

from adapters.nested import PackError

#: Classes and functions that build tensors and plain values, by the modules that pickles name them in.
HARMLESS: Dict[str, Sequence[str]] = {
    "argparse": ("Namespace",),
    "builtins": ("bytearray", "bytes", "complex", "frozenset", "set"),
    "collections": ("Counter", "OrderedDict", "defaultdict"),
    "numpy": ("dtype",),
    "torch": ("Size", "Tensor", "device"),
    "torch._utils": ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"),
    "torch.nn.parameter": ("Parameter",),
    "torch.storage": ("TypedStorage", "UntypedStorage", "_TypedStorage", "_UntypedStorage"),
    "_codecs": ("encode",),
}
#: Python 2's name, which pickles of protocol 2 still use.
RENAMED = {"__builtin__": "builtins"}
#: What builds tensors. One of these that is not known cannot be left out: that would be to lose weights.
BUILDERS = "torch._utils._rebuild"
#: What ``torch.save`` begins a file with that is no zip archive, within so many bytes.
MAGIC, HEAD = torch.serialization.MAGIC_NUMBER.to_bytes(10, "little"), 64
#: What a TorchScript archive has, and no file of weights.
PROGRAM = "/constants.pkl"


class Foreign:
    """Stands for an object that is left out: takes whatever a pickle does to such an object, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Foreign:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Arguments are of no interest."""

    def __call__(self, *_: Any, **__: Any) -> Foreign:
        return self

    def __setstate__(self, state: Any) -> None:
        """Nor is the state."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Nor are items."""

    def append(self, item: Any) -> None:
        """As a pickle fills a list."""

    def extend(self, items: Any) -> None:
        """As a pickle fills a list."""

    def add(self, item: Any) -> None:
        """As a pickle fills a set."""


class PlainUnpickler(pickle.Unpickler):
    """Builds tensors and plain values, and a `Foreign` for anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle means by a name; nothing is imported that is not known to be harmless."""
        module = RENAMED.get(module, module)
        if (module, name) in OURS:
            return OURS[module, name]
        if name in HARMLESS.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and _is_kind_of_number(name):
            return getattr(torch, name)
        if "{}.{}".format(module, name).startswith(BUILDERS):
            raise PackError("it holds a tensor of a kind that safetensors cannot hold ({})".format(name))
        return type(name, (Foreign,), {"__module__": module, "__qualname__": name})


def _is_kind_of_number(name: str) -> bool:
    """Whether a name of torch is that of a dtype or a storage (FloatStorage)."""
    found = getattr(torch, name, None)
    return isinstance(found, torch.dtype) or (isinstance(found, type) and name.endswith("Storage"))


def _typed(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor with attributes, which are left out; one of another class is no tensor to us."""
    if kind in (torch.Tensor, torch.nn.Parameter):
        return function(*arguments)
    return type(kind.__name__, (Foreign,), {"__module__": kind.__module__})()


def _parameter(data: Any, requires_grad: bool, hooks: Any, state: Any) -> Any:
    """A parameter with attributes, which are left out."""
    return torch.nn.Parameter(data, requires_grad)


_NUMBER = np.float64(0).__reduce__()[0]
#: What stands for a name: functions that do more than we want, and one whose module numpy renamed.
OURS: Dict[Tuple[str, str], Any] = {
    ("numpy.core.multiarray", "scalar"): _NUMBER,
    ("numpy._core.multiarray", "scalar"): _NUMBER,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    # The memory of a tensor in a file of ``pickle.dump``: itself a file of ``torch.save``.
    ("torch.storage", "_load_from_bytes"): lambda data: _load(io.BytesIO(data)),
}


def read(file: Path) -> Any:
    """The object in a file of ``torch.save`` or of ``pickle.dump``, with `Foreign` where it is more than plain.

    Raises:
        PackError: for a tensor that is not to be had as it is, or a program of TorchScript.
        Exception: of torch and pickle, for a damaged file.
    """
    with open(str(file), "rb") as stream:
        head = stream.read(HEAD)
        stream.seek(0)
        if head[:1] == pickle.PROTO and MAGIC not in head:
            return PlainUnpickler(stream).load()
        if any(name.endswith(PROGRAM) for name in members(stream)):
            raise PackError("it is a program of TorchScript, no file of weights")
    return _load(str(file))


def members(file: Any) -> Sequence[str]:
    """Names in a zip archive (a path or an open file); none where it is no whole archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError):
        return ()


def _load(file: Any) -> Any:
    """``torch.load`` with our unpickler."""
    module: Any = types.ModuleType("plain_pickle")
    module.Unpickler = PlainUnpickler
    module.load = lambda stream, **options: PlainUnpickler(stream, **options).load()
    return torch.load(file, map_location="cpu", pickle_module=module, weights_only=False)
