"""The control `unigram`."""

from __future__ import annotations

from adapters.controls import load_unigram as load

__all__ = ["load"]
