"""Rows that differ in the seed alone, taken together: what is compared, ranked and drawn as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from harness import comparable
from harness.metrics.base import SampleValues
from harness.paired import figure_of
from harness.report.data import Estimate, Names, ReportData, Row, estimate, group_by, is_done, key_of, number
from harness.report.places import Place

#: Equal in rows that differ in the seed alone. Machine and threads count: seconds of two machines are two entries.
SAME = (
    *("model", "role", "checkpoint", "engine", "runtime", "benchmark", "data", "task", "scheduler", "steps", "options"),
    *("selection", "candidates", "batch_size", "length", "samples", "device", "dtype", "machine", "threads", "run"),
)


@dataclass(frozen=True, eq=False)
class Entry:
    """One model with one sampler and one step count, over all its seeds. Equal only to itself.

    Attributes:
        rows: its finished rows, one a seed.
        model: its name, as `Names.model` gives it.
        method: scheduler and whatever else tells it apart, as `Names.method` gives it.
        name: name for people, without the seed.
        values: by metric, what its figure is made of; aligned with `keys`; a metric may be missing.
        keys: seed and index of each sample, which is what pairs are made by. Where each sample has a prompt of its own,
            the prompts are what was drawn: the values are means over seeds, and the seed in the key is None.
    """

    rows: Sequence[Row] = field(repr=False)
    model: str
    method: str
    name: str
    values: Mapping[str, SampleValues] = field(repr=False)
    keys: Sequence[tuple[int | None, int]] = field(repr=False)

    @property
    def role(self) -> str:
        return str(self.rows[0].get("role") or "model")

    @property
    def steps(self) -> int | None:
        """Steps of its rows; None for controls, where it is not known, and for what takes none (0)."""
        steps = number(self.rows[0].get("steps"))
        return int(steps) or None if steps is not None and self.role != "control" else None

    @cached_property
    def nfe(self) -> float | None:
        """Evaluations a sequence, mean over seeds; None where any is unknown."""
        return self._mean("nfe_mean")

    @cached_property
    def seconds(self) -> float | None:
        """Seconds a sequence, mean over seeds; None where any was not measured here."""
        return None if any(map(comparable.is_imported, self.rows)) else self._mean("seconds_per_sequence")

    @property
    def machine(self) -> str | None:
        """Where it ran; its seconds are compared with none of another machine."""
        return self.rows[0].get("machine")

    @property
    def rankable(self) -> bool:
        """Whether nothing keeps the quality of its text from being ranked with most rows of its place; its seconds are
        ranked only with those of the same `clock`.
        """
        return all(map(comparable.ranks_in_quality, self.rows))

    @cached_property
    def clock(self) -> tuple[Any, ...]:
        """What its seconds depend on: machine, threads, batch size and so on; equal where seconds may be compared."""
        return tuple(comparable.time_conditions(self.rows[0]).values())

    def fingerprints(self) -> list[str]:
        """Of its rows, for links."""
        return [str(row.get("fingerprint")) for row in self.rows]

    def estimate(self, metric: str) -> Estimate | None:
        """The figure with its interval, over all seeds together; None where any row lacks it.

        Rows of several seeds without values of their samples give the mean of their figures, without an interval.
        """
        known = [e for row in self.rows if (e := estimate(row, metric))]
        if len(known) < len(self.rows):
            return None
        if len(known) == 1:
            return known[0]
        if metric not in self._pooled:
            mean = Estimate(sum(e.value for e in known) / len(known), None, None)
            self._pooled[metric] = _figure(self.values.get(metric)) or mean
        return self._pooled[metric]

    @cached_property
    def _pooled(self) -> dict[str, Estimate]:
        """Figures over several seeds, which take a while."""
        return {}

    def _mean(self, column: str) -> float | None:
        known = [value for row in self.rows if (value := number(row.get(column))) is not None]
        return sum(known) / len(known) if known and len(known) == len(self.rows) else None


def entries_of(place: Place, names: Names, data: ReportData) -> list[Entry]:
    """The entries of a place of generated text, in the order of its rows."""
    done = [row for row in place.rows if is_done(row) and row.get("kind") == "generate" and not row.get("same_as")]
    return [entry_of(rows, names, data) for rows in group_by(done, lambda row: key_of(row, SAME)).values()]


def entry_of(rows: list[Row], names: Names, data: ReportData) -> Entry:
    """Rows that differ in the seed alone as one entry."""
    row = rows[0]
    words = [names.model(row), names.where(row) if row.get("role") == "control" else names.method(row)]
    if row.get("steps") is not None and row.get("role") != "control":
        words.append("1 step" if row["steps"] == 1 else f"{row['steps']} steps")
    counts = [int(r.get("samples_done") or r.get("samples") or 0) for r in rows]
    by_row = [data.values.get(str(r.get("fingerprint")), {}) for r in rows]
    lists = {name: [v for values in by_row if (v := values.get(name))] for name in by_row[0]}
    known = {name: mine for name, mine in lists.items() if [len(v.rows) for v in mine] == counts}
    keys: list[tuple[int | None, int]]
    if comparable.place(row)[2] != "unconditional" and len(set(counts)) == 1:
        values, keys = {name: _mean_of(mine) for name, mine in known.items()}, [(None, i) for i in range(counts[0])]
    else:
        values = {name: _joined(mine) for name, mine in known.items()}
        keys = [(r.get("seed"), i) for r, count in zip(rows, counts, strict=True) for i in range(count)]
    return Entry(rows, words[0], names.method(row), " \u00b7 ".join(w for w in words if w), values, keys)


def _joined(by_row: Sequence[SampleValues]) -> SampleValues:
    """The values of all rows one after the other."""
    return SampleValues(by_row[0].statistic, [line for values in by_row for line in values.rows])


def _mean_of(by_row: Sequence[SampleValues]) -> SampleValues:
    """The mean over rows of the values of each sample: every figure of sums is the same for their means."""
    if len(by_row) == 1:
        return by_row[0]
    return SampleValues(by_row[0].statistic, np.mean([values.rows for values in by_row], axis=0).tolist())


def _figure(values: SampleValues | None) -> Estimate | None:
    """The figure of samples taken together, with its bootstrap interval; None where they give none."""
    try:
        return Estimate(*figure_of(values)) if values is not None else None
    except ValueError:
        return None
