"""The control `bigram`."""

from __future__ import annotations

from adapters.controls import load_bigram as load

__all__ = ["load"]
