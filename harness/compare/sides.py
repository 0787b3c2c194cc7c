"""One of the two runs of a comparison, read as far as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.reading import TolerantStore
from harness.report.data import ReportData, Row, RunFacts
from harness.report.merge import read_run
from harness.report.page import Page
from harness.store import Record


@dataclass(frozen=True)
class Side:
    """A run and what it stores of each point.

    Attributes:
        store: its folder.
        data: what a report of it would show.
    """

    store: TolerantStore
    data: ReportData

    @classmethod
    def read(cls, results: Path, name: str) -> Side:
        """Raises `UserError` where there is no such run, or nothing can be read of it."""
        store = TolerantStore.open(results, name)
        return cls(store, read_run(store, store.run))

    @property
    def facts(self) -> RunFacts:
        return self.data.runs[0]

    @cached_property
    def page(self) -> Page:
        return Page(self.data)

    @property
    def config(self) -> Record:
        """The settings it was made with, {} for imported runs."""
        config: Any = self.store.plan.get("config")
        return dict(config) if isinstance(config, dict) else {}

    def lines(self, row: Row) -> list[Record]:
        """The measured batches of a point."""
        return self.store.batches().get(str(row.get("fingerprint")), [])

    def samples(self, row: Row) -> list[Record]:
        """All texts of a generate point, by index."""
        return sorted(self.store.samples(str(row.get("fingerprint"))), key=lambda sample: int(sample["index"]))

    def likelihoods(self, row: Row) -> list[Record]:
        """All figures of a likelihood point, by index."""
        found = [figure for line in self.lines(row) for figure in line.get("likelihoods", ())]
        return sorted(found, key=lambda figure: int(figure["index"]))

    def sessions(self, row: Row | None = None) -> list[Record]:
        """What the workers recorded that measured a row, or any row."""
        rows = self.page.rows if row is None else [row]
        ids = dict.fromkeys(i for mine in rows for i in self.data.sessions.get(str(mine.get("fingerprint")), ()))
        known = self.store.sessions()
        return [known[i] for i in ids if i in known]

    def weights(self) -> dict[str, str]:
        """Digest of the weights by model, as its sessions recorded them; models without weights are left out."""
        found: dict[str, set[str]] = {}
        for row in self.page.rows:
            for session in self.sessions(row):
                if digest := session.get("checkpoint_sha256"):
                    found.setdefault(str(row.get("model")), set()).add(str(digest)[:12])
        return {model: ", ".join(sorted(digests)) for model, digests in found.items()}


def rows_of_interest(side: Side) -> Sequence[Row]:
    """Rows that stand for a measurement of their own: a point that is the same as another is left out."""
    return [row for row in side.page.rows if row.get("status") != "same_as"]
