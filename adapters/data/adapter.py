"""The control `data`."""

from __future__ import annotations

from adapters.controls import load_data as load

__all__ = ["load"]
