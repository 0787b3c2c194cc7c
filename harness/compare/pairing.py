"""Which points of two runs are the same point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.compare.request import Request
from harness.report.data import Row, as_text, group_by, key_of

#: Names of the states that points without figures can be in, as a person reads them.
STATES = {
    "failed": "failed",
    "not_available": "not available",
    "same_as": "the same as another point",
    "partial": "stopped half-way",
    "pending": "not run yet",
}


class Pair(NamedTuple):
    """One point in both runs."""

    a: Row
    b: Row


@dataclass(frozen=True)
class Unit:
    """Pairs of finished points that differ in the seed alone: what is tested as one."""

    pairs: Sequence[Pair]

    @property
    def a(self) -> list[Row]:
        return [pair.a for pair in self.pairs]

    @property
    def b(self) -> list[Row]:
        return [pair.b for pair in self.pairs]


@dataclass(frozen=True)
class Pairing:
    """The points of two runs.

    Attributes:
        units: finished in both.
        unequal: finished in one of them only, or in different states.
        only_a: points that B does not have.
        only_b: points that A does not have.
    """

    units: list[Unit]
    unequal: list[Pair]
    only_a: list[Row]
    only_b: list[Row]


def pair_up(a: Sequence[Row], b: Sequence[Row], request: Request) -> Pairing:
    """Pair points that agree in everything, then those that differ only in what `request.by` allows and of which
    either run has one left; where the seeds may differ, then those that differ in nothing else, in order.
    """
    pairs, rest_a, rest_b = _matched(a, b, lambda row: key_of(row, (*request.fixed, *request.by)))
    more, rest_a, rest_b = _matched(rest_a, rest_b, lambda row: key_of(row, request.fixed))
    seeds: list[Pair] = []
    if "seed" in request.by:
        others = [name for name in (*request.fixed, *request.by) if name != "seed"]
        seeds, rest_a, rest_b = _in_order(rest_a, rest_b, lambda row: key_of(row, others))
    pairs = sorted([*pairs, *more, *seeds], key=lambda pair: next(i for i, row in enumerate(a) if row is pair.a))
    done = [pair for pair in pairs if pair.a.get("status") == pair.b.get("status") == "done"]
    unequal = [pair for pair in pairs if pair.a.get("status") != pair.b.get("status")]
    fields = [name for name in (*request.fixed, *request.by) if name != "seed"]
    units = group_by(done, lambda pair: (key_of(pair.a, fields), key_of(pair.b, fields))).values()
    return Pairing([Unit(mine) for mine in units], unequal, rest_a, rest_b)


def _matched(a: Sequence[Row], b: Sequence[Row], key: Callable[[Row], str]) -> tuple[list[Pair], list[Row], list[Row]]:
    """Rows that are the only ones of their key on both sides, and what is left of either."""
    first, second = group_by(a, key), group_by(b, key)
    shared = [k for k in first if len(first[k]) == len(second.get(k, ())) == 1]
    pairs = [Pair(first[k][0], second[k][0]) for k in shared]
    left = [[row for k, rows in side.items() if k not in set(shared) for row in rows] for side in (first, second)]
    return pairs, left[0], left[1]


def _in_order(a: Sequence[Row], b: Sequence[Row], key: Callable[[Row], str]) -> tuple[list[Pair], list[Row], list[Row]]:
    """Rows of one key paired in their order, and what is left of either side."""
    first, second = group_by(a, key), group_by(b, key)
    pairs = [Pair(*both) for k in first for both in zip(first[k], second.get(k, ()), strict=False)]
    left = [
        [row for k, rows in mine.items() for row in rows[len(others.get(k, ())) :]]
        for mine, others in ((first, second), (second, first))
    ]
    return pairs, left[0], left[1]


def pair_numbers(rows: Sequence[Row]) -> dict[Any, int | None]:
    """Seed -> number of its pair, for the rows of one side of a unit: texts of one pair belong together, whatever the
    seeds. None for the only pair, and for texts that belong to no seed.
    """
    alone = len(rows) == 1
    return {None: None} | {row.get("seed"): None if alone else i for i, row in enumerate(rows)}


def nearest(row: Row, others: Sequence[Row], request: Request) -> str:
    """What keeps a point without a partner from the point that is most like it: "differs in data, steps"; "" where the
    other run has nothing of its model and kind.
    """
    same = [other for other in others if all(other.get(name) == row.get(name) for name in ("model", "kind"))]
    if not same:
        return ""
    lists = [[name for name in request.fixed if other.get(name) != row.get(name)] for other in same]
    best = min(range(len(same)), key=lambda i: len(lists[i]))
    if not lists[best]:
        return "several points there differ only in what is compared: name fewer fields with --by"
    words = [
        f"{name} {as_text(row.get(name)) or 'none'}, there {as_text(same[best].get(name)) or 'none'}"
        for name in lists[best]
    ]
    hint = f"; --by {lists[best][0]} pairs them" if lists[best] in (["seed"], ["samples"]) else ""
    return f"nearest there differs in {'; '.join(words)}{hint}"
