"""Undoing the spacing of tokenised corpora, document by document, as the field does it.

The rules are SEDD's (Lou, Meng and Ermon 2024, github.com/louaaron/Score-Entropy-Discrete-Diffusion), which RADD and
MDLM took over. Each is an ordered list of replacements and is kept with its oddities, since published perplexities
depend on them: what one rule leaves behind, the next one sees. `tests/benchmarks/test_detokenize.py` holds pairs that
were compared with RADD's functions (commit 60b772df).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

Detokenizer = Callable[[str], str]


def _replace(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def _inside(text: str, opening: str, closing: str) -> str:
    """`text` without the white space at both inner ends of each bracketed or quoted part."""
    pattern = f"{re.escape(opening)}([^{re.escape(closing)}]*){re.escape(closing)}"
    return re.sub(pattern, lambda part: opening + part[1].strip() + closing, text)


def wikitext(text: str) -> str:
    """WikiText-2 and WikiText-103."""
    text = text.replace("s '", "s'")
    # Meant for an apostrophe before a digit, but the slashes are literal: it never meets real text.
    text = re.sub("/' [0-9]/", "/'[0-9]/", text)
    text = _replace(text, [(f" @{mark}@ ", mark) for mark in "-,."])
    text = _replace(text, [(f" {mark} ", f"{mark} ") for mark in ":;.!?,"])
    for opening, closing in ("()", "[]", "{}", '""', "''"):
        text = _inside(text, opening, closing)
    text = _replace(text, [(" ".join("=" * n), "=" * n) for n in (4, 3, 2)])
    return _replace(text, [(" ° ", "°"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s")])


def ptb(text: str) -> str:
    """Penn Treebank in Mikolov's preprocessing; `N` and `<unk>` become "1" and "?"."""
    text = _replace(text, [(" 's", "'s"), ("s ' ", "s' "), (" n't", "n't"), (" \n ", "\n"), ("\\/", "/")])
    # One pass leaves every second of neighbouring N, since they share a space.
    text = _replace(text, [(" N ", " 1 ")] * 10)
    return _replace(text, [("$ 1", "$1"), ("# 1", "#1"), ("<unk>", "?")])


#: Ordered rules of `lm1b`. Neighbouring marks share a space: a rule that has used it leaves the second mark as it is.
_LM1B = [
    (r" (?='\w)", ""),
    (r"( \w+) (\. )", r"\1\2"),
    (r"( \w+) (?=\.$)", r"\1"),
    (r" (\? )", r"\1"),
    (r" (?=\?$)", ""),
    (r" (! )", r"\1"),
    (r" (?=!$)", ""),
    *((f" ({mark} )", r"\1") for mark in ",:;"),
    (r" / ", "/"),
    (r'" ([^"]+) "', r'"\1"'),
    (r"' ([^']+) '", r"'\1'"),
    (r"\( ([^()]+) \)", r"(\1)"),
    (r"\[ ([^][]+) \]", r"[\1]"),
    (r"(?<=[$£]) ", ""),
]


def lm1b(text: str) -> str:
    """One Billion Words."""
    text = _replace(text, [(f"{scheme} : / / ", f"{scheme}://") for scheme in ("http", "https")])
    for pattern, new in _LM1B:
        text = re.sub(pattern, new, text)
    return text


def lambada(text: str) -> str:
    """LAMBADA: straight double quotes, and each passage behind a line break."""
    return "\n" + _replace(text, [("“", '"'), ("”", '"')]).strip()


DETOKENIZERS: dict[str, Detokenizer] = {"wikitext": wikitext, "ptb": ptb, "lm1b": lm1b, "lambada": lambada, "none": str}
