"""What plots draw: entries with a cost and a figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness import comparable
from harness.report.data import Estimate, as_text, number
from harness.report.entries import Entry
from harness.report.format import figure
from harness.report.plots.series import Series


class Cost(NamedTuple):
    """What quality is drawn against.

    Attributes:
        name: part of file names.
        word: as sentences say it.
        label: of the axis.
        form: of its figures (`format.figure`).
        of: gives it; None where it was not measured.
        base: of the logarithmic axis. People sweep steps by doubling.
    """

    name: str
    word: str
    label: str
    form: str
    of: Callable[[Entry], float | None]
    base: int

    def text(self, value: float) -> str:
        """A cost for people: "19.25 NFE", "12.3 ms"."""
        shown = figure(value, self.form)
        return shown if self.form == "seconds" else f"{shown} {self.word}"


def _steps(entry: Entry) -> float | None:
    return None if entry.steps is None else float(entry.steps)


NFE = Cost("nfe", "NFE", "NFE per sequence (log scale)", "count", lambda entry: entry.nfe, 2)
SECONDS = Cost("seconds", "seconds", "seconds per sequence (log scale)", "seconds", lambda entry: entry.seconds, 10)
STEPS = Cost("steps", "steps", "steps (log scale)", "count", _steps, 2)


@dataclass(frozen=True)
class Point:
    """One marker.

    Attributes:
        entry: what it is of.
        series: the line it belongs to.
        x: cost, above 0.
        y: figure and interval.
        x_low: lower end of the spread of x, None where there is none to show.
        x_high: upper end.
    """

    entry: Entry
    series: Series
    x: float
    y: Estimate
    x_low: float | None = None
    x_high: float | None = None

    @property
    def mark(self) -> str:
        """The letter of an entry that is not comparable with the others in quality, "" for most."""
        return next((comparable.mark(row) for row in self.entry.rows if comparable.quality_reason(row)), "")

    @property
    def reason(self) -> str:
        """Why not."""
        return next((reason for row in self.entry.rows if (reason := comparable.quality_reason(row))), "")


def points_of(
    entries: Sequence[Entry],
    series: Mapping[tuple[str, str], Series],
    cost: Cost,
    figures: Mapping[int, Estimate],
) -> list[Point]:
    """The entries that have both; a cost that is not above 0 has no place on a logarithmic axis.

    Args:
        entries: those that lines are made of.
        series: lines by model and method.
        cost: the x axis.
        figures: y by the id of the entry.
    """
    found = []
    for entry in entries:
        x, y = cost.of(entry), figures.get(id(entry))
        if x is None or x <= 0 or y is None:
            continue
        ends = quartiles(entry) if cost is SECONDS else (None, None)
        found.append(Point(entry, series[entry.model, entry.method], x, y, *ends))
    return found


def quartiles(entry: Entry) -> tuple[float | None, float | None]:
    """Quartiles over batches of the seconds a sequence, mean over seeds; None for a single batch and for a choice among
    texts, which has no batches of its own.
    """
    ends = []
    for row in entry.rows:
        size, low, high = (number(row.get(key)) for key in ("batch_size", "seconds_q1", "seconds_q3"))
        if row.get("selection") or (number(row.get("batches")) or 0) < 2 or not size or not low or not high:
            return None, None
        ends.append((low / size, high / size))
    return sum(low for low, _ in ends) / len(ends), sum(high for _, high in ends) / len(ends)


class TimeGroup(NamedTuple):
    """Entries whose seconds may stand on one axis, and what they have in common; `more` are titles of conditions in
    which it differs from another group.
    """

    entries: list[Entry]
    conditions: Mapping[str, Any]
    more: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Machine and how it was used, for a heading."""
        known = self.conditions
        words = [as_text(known.get("machine")) or "machine not recorded"]
        words += [as_text(known[key]) for key in ("device", "dtype") if known.get(key)]
        words += [f"{known['threads']} threads"] if known.get("threads") else []
        named = ["batch size"] if "batch size" in known else []
        named += [key for key in self.more if key in ("runtime", "length")]
        return ", ".join([*words, *(f"{key} {known[key]}" for key in named if known.get(key))])


def time_groups(entries: Sequence[Entry], leave_out: Sequence[str] = ()) -> list[TimeGroup]:
    """Entries with seconds of their own, apart by what seconds depend on, the largest group first.

    Args:
        entries: any.
        leave_out: titles of conditions (`comparable.TIME`) that need not agree.
    """
    found: dict[str, TimeGroup] = {}
    for entry in entries:
        if entry.seconds is None:
            continue
        every = comparable.time_conditions(entry.rows[0])
        conditions = {key: value for key, value in every.items() if key not in leave_out}
        key = json.dumps(conditions, sort_keys=True, default=str)
        found.setdefault(key, TimeGroup([], conditions)).entries.append(entry)
    groups = sorted(found.values(), key=lambda group: -len(group.entries))
    keys = groups[0].conditions if groups else {}
    more = [key for key in keys if len({as_text(group.conditions[key]) for group in groups}) > 1]
    return [group._replace(more=more) for group in groups]
