"""The paired tests of a place and metric: one family, so that all that is said of it holds together.

The best of many entries is picked on the same samples that it is tested on (the winner's curse), and any entry might
have been picked. So the family is every pair of entries that could be tested, not only the pairs that are looked at:
Holm over all of them keeps the chance that anything at all is called different by mistake below 5 %. Pairs that nobody
looks at count with p = 1, which is on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from harness.metrics.base import SampleValues
from harness.paired import ALPHA, POWER, Comparison, holm
from harness.paired_grid import compare_all, gives_a_figure
from harness.report.data import Estimate, Metric
from harness.report.entries import Entry

Pair = tuple[Entry, Entry]
_NO_VALUES = "the figures of single samples are not stored"
_TOO_MANY = "too many step counts to test them all"
_NO_COMMON = "fewer than two samples in common"


@dataclass(frozen=True)
class Test:
    """One entry against another, in the direction in which the metric is better.

    Attributes:
        gain: how much better the first is than the second; negative where it is worse.
        low: lower end of its 95 % interval, for this pair alone.
        high: upper end.
        p: after Holm over the family; None where there was no test.
        detectable: the smallest difference that the test would find four times in five, at the level that the family
            leaves to a single test; None where unknown.
        pairs: how many samples were paired.
        why_not: why there was no test; "" where there was one.
    """

    gain: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    detectable: float | None = None
    pairs: int = 0
    why_not: str = ""

    @property
    def better(self) -> bool:
        """Whether the first is measurably better."""
        return self.p is not None and self.p < ALPHA and self.gain > 0

    @property
    def worse(self) -> bool:
        """Whether the first is measurably worse."""
        return self.p is not None and self.p < ALPHA and self.gain < 0

    @property
    def separable(self) -> bool:
        """Whether the two are measurably different."""
        return self.better or self.worse

    def turned(self) -> Test:
        """The second against the first."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Test(-self.gain, low, high, self.p, self.detectable, self.pairs, self.why_not)


class Grid:
    """The tests of one metric between the entries of a place.

    Args:
        metric: with a direction.
        entries: all that may be compared in it.
        pairs: those to be tested; the others count in the family.
    """

    def __init__(self, metric: Metric, entries: Sequence[Entry], pairs: Iterable[Pair]) -> None:
        self._metric = metric
        self._known = {
            entry: values
            for entry in entries
            if (values := entry.values.get(metric.name)) is not None and gives_a_figure(values)
        }
        count = len(self._known)
        self.entries = count
        self.family = count * (count - 1) // 2
        compared = _compare(self._known, _distinct(pairs, self._known))
        tested = {pair: c for pair, c in compared.items() if c.p is not None}
        p_values = [c.p for c in tested.values() if c.p is not None]
        self._adjusted = dict(zip(tested, holm(p_values, self.family), strict=True))
        self._compared = compared
        self._reach = _reach(self.family)

    @property
    def looked_at(self) -> int:
        """How many of the pairs were tested."""
        return len(self._adjusted)

    def test(self, first: Entry, second: Entry) -> Test:
        """How much better the first is than the second."""
        if missing := [e for e in (first, second) if e not in self._known]:
            return Test(self._difference(first, second), why_not=_why(self._metric, missing))
        if (second, first) in self._compared:
            return self.test(second, first).turned()
        c = self._compared.get((first, second))
        if c is None:
            return Test(self._difference(first, second), why_not=_TOO_MANY)
        if c.p is None:
            return Test(self._difference(first, second), pairs=c.pairs, why_not=_NO_COMMON)
        # The comparison is second - first: better the other way round where higher is better.
        sign = -1 if self._metric.better == "higher" else 1
        low, high = (c.low, c.high) if sign > 0 else (_negative(c.high), _negative(c.low))
        detectable = None if c.detectable is None else c.detectable * self._reach
        p = self._adjusted[first, second]
        return Test(sign * c.difference, low, high, p, detectable, c.pairs)

    def _difference(self, first: Entry, second: Entry) -> float:
        a, b = first.estimate(self._metric.name), second.estimate(self._metric.name)
        if a is None or b is None:
            return math.nan
        return a.value - b.value if self._metric.better == "higher" else b.value - a.value


