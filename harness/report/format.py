"""Figures as text, the same in the HTML, the Markdown table and the summary. Unknown is a dash, never 0."""

from __future__ import annotations

import math
from typing import Any

from harness.report.data import Estimate, as_text

DASH = "\u2013"


def figure(value: Any, form: str = "number") -> str:
    """A figure for people.

    Args:
        value: a number, text, mapping or None.
        form: "number" (3 to 4 significant digits), "count", "seconds", "bytes" or "text".
    """
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, (int, float)) or form == "text":
        return as_text(value)
    if not math.isfinite(value):
        return "\u221e" if value > 0 else "\u2212\u221e"
    return _FORMS[form](value)


def _number(value: float) -> str:
    if isinstance(value, int) or value == 0:
        return f"{value:,}" if isinstance(value, int) else "0"
    size = abs(value)
    if size >= 1_000:
        return f"{value:,.0f}"
    if size < 1e-4:
        return f"{value:.2e}"
    digits = max(0, 3 - math.floor(math.log10(size))) if size >= 1 else 3
    return f"{value:.{digits}f}" if size >= 0.1 else f"{value:.3g}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def _seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    for limit, scale, unit in ((1e-3, 1e6, "\u00b5s"), (1, 1e3, "ms")):
        if abs(value) < limit:
            return f"{value * scale:.3g} {unit}"
    return f"{value:.3g} s" if abs(value) < 1000 else f"{value:,.0f} s"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}" if unit != "B" else f"{value:.0f} B"
        value /= 1024
    return f"{value:.4g} GiB"


_FORMS = {"number": _number, "count": _count, "seconds": _seconds, "bytes": _bytes}


def interval(low: float | None, high: float | None) -> str:
    """An interval in square brackets, or nothing where it is unknown."""
    return "" if low is None or high is None else f"[{figure(low)}, {figure(high)}]"


def with_interval(value: Estimate) -> str:
    """A figure and its interval."""
    return f"{figure(value.value)} {interval(value.low, value.high)}".strip()
