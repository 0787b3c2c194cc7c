"""Paired tests of a comparison, all of one kind made at once: each by itself would take many times as long."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from harness.compare.finding import Finding
from harness.errors import counted
from harness.metrics.base import SampleValues
from harness.paired import paired_values
from harness.paired_grid import compare_all, gives_a_figure
from harness.sums import total


class Waiting(NamedTuple):
    """A finding that waits for its test: the values of A and of B, of the same samples."""

    finding: Finding
    a: SampleValues
    b: SampleValues


def to_test(
    blank: Finding,
    a_keys: Sequence[Hashable],
    a: SampleValues,
    b_keys: Sequence[Hashable],
    b: SampleValues,
) -> Finding | Waiting:
    """The test over the texts that both have, or the finding where nothing needs to be tested, or can be."""
    try:
        first, second = paired_values(a_keys, a, b_keys, b)
    except ValueError:  # keys that are not as many as values: a run of which some lines were lost
        return replace(blank, note="the values of single texts do not belong to the texts that are stored")
    if a.statistic != b.statistic or not (gives_a_figure(first) and gives_a_figure(second)):
        return replace(blank, note="the texts that both runs have give no figure that a test could use")
    made = replace(blank, a=total(first), b=total(second), count=f"{counted(len(first.rows), 'text')} in pairs")
    if list(map(tuple, first.rows)) == list(map(tuple, second.rows)):
        return replace(made, verdict="same")
    if len(first.rows) < 2:
        return replace(made, verdict="not tested", note="one text: nothing to test with")
    return Waiting(made, first, second)


def tested(found: Sequence[Finding | Waiting]) -> list[Finding]:
    """The findings in their order, those that waited with interval and p; verdicts follow when p is adjusted."""
    kinds: dict[tuple[str, int], dict[int, Waiting]] = {}
    for place, item in enumerate(found):
        if isinstance(item, Waiting):
            kinds.setdefault((item.a.statistic, len(item.a.rows)), {})[place] = item
    made: dict[int, Finding] = {}
    for waiting in kinds.values():
        made |= dict(zip(waiting, _tested(list(waiting.values())), strict=True))
    return [made[place] if isinstance(item, Waiting) else item for place, item in enumerate(found)]


def _tested(waiting: Sequence[Waiting]) -> list[Finding]:
    """Those of one statistic and one number of texts."""
    values = [values for item in waiting for values in (item.a, item.b)]
    results = compare_all(values, [(2 * i, 2 * i + 1) for i in range(len(waiting))])
    return [
        replace(item.finding, low=r.low, high=r.high, p=r.p, detectable=r.detectable, verdict="noise")
        for item, r in zip(waiting, results, strict=True)
    ]
