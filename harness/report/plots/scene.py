"""What the plots of one place share: its entries, their lines and figures, the controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness import comparable
from harness.report.data import Estimate, Metric, kind_label, number, selection, unique
from harness.report.entries import Entry
from harness.report.page import Page
from harness.report.places import Place
from harness.report.plots.series import Series, SeriesByLine

#: The control whose text is real text.
_REAL = "data"


@dataclass(frozen=True)
class Scene:
    """One place, ready to be drawn.

    Attributes:
        page: the report.
        place: of generated text.
        series: its lines.
    """

    page: Page
    place: Place
    series: SeriesByLine

    @cached_property
    def _all(self) -> Sequence[Entry]:
        return self.page.entries(self.place)

    @cached_property
    def entries(self) -> list[Entry]:
        """What lines are made of."""
        return [entry for entry in self._all if entry.role != "control"]

    @cached_property
    def controls(self) -> list[Entry]:
        """What reference lines are made of."""
        return [entry for entry in self._all if entry.role == "control"]

    @cached_property
    def _figures(self) -> dict[str, dict[int, Estimate]]:
        return {}

    def figures(self, metric: str) -> Mapping[int, Estimate]:
        """The figures of a metric by the id of the entry, over all seeds; entries without one are left out."""
        if metric not in self._figures:
            known = ((entry, entry.estimate(metric)) for entry in self._all)
            least = 0.0 if "ppl" in metric else -math.inf  # no perplexity is 0 or less
            self._figures[metric] = {id(entry): e for entry, e in known if e and e.value > least}
        return self._figures[metric]

    def metric(self, name: str) -> Metric | None:
        """A metric of the place."""
        return next((metric for metric in self.place.metrics if metric.name == name), None)

    def real(self, metric: str) -> Estimate | None:
        """The figure of real text; None where the run has none, or none that is comparable."""
        figures = self.figures(metric)
        fit = (entry for entry in self.controls if entry.rows[0].get("model") == _REAL)
        return next((figures[id(e)] for e in fit if id(e) in figures and not _apart(e)), None)

    def reference(self, metric: str) -> dict[str, float]:
        """A figure for each control, by its name; the mean where there are several of one name."""
        figures = self.figures(metric)
        known = [(name_of_control(entry), figures[id(entry)].value) for entry in self.controls if id(entry) in figures]
        names = dict.fromkeys(name for name, _ in known)
        return {name: mean([value for other, value in known if other == name]) for name in names}

    def checkpoints(self, entries: Sequence[Entry]) -> str:
        """Which kinds of checkpoints entries come from."""
        return kind_label(row for entry in entries for row in entry.rows)

    @property
    def title(self) -> str:
        """Benchmark and task."""
        return f"{self.place.benchmark or 'unknown benchmark'}, {self.place.task}"

    def used(self, entries: Sequence[Entry]) -> list[Series]:
        """The lines that entries belong to, in their order."""
        found = {(entry.model, entry.method) for entry in entries}
        return [series for key, series in self.series.items() if key in found]


def _apart(entry: Entry) -> bool:
    return any(map(comparable.quality_reason, entry.rows))


def name_of_control(entry: Entry) -> str:
    """A control's name on its line, one for all seeds."""
    row = entry.rows[0]
    mark = comparable.mark(row) if comparable.quality_reason(row) else ""
    return " ".join(word for word in (entry.model, selection(row), mark) if word)


def marks(entries: Sequence[Entry]) -> dict[str, str]:
    """Letter -> reason of those that are not comparable with the others in quality, in the order of the letters."""
    rows = [row for entry in entries for row in entry.rows if comparable.quality_reason(row)]
    found = {comparable.mark(row): comparable.quality_reason(row) for row in rows}
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def sizes(entries: Sequence[Entry]) -> str:
    """How many samples an entry is made of: "1,024 samples each"."""
    rows = ([number(row.get("samples_done") or row.get("samples")) for row in entry.rows] for entry in entries)
    counts = sorted({sum(int(count) for count in counts if count) for counts in rows if all(counts)})
    if not counts:
        return "an unknown number of samples each"
    return f"{' to '.join(f'{n:,}' for n in unique((counts[0], counts[-1])))} samples each"


def several_seeds(entries: Sequence[Entry]) -> bool:
    return any(len(entry.rows) > 1 for entry in entries)
