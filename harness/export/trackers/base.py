"""What all trackers are given, and what they answer."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import MissingPackage, counted
from harness.export.records import Record, digest, records_of
from harness.export.text import one_line
from harness.report.data import as_text
from harness.report.page import Page


@dataclass(frozen=True)
class Request:
    """What is to be tracked.

    Attributes:
        page: the run.
        project: name of the project, experiment or the like.
        results: folder of all runs; local stores are made in it.
        report: folder of the run's report, which is attached; None where there is none.
        uri: the tracker's own address of its store; None for the local one.
    """

    page: Page
    project: str
    results: Path
    report: Path | None
    uri: str | None = None

    @property
    def run(self) -> str:
        """Name of the run."""
        return one_line(self.page.data.run)

    @cached_property
    def records(self) -> list[Record]:
        """The records of the run that have figures."""
        return [record for record in records_of(self.page) if record.metrics]

    @cached_property
    def lines(self) -> list[list[Record]]:
        """Records that differ in their steps alone, together, in the order of the steps."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.line, []).append(record)
        return [sorted(same, key=lambda record: record.steps or 0) for same in found.values()]

    @property
    def about(self) -> dict[str, str]:
        """Where the run comes from."""
        data = self.page.data
        return {"run": self.run, "created": one_line(data.created), "command": one_line(data.command)}


@dataclass
class Answer:
    """How many runs of the tracker were made, brought up to date or left as they are, and where they are."""

    where: str
    look: str
    new: int = 0
    updated: int = 0
    same: int = 0

    def __str__(self) -> str:
        counts = f"{counted(self.new, 'run')} new, {self.updated} updated, {self.same} there already"
        return f"{self.where}: {counts}. Look: {self.look}"


def package(name: str, needed_for: str, distribution: str | None = None) -> Any:
    """An optional package, or a `MissingPackage` that names its distribution where that is called otherwise."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name if error.name and error.name.split(".")[0] != name else distribution or name
        raise MissingPackage(missing, needed_for) from None


def key(text: str) -> str:
    """A name that every tracker accepts for a parameter or metric."""
    return re.sub(r"[^A-Za-z0-9_./ -]", "_", one_line(text))


def values(mapping: dict[str, Any]) -> dict[str, str | int | float]:
    """Values as numbers or one line of text each."""
    return {
        key(name): value if isinstance(value, int | float) else one_line(as_text(value))
        for name, value in mapping.items()
    }


def content(records: Sequence[Record]) -> str:
    """A hash of everything that is told of some records."""
    return digest([[record.params, record.metrics, record.tags] for record in records])
