"""What every part of the page is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from harness.report.data import Metric, Names, ReportData, Row, metrics_of, rows_of
from harness.report.entries import Entry, entries_of
from harness.report.looks import Look, looks
from harness.report.places import Place, places_of

if TYPE_CHECKING:
    from harness.report.contest import Contest


@dataclass(frozen=True)
class Page:
    """One report while it is made.

    Attributes:
        data: the run, or several merged.
    """

    data: ReportData

    @cached_property
    def rows(self) -> list[Row]:
        """All rows, unknown values None."""
        return rows_of(self.data.table)

    @cached_property
    def names(self) -> Names:
        """What rows are called."""
        return Names(self.rows)

    @cached_property
    def metrics(self) -> list[Metric]:
        """Every metric of the run."""
        return metrics_of(self.data)

    @cached_property
    def places(self) -> list[Place]:
        """Benchmark and task by benchmark and task, likelihoods apart."""
        return places_of(self.data, self.rows, self.metrics)

    @cached_property
    def looks(self) -> dict[str, Look]:
        """Colour and marker by model, as `Names.model` gives it; controls have none."""
        return looks(self.names.model(row) for row in self.rows if row.get("role") != "control")

    def entries(self, place: Place) -> Sequence[Entry]:
        """The finished generate rows of a place, those that differ in the seed alone taken together."""
        if place.id not in self._entries:
            self._entries[place.id] = entries_of(place, self.names, self.data)
        return self._entries[place.id]

    @cached_property
    def _entries(self) -> dict[str, Sequence[Entry]]:
        return {}

    @cached_property
    def contests(self) -> Mapping[str, Contest]:
        """Who wins, with all paired tests, by the id of the place; places without figures of a model are left out."""
        from harness.report.contest import contests_of  # needs the plots' metrics, and these need the page

        generated = [place for place in self.places if place.kind == "generate"]
        return contests_of(generated, {place.id: self.entries(place) for place in generated}, self.data.given)
