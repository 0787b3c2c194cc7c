"""What every part of the page is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.report.data import Metric, Names, ReportData, Row, metrics_of, rows_of
from harness.report.entries import Entry, entries_of
from harness.report.places import Place, places_of


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

    def entries(self, place: Place) -> Sequence[Entry]:
        """The finished generate rows of a place, those that differ in the seed alone taken together."""
        return entries_of(place, self.names, self.data)
