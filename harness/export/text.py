"""Text from outside (names of models, messages, notes) in forms that no reader chokes on or executes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.report.text import visible

#: What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def one_line(text: str) -> str:
    """`visible` text with all space as single blanks."""
    return visible(" ".join(text.split()))


def cell(text: str) -> str:
    """`visible` text for a cell of a CSV file: a spreadsheet shows it and computes nothing.

    Text that begins like a formula gets an apostrophe before it, which spreadsheets hide. Parquet and JSON files hold
    the text itself.
    """
    return visible(f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text)


def encodable(text: str) -> str:
    """`text` with what UTF-8 cannot hold, lone surrogates, as "?"."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def texts_of(value: Any, form: Callable[[str], str] = encodable) -> Any:
    """`value` with all text in it, keys too, in another form."""
    if isinstance(value, str):
        return form(value)
    if isinstance(value, Mapping):
        return {form(str(k)): texts_of(v, form) for k, v in value.items()}
    return [texts_of(v, form) for v in value] if isinstance(value, list | tuple) else value
