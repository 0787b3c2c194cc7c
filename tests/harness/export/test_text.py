"""Text from outside in files that people open."""

from __future__ import annotations

import pytest

from harness.export.tex_text import escape
from harness.export.text import cell, one_line


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1", "  =HYPERLINK(1)", "\uff1d1"])
def test_a_cell_that_begins_like_a_formula_is_text(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["radd", "a=b", "[1, 2]", "", "\u2013", "x-1"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_control_characters_are_seen() -> None:
    assert cell("a\x00b\ud800\tc\n") == "a\u2400b\ufffd\tc\n"
    assert one_line(" a\n\tb\x07 \r\n") == "a b\u2407"


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b % & $ # { }", r"a\_b \% \& \$ \# \{ \}"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("[x]*", "{[}x]{*}"),
        ("a--b", "a-{}-b"),
        ("---", "-{}-{}-"),
        ("e\u0301 \u00fc", "\u00e9 \u00fc"),
        ("\u4e2d\u202e", "[U+4E2D][U+202E]"),
        ("\u2212\u221e \u00b5s", r"$-$$\infty$ $\mu$s"),
        ("a\nb\x00\ud800", "a b[U+2400]?"),
    ],
)
def test_latex_prints_any_text(text: str, latex: str) -> None:
    assert escape(text) == latex
