"""Rows that differ in the seed alone, taken together: what is compared, ranked and drawn as one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import comparable
from harness.metrics.base import SampleValues
from harness.report.data import Estimate, Names, ReportData, Row, estimate, group_by, is_done, number
from harness.report.places import Place

#: Equal in rows that differ in the seed alone. Machine and threads count: seconds of two machines are two entries.
SAME = (
    *("model", "role", "checkpoint", "engine", "runtime", "benchmark", "data", "task", "scheduler", "steps", "options"),
    *("selection", "candidates", "batch_size", "length", "samples", "device", "dtype", "machine", "threads", "run"),
)


@dataclass(frozen=True)
class Entry:
    """One model with one sampler and one step count, over all its seeds.

    Attributes:
        rows: its finished rows, one a seed.
        model: its name, as `Names.model` gives it.
        method: scheduler and whatever else tells it apart, as `Names.method` gives it.
        name: name for people, without the seed.
        values: by metric, what its figure is made of; aligned with `keys`; a metric may be missing.
        keys: seed and index of each sample, which is what pairs are made by.
    """

    rows: Sequence[Row]
    model: str
    method: str
    name: str
    values: Mapping[str, SampleValues]
    keys: Sequence[tuple[int | None, int]]

    @property
    def role(self) -> str:
        return str(self.rows[0].get("role") or "model")

    @property
    def steps(self) -> int | None:
        """Steps of its rows; None for controls and where it is not known."""
        steps = number(self.rows[0].get("steps"))
        return None if steps is None or self.role == "control" else int(steps)

    @property
    def nfe(self) -> float | None:
        """Evaluations a sequence, mean over seeds; None where any is unknown."""
        return self._mean("nfe_mean")

    @property
    def seconds(self) -> float | None:
        """Seconds a sequence, mean over seeds; None where any was not measured here."""
        return None if any(map(comparable.is_imported, self.rows)) else self._mean("seconds_per_sequence")

    @property
    def machine(self) -> str | None:
        """Where it ran; its seconds are compared with none of another machine."""
        return self.rows[0].get("machine")

    @property
    def rankable(self) -> bool:
        """Whether nothing keeps it from being ranked with most rows of its place."""
        return not any(map(comparable.mark, self.rows))

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
        return _pooled(self.values.get(metric)) or Estimate(sum(e.value for e in known) / len(known), None, None)

    def _mean(self, column: str) -> float | None:
        known = [value for row in self.rows if (value := number(row.get(column))) is not None]
        return sum(known) / len(known) if known and len(known) == len(self.rows) else None


def entries_of(place: Place, names: Names, data: ReportData) -> list[Entry]:
    """The entries of a place of generated text, in the order of its rows."""
    done = [row for row in place.rows if is_done(row) and row.get("kind") == "generate" and not row.get("same_as")]
    return [_entry(rows, names, data) for rows in group_by(done, _same).values()]


def _same(row: Row) -> str:
    return json.dumps([row.get(field) for field in SAME], sort_keys=True, default=str)


def _entry(rows: list[Row], names: Names, data: ReportData) -> Entry:
    row = rows[0]
    words = [names.model(row), "" if row.get("role") == "control" else names.method(row)]
    if row.get("steps") is not None and row.get("role") != "control":
        words.append("1 step" if row["steps"] == 1 else f"{row['steps']} steps")
    values = _joined([data.values.get(str(r.get("fingerprint")), {}) for r in rows])
    keys = [(r.get("seed"), i) for r in rows for i in range(int(r.get("samples_done") or r.get("samples") or 0))]
    return Entry(rows, words[0], names.method(row), " \u00b7 ".join(w for w in words if w), values, keys)


def _joined(by_row: Sequence[Mapping[str, SampleValues]]) -> dict[str, SampleValues]:
    """The values of all rows one after the other; metrics that a row lacks are left out."""
    shared = [name for name in by_row[0] if all(name in values for values in by_row)]
    return {
        name: SampleValues(by_row[0][name].statistic, [line for values in by_row for line in values[name].rows])
        for name in shared
    }


def _pooled(values: SampleValues | None) -> Estimate | None:
    """The figure of samples taken together, with its bootstrap interval."""
    from harness.paired import figure_of

    return Estimate(*figure_of(values)) if values is not None else None
