"""Any text as LaTeX that prints it and does nothing else, with pdfLaTeX, LuaLaTeX and XeLaTeX and no more packages."""

from __future__ import annotations

import re
import unicodedata

from harness.export.text import one_line

#: LaTeX draws two of these in a row as another character.
_LIGATURE = re.compile("(?<=([-',]))(?=\\1)")
_ESCAPED = {
    "\0": "{}",
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"\textasciigrave{}",
    # After "\\" these two would be read as its argument.
    "[": "{[}",
    "*": "{*}",
    "\u00b7": r"\textperiodcentered{}",
    "\u00b1": r"$\pm$",
    "\u00b5": r"$\mu$",
    "\u00d7": r"$\times$",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u2026": r"\ldots{}",
    "\u2212": "$-$",
    "\u221e": r"$\infty$",
    "\u2264": r"$\leq$",
    "\u2265": r"$\geq$",
    "\ufffd": "?",
}


def escape(text: str) -> str:
    """`text` in one line, to be put between other LaTeX.

    Latin letters with accents stay; a character that needs a font or package is written as its code, such as U+4E2D.
    """
    parted = _LIGATURE.sub("\0", unicodedata.normalize("NFC", one_line(text)))
    return "".join(map(_character, parted))


def _character(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    plain = character.isascii() or "\u00c0" <= character <= "\u017f"
    return character if plain else f"[U+{ord(character):04X}]"
