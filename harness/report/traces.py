"""The states that the page lets a reader step through, kept small: each is stored as what changed since the one before.

A text is cut into parts, a word or a mask each, with the space behind it. Parts are numbers in one list of all words.
A state after the first is a list of changes ``[start, removed, part, part, ...]``, positions as in the state before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, NamedTuple

from harness.report.data import Row
from harness.report.page import Page
from harness.report.places import Place
from harness.report.text import visible
from harness.worker.trace import StoredTrace

#: Texts of each point that are kept at most, and parts of each.
SHOWN, LONGEST = 2, 400
#: Characters that all states may take in the page.
BUDGET = 1_200_000
_PARTS = re.compile("\u2588\\s*|[^\\s\u2588]+\\s*|\\s+")


Found = tuple[Place, Row, StoredTrace]


class Viewer(NamedTuple):
    """What the page's script gets, and plain words on what was left out; `entries` may be empty."""

    words: list[str]
    entries: list[dict[str, Any]]
    note: str


class _Words:
    """Numbers for parts, in order of appearance."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, text: str) -> list[int]:
        """The parts of a text, at most `LONGEST`."""
        return [self.numbers.setdefault(part, len(self.numbers)) for part in _PARTS.findall(text)[:LONGEST]]


def viewer_of(page: Page) -> Viewer:
    """The states to embed: of every traced point where there is room, else of those with the most steps first."""
    found = [(place, row, stored) for place in page.places for row, stored in _traced(place, page)]
    found.sort(key=lambda item: -item[2].steps)
    for shown in range(SHOWN, 0, -1):
        words, entries, left_out = _within(found, shown, page, last=shown == 1)
        if not left_out or shown == 1:
            break
    order = {str(row.get("fingerprint")): i for i, row in enumerate(page.rows)}
    entries.sort(key=lambda entry: order[entry.pop("point")])
    return Viewer(list(words.numbers), entries, _note(found, shown, left_out))


def _traced(place: Place, page: Page) -> Iterable[tuple[Row, StoredTrace]]:
    for row in place.rows:
        stored = page.data.traces.get(str(row.get("fingerprint")))
        if stored is not None and stored.trace.texts:
            yield row, stored


def _within(found: Sequence[Found], shown: int, page: Page, last: bool) -> tuple[_Words, list[dict[str, Any]], int]:
    """As many entries as the budget allows; stops at the first that does not fit unless this is the `last` try."""
    words, entries, used, left_out = _Words(), [], 0, 0
    for place, row, stored in found:
        entry = _entry(place, row, stored, words, shown, page)
        size = len(json.dumps(entry, separators=(",", ":")))
        if used + size + sum(map(len, words.numbers)) > BUDGET:
            left_out += 1
            if not last:
                break
            continue
        used += size
        entries.append(entry)
    return words, entries, left_out


def _entry(place: Place, row: Row, stored: StoredTrace, words: _Words, shown: int, page: Page) -> dict[str, Any]:
    texts = [[visible(str(text)) for text in state[:shown]] for state in stored.trace.texts]
    count = min(map(len, texts))
    return {
        "point": str(row.get("fingerprint")),
        "place": place.title,
        "model": page.names.model(row),
        "method": page.names.method(row),
        "steps": stored.steps,
        "done": stored.trace.done,
        "cut": any(len(_PARTS.findall(text)) > LONGEST for text in texts[-1]),
        "texts": [_deltas([words.of(state[i]) for state in texts]) for i in range(count)],
    }


def _deltas(states: list[list[int]]) -> list[Any]:
    """The first state whole, of the others what changed."""
    return [states[0], *(_changes(old, new) for old, new in pairwise(states))]


def _changes(old: list[int], new: list[int]) -> list[list[int]]:
    if len(old) == len(new):
        return _runs(old, new)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [[a, b - a, *new[c:d]] for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal"]


def _runs(old: list[int], new: list[int]) -> list[list[int]]:
    """Changes position by position, neighbours as one."""
    runs: list[list[int]] = []
    for i, (was, now) in enumerate(zip(old, new, strict=True)):
        if was == now:
            continue
        if runs and runs[-1][0] + runs[-1][1] == i:
            runs[-1][1] += 1
            runs[-1].append(now)
        else:
            runs.append([i, 1, now])
    return runs


def _note(found: Sequence[Found], shown: int, left_out: int) -> str:
    if not found:
        return ""
    words = [f"The first {shown} traced texts of each point are here." if shown > 1 else "One text of each point."]
    if shown < SHOWN:
        words.append("Fewer than usual, to keep this file small.")
    if left_out:
        words.append(f"Left out for the same reason: {left_out} of {len(found)} points, those with the fewest steps.")
    return " ".join(words)
