"""The control `copy`."""

from __future__ import annotations

from adapters.controls import load_copy as load

__all__ = ["load"]
