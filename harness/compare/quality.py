"""Quality, likelihood, evaluations and memory of one unit in two runs: figures, tests, and which texts are the same."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from harness import comparable
from harness.compare.finding import Finding
from harness.compare.paired_tests import Waiting, to_test
from harness.compare.pairing import Pair, Unit, pair_numbers
from harness.compare.sides import Side
from harness.errors import counted
from harness.metrics.base import SampleValues
from harness.report.data import Estimate, Metric, Row, number
from harness.report.entries import Entry, entry_of
from harness.store import Record
from harness.sums import bits_per_byte

#: Fields of the quality of a text which no comparison can do without; arithmetic and counts may be what is compared.
_SAME_TEXT = ("data", "tokenizer", "length")
#: Figure of likelihood rows that is compared: its unit does not depend on the tokenizer.
LIKELIHOOD = "bits_per_byte"


class Texts(NamedTuple):
    """How many of the texts that both runs have are the same, letter by letter."""

    point: str
    same: int
    total: int

    @property
    def identical(self) -> bool:
        return self.same == self.total > 0


@dataclass(frozen=True)
class Sides:
    """The two runs."""

    a: Side
    b: Side

    def name(self, unit: Unit) -> str:
        """Name of a unit for people, with its place where the run has several."""
        page, row = self.a.page, unit.pairs[0].a
        if row.get("kind") == "likelihood":
            return page.names.full({**row, "seed": None})
        name, where = entry_of(unit.a, page.names, page.data).name, page.names.place(row)
        return f"{where}: {name}" if where else name


def texts_of(sides: Sides, unit: Unit, point: str) -> Texts:
    """Compare the texts of a unit by seed and index."""
    same = total = 0
    for pair in unit.pairs:
        first, second = _by_index(sides.a.samples(pair.a)), _by_index(sides.b.samples(pair.b))
        shared = first.keys() & second.keys()
        total += len(shared)
        same += sum(first[index]["text"] == second[index]["text"] for index in shared)
    return Texts(point, same, total)


def _by_index(entries: Sequence[Record]) -> dict[int, Record]:
    return {int(entry["index"]): entry for entry in entries}


def quality_of(sides: Sides, unit: Unit, metrics: Sequence[Metric], texts: Texts) -> list[Finding | Waiting]:
    """A finding for each metric of generated text that either run has of the unit."""
    a, b = (entry_of(rows, side.page.names, side.page.data) for rows, side in ((unit.a, sides.a), (unit.b, sides.b)))
    found: list[Finding | Waiting] = []
    for metric in metrics:
        blank = Finding(texts.point, metric.name, metric.title, metric.better, a.role)
        figures = a.estimate(metric.name), b.estimate(metric.name)
        if figures == (None, None):
            continue
        found.append(_metric_finding(blank, metric.name, unit.pairs, (a, b), figures, texts))
    return found


def _metric_finding(
    blank: Finding,
    name: str,
    pairs: Sequence[Pair],
    entries: tuple[Entry, Entry],
    figures: tuple[Estimate | None, ...],
    texts: Texts,
) -> Finding | Waiting:
    (a, b), pair = figures, pairs[0]
    blank = replace(blank, a=a.value if a else None, b=b.value if b else None)
    if a is None or b is None:
        which, row = ("A", pair.a) if a is None else ("B", pair.b)
        reason = row.get(f"{name}_reason") or ("not scored there" if row.get(name) is None else "not a finite number")
        return replace(blank, note=f"no figure in {which}: {reason}")
    unlike = _unlike(pair, name)
    if unlike:
        return replace(blank, note="; ".join(unlike))
    if texts.identical and all(row.a.get(name) == row.b.get(name) for row in pairs):
        return replace(blank, b=a.value, verdict="identical", count=counted(texts.total, "text"))
    values = [entry.values.get(name) for entry in entries]
    if values[0] is None or values[1] is None:
        return _untested(blank, a, b)
    a_keys, b_keys = (_keys(entry) for entry in entries)
    return to_test(blank, a_keys, values[0], b_keys, values[1])


def _keys(entry: Entry) -> list[Hashable]:
    """The keys of an entry, with the number of its pair for the seed."""
    numbers = pair_numbers(entry.rows)
    return [(numbers[seed], index) for seed, index in entry.keys]


def _unlike(pair: Pair, metric: str) -> list[str]:
    """What makes the figures of a metric figures of different quantities."""
    fields = [f for f in comparable.quality_fields(pair.a.get("task")) if f.title in _SAME_TEXT]
    fields += comparable.metric_fields([pair.a, pair.b], metric)
    return differing(pair, fields)


def differing(pair: Pair, fields: Sequence[comparable.Field], strict: bool = False) -> list[str]:
    """The fields in which the rows of a pair do not agree: "judge x (12ab) in A, y (34cd) in B".

    Args:
        pair: the rows.
        fields: in which they must agree.
        strict: whether what one of them does not say sets them apart also where it is optional: a cost that was
            measured somewhere has a machine, known or not.
    """
    values = [(field, field.value(pair.a), field.value(pair.b)) for field in fields]
    return [
        f"{field.title} {_said(a)} in A, {_said(b)} in B"
        for field, a, b in values
        if a != b and (strict or not (field.optional and None in (a, b)))
    ]


def _said(value: Any) -> str:
    return "not recorded" if value is None else str(value)


def _untested(blank: Finding, a: Estimate, b: Estimate) -> Finding:
    if a.value == b.value:
        return replace(blank, verdict="same")
    apart = None
    if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
        apart = a.low > b.high or b.low > a.high
    overlap = {None: "no intervals", True: "the intervals do not overlap", False: "the intervals overlap"}[apart]
    note = f"a figure of the whole set, or scored before values of single texts were kept: no paired test; {overlap}"
    return replace(blank, verdict="not tested", apart=apart, note=note)


def evaluations_of(sides: Sides, unit: Unit, point: str) -> Finding | Waiting:
    """Network evaluations a text, counted."""
    blank = Finding(point, "nfe", "NFE a text", "lower", _role(unit), "count")
    values, keys = zip(*(_nfe(side, rows) for side, rows in ((sides.a, unit.a), (sides.b, unit.b))), strict=True)
    if values[0] is None or values[1] is None:
        which = " and ".join(name for name, v in zip("AB", values, strict=True) if v is None)
        return replace(blank, note=f"not counted in {which}")
    return to_test(blank, keys[0], values[0], keys[1], values[1])


def _nfe(side: Side, rows: Sequence[Row]) -> tuple[SampleValues | None, list[Hashable]]:
    numbers = pair_numbers(rows)
    counts: dict[Hashable, Any] = {
        (numbers[row.get("seed")], int(s["index"])): s.get("nfe") for row in rows for s in side.samples(row)
    }
    if not counts or None in counts.values():
        return None, []
    return SampleValues("mean", [(float(nfe), 1.0) for nfe in counts.values()]), list(counts)


def memory_of(unit: Unit, point: str) -> Finding:
    """Peak memory: one figure a point, which no test can be made from."""
    blank = Finding(point, "memory", "peak memory", "lower", _role(unit), "bytes")
    figures = [_largest(rows) for rows in (unit.a, unit.b)]
    blank = replace(blank, a=figures[0], b=figures[1])
    if None in figures:
        return replace(
            blank, note="not measured in " + " and ".join(n for n, f in zip("AB", figures, strict=True) if f is None)
        )
    unlike = differing(unit.pairs[0], comparable.TIME, strict=True)
    if unlike:
        return replace(blank, note="; ".join(unlike))
    if figures[0] == figures[1]:
        return replace(blank, verdict="same")
    return replace(blank, verdict="not tested", note="one figure a point: nothing to test with")


def _largest(rows: Sequence[Row]) -> float | None:
    known = [number(row.get("peak_memory_bytes")) for row in rows]
    return max((value for value in known if value is not None), default=None)


def _role(unit: Unit) -> str:
    return str(unit.pairs[0].a.get("role") or "model")


def likelihood_of(sides: Sides, unit: Unit, point: str) -> Finding | Waiting:
    """Bits per byte of the held-out texts, text by text."""
    blank = Finding(point, LIKELIHOOD, "bits per byte", "lower", _role(unit))
    pair = unit.pairs[0]
    blank = replace(blank, a=number(pair.a.get(LIKELIHOOD)), b=number(pair.b.get(LIKELIHOOD)))
    unlike = differing(pair, [f for f in comparable.LIKELIHOOD if f.title != "samples"])
    if unlike:
        return replace(blank, note="; ".join(unlike))
    figures = [
        {(pair_numbers(rows)[row.get("seed")], int(f["index"])): f for row in rows for f in side.likelihoods(row)}
        for side, rows in ((sides.a, unit.a), (sides.b, unit.b))
    ]
    shared = figures[0].keys() & figures[1].keys()
    if any(figures[0][key]["bytes"] != figures[1][key]["bytes"] for key in shared):
        return replace(blank, note="the texts that were scored are not the same")
    a, b = (bits_per_byte(mine.values()) for mine in figures)
    return to_test(blank, list(figures[0]), a, list(figures[1]), b)
