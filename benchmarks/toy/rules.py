"""Reads the grammar file of the benchmark (its format is described at the top of grammar.txt)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from benchmarks.toy.grammar import Grammar, GrammarError, Symbols

GRAMMAR_FILE = Path(__file__).with_name("grammar.txt")
_VARIABLE = re.compile(r"\$(\w+)")
#: A probability, then symbols.
_OPTION = re.compile(r"([0-9]+\.?[0-9]*)((?:\s+\S+)*)")


@cache
def toy_grammar() -> Grammar:
    """The grammar of the benchmark `toy`."""
    return Grammar(read_rules(GRAMMAR_FILE.read_text(encoding="utf-8")))


def read_rules(text: str) -> dict[str, list[tuple[float, Symbols]]]:
    """Rules in the notation of grammar.txt.

    Raises:
        GrammarError: for a line that is no rule, a rule given twice, or a variable that the table lacks.
    """
    rules: dict[str, list[tuple[float, Symbols]]] = {}
    table: list[dict[str, str]] = []
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            cells = line[1:].split()
            if columns:
                table.append(dict(zip(columns, cells, strict=True)))
            else:
                columns = cells
        elif line.strip() and not line.startswith("#"):
            for plain in _instances(line, table):
                name, options = _rule(plain)
                if name in rules:
                    raise GrammarError(f"{name} is defined twice")
                rules[name] = options
    return rules


def _instances(line: str, table: Iterable[dict[str, str]]) -> list[str]:
    """The line once for each row of the table, where it has variables."""
    names = set(_VARIABLE.findall(line))
    if not names:
        return [line]
    found = []
    for row in table:
        if not names <= set(row):
            raise GrammarError(f"unknown variable ${min(names - set(row))} in: {line}")
        found.append(_VARIABLE.sub(lambda match, row=row: row[match[1]], line))  # type: ignore[misc]
    return list(dict.fromkeys(found))


def _rule(line: str) -> tuple[str, list[tuple[float, Symbols]]]:
    name, colon, body = line.partition(":")
    words = body.split()
    if not colon or not words or name.split() != [name]:
        raise GrammarError(f"not a rule: {line}")
    if words[0] == "zipf":
        words = words[1:]
        total = math.fsum(1 / rank for rank in range(1, len(words) + 1))
        return name, [(1 / rank / total, (word,)) for rank, word in enumerate(words, start=1)]
    options = []
    for option in body.split("|"):
        match = _OPTION.fullmatch(option.strip())
        if match is None:
            raise GrammarError(f"not a rule: {line}")
        options.append((float(match[1]), tuple(match[2].split())))
    return name, options
