"""Nested Python values as named tensors and a text: how a converted checkpoint keeps the shape of the original object.

A tensor gets a name after its place ("ema.shadow_params.0"), so a plain state dict keeps its names. The text is JSON,
``{"layout": ..., "left_out": {"count": ..., "first": [[place, class], ...]}}``. In a layout null, booleans, numbers and
strings stand for themselves; everything else is an object whose first key says what it is::

    {"dict": [[key, value], ...]}   {"list": [value, ...]}   {"tensor": "model.weight"}

Python 3.8 syntax with torch alone.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from typing import Any, Callable, Dict, List, Mapping, Set, Tuple

import torch
from torch import Tensor

SEQUENCES: Dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "Size": torch.Size}
MAPPINGS: Dict[str, Any] = {"dict": dict, "OrderedDict": OrderedDict}
#: Mappings of the standard library that become a plain dictionary.
AS_DICT = (defaultdict, Counter)
#: What safetensors of any version can hold; tensors of other dtypes are kept as their bytes.
DIRECT = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
}
#: Longest text in characters; safetensors allows 100 MB for all that it says about a file.
LONGEST = 20_000_000
#: Objects that are listed of those left out; the others are counted.
MOST_LISTED = 1000
_LEFT_OUT = object()


class PackError(ValueError):
    """A value cannot be kept; the text says which and why, in one line."""


class Packed:
    """A value taken apart.

    Attributes:
        tensors: by name, contiguous, dense, none sharing memory with another.
        left_out: (place, class) of each object that is neither tensor nor plain value; a list has None in its place, a
            dictionary lacks the key.
        text: what `unpack` needs besides the tensors, and what was left out.
    """

    def __init__(self, value: Any) -> None:
        self.tensors: Dict[str, Tensor] = {}
        self.left_out: List[Tuple[str, str]] = []
        self._names: Dict[Any, str] = {}
        self._seen: Set[int] = set()
        try:
            layout = self._item(value, ())
            left_out = {"count": len(self.left_out), "first": self.left_out[:MOST_LISTED]}
            self.text = json.dumps({"layout": layout, "left_out": left_out}, separators=(",", ":"))
        except RecursionError:
            raise PackError("it holds itself, or is nested too deeply") from None
        if len(self.text) > LONGEST:
            raise PackError("it holds {} MB of plain values, too many".format(len(self.text) // 1_000_000))

    def _node(self, value: Any, place: Tuple[str, ...]) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind in (Tensor, torch.nn.Parameter):
            return self._tensor(value, place)
        if kind in SEQUENCES.values():
            return {_name_in(SEQUENCES, kind): [self._item(item, (*place, str(i))) for i, item in enumerate(value)]}
        if kind in MAPPINGS.values() or kind in AS_DICT:
            name = "dict" if kind in AS_DICT else _name_in(MAPPINGS, kind)
            # What a state dict carries beside its keys: `_metadata`, the versions of the modules.
            own = vars(value) if kind is OrderedDict else {}
            return {name: self._pairs(value, place), **({"attributes": self._pairs(own, place)} if own else {})}
        if kind is Namespace:
            return {"Namespace": self._pairs(vars(value), place)}
        plain = _plain(value)
        if plain is None:
            self.left_out.append((".".join(place), _class_of(value)))
            return _LEFT_OUT
        return plain

    def _item(self, value: Any, place: Tuple[str, ...]) -> Any:
        node = self._node(value, place)
        return None if node is _LEFT_OUT else node

    def _pairs(self, value: Mapping[Any, Any], place: Tuple[str, ...]) -> List[Any]:
        pairs = []
        for key, item in value.items():
            inside = (*place, str(key) if type(key) in (bool, int, float, str) else type(key).__name__)
            pair = (self._node(key, inside), self._node(item, inside))
            if _LEFT_OUT not in pair:
                pairs.append(pair)
        return pairs

    def _tensor(self, value: Tensor, place: Tuple[str, ...]) -> Dict[str, Any]:
        where = ".".join(place) or "it"
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            what = "quantised" if value.is_quantized else str(value.layout).replace("torch.", "")
            what = what if value.device.type == "cpu" else "on device '{}'".format(value.device)
            raise PackError("'{}' is a tensor that is {}, which safetensors cannot hold".format(where, what))
        node: Dict[str, Any] = {"tensor": self._stored(value.detach(), place)}
        if value.dtype not in DIRECT:
            node.update(dtype=str(value.dtype).replace("torch.", ""), shape=list(value.shape))
        if isinstance(value, torch.nn.Parameter):
            node["parameter"] = True
        if value.requires_grad:
            node["requires_grad"] = True
        return node

    def _stored(self, value: Tensor, place: Tuple[str, ...]) -> str:
        """Name under which a tensor is stored. Tied weights are stored once; other views get memory of their own."""
        marks = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride(), value.is_conj(), value.is_neg())
        if value.numel() and marks in self._names:
            return self._names[marks]
        name = self._free_name(place)
        memory = value.untyped_storage()
        dense = value.resolve_conj().resolve_neg().contiguous()
        alone = memory.nbytes() == value.numel() * value.element_size() and memory.data_ptr() not in self._seen
        if dense.data_ptr() == value.data_ptr() and not alone:
            dense = dense.clone()
        self._seen.add(memory.data_ptr())
        self._names[marks] = name
        self.tensors[name] = dense if dense.dtype in DIRECT else dense.reshape(-1).view(torch.uint8)
        return name

    def _free_name(self, place: Tuple[str, ...]) -> str:
        """A name after the place; different places may read the same ("a.b" in "c", "b" in "c.a")."""
        wanted = ".".join(place).encode("utf-8", "replace").decode("utf-8") or "tensor"
        name, count = wanted, 1
        while name in self.tensors or name == "__metadata__":
            count += 1
            name = "{}~{}".format(wanted, count)
        return name


def _name_in(table: Mapping[str, Any], kind: type) -> str:
    return next(name for name, known in table.items() if known is kind)


def _plain(value: Any) -> Any:
    """JSON for a plain value that JSON does not know, a number for a numpy number, None for anything else."""
    if type(value) in (bytes, bytearray):
        return {type(value).__name__: value.decode("latin-1")}
    if type(value) is complex:
        return {"complex": [value.real, value.imag]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).replace("torch.", "")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "shape", None) == ():
        number = value.item()
        return number if type(number) in (bool, int, float, str) else None
    return None


def _class_of(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return "{}.{}".format(kind.__module__, kind.__qualname__)


def unpack(text: str, tensors: Mapping[str, Tensor]) -> Any:
    """The value that was packed: tensors bit by bit, dictionaries in their order.

    Args:
        text: as `Packed.text`, maybe of a stranger.
        tensors: as `Packed.tensors`.

    Raises:
        ValueError: for a text that `Packed` did not write.
    """
    try:
        return _Unpacking(tensors).value(_parsed(text)["layout"])
    except _SENSELESS as error:
        raise ValueError("its layout makes no sense ({}: {})".format(type(error).__name__, error)) from None


def left_out_of(text: str) -> Tuple[int, List[Tuple[str, str]]]:
    """How many objects were left out of a value, and (place, class) of the first; errors as `unpack`."""
    try:
        told = _parsed(text)["left_out"]
        return int(told["count"]), [(str(place), str(kind)) for place, kind in told["first"]]
    except _SENSELESS as error:
        raise ValueError("its list of what was left out makes no sense ({})".format(type(error).__name__)) from None


_SENSELESS = (RecursionError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError)


def _parsed(text: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError("it has {} MB of text".format(len(text) // 1_000_000))
    return json.loads(text)


class _Unpacking:
    """Puts one value together."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._rebuilt: Dict[Any, Tensor] = {}

    def value(self, node: Any) -> Any:
        """What a part of the layout stands for."""
        if isinstance(node, list):
            raise TypeError("a bare list")
        if not isinstance(node, dict):
            return node
        kind = next(iter(node), "nothing")
        content: Any = node.get(kind)
        if kind in SEQUENCES:
            return SEQUENCES[kind]([self.value(item) for item in content])
        if kind in MAPPINGS:
            value = MAPPINGS[kind](self._pairs(content))
            if "attributes" in node:
                vars(value).update(self._pairs(node["attributes"]))
            return value
        if kind == "Namespace":
            space = Namespace()
            vars(space).update(self._pairs(content))
            return space
        return self._tensor(node) if kind == "tensor" else _VALUES[kind](content)

    def _pairs(self, content: Any) -> List[Tuple[Any, Any]]:
        return [(self.value(key), self.value(item)) for key, item in content]

    def _tensor(self, node: Mapping[str, Any]) -> Tensor:
        tensor = self._of_bytes(node) if "dtype" in node else self._tensors[node["tensor"]]
        if node.get("parameter"):
            return torch.nn.Parameter(tensor, requires_grad=bool(node.get("requires_grad")))
        return tensor.detach().requires_grad_() if node.get("requires_grad") else tensor

    def _of_bytes(self, node: Mapping[str, Any]) -> Tensor:
        """A tensor kept as its bytes: a copy, because those of a file need not lie where numbers of that size may."""
        marks = (node["tensor"], node["dtype"], tuple(node["shape"]))
        if marks not in self._rebuilt:
            flat = self._tensors[node["tensor"]].clone().view(_dtype(node["dtype"]))
            self._rebuilt[marks] = flat.reshape(node["shape"])
        return self._rebuilt[marks]


def _dtype(name: str) -> torch.dtype:
    found: Any = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise TypeError("{!r} is no dtype of torch {}".format(name, torch.__version__))
    return found


_VALUES: Dict[str, Callable[[Any], Any]] = {
    "bytes": lambda text: text.encode("latin-1"),
    "bytearray": lambda text: bytearray(text.encode("latin-1")),
    "complex": lambda parts: complex(*parts),
    "dtype": _dtype,
    "device": torch.device,
}
