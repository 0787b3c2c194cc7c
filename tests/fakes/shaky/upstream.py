"""The shaky model once more, as if the authors' code computed it."""

from __future__ import annotations

from adapters.base import AdapterError, LoadSpec, Model
from tests.fakes.shaky.adapter import Shaky


def load(spec: LoadSpec) -> Model:
    if "import nothing" in (spec.upstream / "shaky.py").read_text():
        raise AdapterError("the authors' code of shaky needs the package 'nothing': pip install nothing")
    return Shaky()
