"""``python3.8 old_python.py ROOT PACKAGES MODULE ...``: imports our modules in an old Python that has no packages.

Every package of PACKAGES (names joined by commas) is replaced by one whose names are all there and do nothing: what is
tried is how our modules are written, not what they compute.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def is_python_s(name: str) -> bool:
    """Whether Python itself asks for such a name (for instance `__path__`)."""
    return name.startswith("__") and name.endswith("__")


class AnyClass(type):
    """A class whose every attribute is a class that does nothing."""

    def __getattr__(cls, name: str) -> Any:
        if is_python_s(name):
            raise AttributeError(name)
        return Nothing


class Nothing(metaclass=AnyClass):
    """A base class, a function, a decorator, a value."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Takes all."""

    def __call__(self, *given: Any, **_: Any) -> Any:
        return given[0] if given else self

    __getattr__ = AnyClass.__getattr__


class Packages:
    """Finds and makes the packages that are not there.

    Args:
        names: of the packages.
    """

    def __init__(self, names: str) -> None:
        self.names = set(names.split(","))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib asks."""
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self.names else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """As importlib asks."""
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """As importlib asks."""
        module.__dict__["__getattr__"] = lambda name: AnyClass.__getattr__(Nothing, name)


if __name__ == "__main__":
    assert sys.version_info[:2] == (3, 8), sys.version
    sys.dont_write_bytecode = True
    sys.path.insert(0, sys.argv[1])
    sys.meta_path.insert(0, Packages(sys.argv[2]))
    for wanted in sys.argv[3:]:
        importlib.import_module(wanted)
    print(len(sys.argv[3:]), "modules")