def _why(metric: Metric, missing: Sequence[Entry]) -> str:
    if any(metric.name in entry.values for entry in missing):
        return "the figures of single samples are not all finite"
    return _NO_VALUES


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _reach(family: int) -> float:
    """How much larger a difference must be to be found in a family of tests than in a single one."""
    normal = NormalDist()
    power = normal.inv_cdf(POWER)
    return (normal.inv_cdf(1 - ALPHA / (2 * max(family, 1))) + power) / (normal.inv_cdf(1 - ALPHA / 2) + power)


def _distinct(pairs: Iterable[Pair], known: Mapping[Entry, SampleValues]) -> list[Pair]:
    """Each pair once, whichever comes first in it; only of entries with values of one statistic."""
    found: dict[frozenset[Entry], Pair] = {}
    for a, b in pairs:
        if a is not b and a in known and b in known:
            found.setdefault(frozenset((a, b)), (a, b))
    return list(found.values())


def _compare(known: Mapping[Entry, SampleValues], pairs: Sequence[Pair]) -> dict[Pair, Comparison]:
    """All comparisons; pairs whose samples are the same ones are compared together."""
    numbers: dict[tuple[tuple[int | None, int], ...], int] = {}
    keys = {e: numbers.setdefault(tuple(e.keys), len(numbers)) for pair in pairs for e in pair}
    groups: dict[frozenset[tuple[int, str]], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(frozenset((keys[e], known[e].statistic) for e in pair), []).append(pair)
    return {pair: c for mine in groups.values() for pair, c in _compare_group(known, mine).items()}


def _compare_group(known: Mapping[Entry, SampleValues], pairs: Sequence[Pair]) -> dict[Pair, Comparison]:
    """Comparisons over the samples that all these entries have, which are of two lists at most."""
    entries = list(dict.fromkeys(entry for pair in pairs for entry in pair))
    common = set.intersection(*(set(entry.keys) for entry in entries))
    order = [key for key in entries[0].keys if key in common]
    values = [_picked(known[entry], entry.keys, order) for entry in entries]
    places = {entry: at for at, entry in enumerate(entries)}
    if not order or len({v.statistic for v in values}) > 1 or not all(map(gives_a_figure, values)):
        return {pair: Comparison(math.nan, math.nan, math.nan, None, None, None, len(order), None) for pair in pairs}
    return dict(zip(pairs, compare_all(values, [(places[a], places[b]) for a, b in pairs]), strict=True))


def _picked(
    values: SampleValues, keys: Sequence[tuple[int | None, int]], order: Sequence[tuple[int | None, int]]
) -> SampleValues:
    if list(keys) == list(order):
        return values
    rows = dict(zip(keys, values.rows, strict=True))
    return SampleValues(values.statistic, [rows[key] for key in order])


def p_text(p: float) -> str:
    """A p-value for people, with so many digits that one beside `ALPHA` does not look like it."""
    if p < 0.001:
        return "p < 0.001"
    shown = f"{min(p, 1.0):.2g}"
    return f"p = {shown}" if float(shown) != ALPHA else f"p = {_beside_alpha(p)}"


def _beside_alpha(p: float) -> str:
    """A p that two digits would show as `ALPHA`: rounded up where it is not below it, else down."""
    rounded = math.ceil if p >= ALPHA else math.floor
    return f"{rounded(p * 10_000) / 10_000:.4f}"


def shared_text(test: Test, first: Entry, second: Entry) -> str:
    """Over which samples a test was made, "" where each of the two has no others."""
    if test.why_not or test.pairs >= max(len(first.keys), len(second.keys)):
        return ""
    return f" over the {test.pairs:,} samples that both have"


def overlap_text(a: Estimate, b: Estimate) -> str:
    """Whether two intervals share a value, in words that claim nothing."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return "an interval is unknown, so nothing is said of the difference"
    if a.low <= b.high and b.low <= a.high:
        return "the intervals overlap, so they are not told apart"
    return "the intervals do not overlap"
