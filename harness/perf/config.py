"""Settings of `make perf`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.config import as_list, option, positive
from harness.errors import unknown
from harness.perf.cases import CASES, PerfCase
from harness.upstream import check_settings

PARTS = ("own", "engines")


@dataclass
class PerfConfig:
    """What `make perf` measures."""

    parts: Any = option(list(PARTS), "tables (list): own, engines")
    steps: Any = option([4, 16], "step counts of the first table's sampling rows (list)")
    samples: int = option(256, "sequences a point of the first table's harness row")
    rounds: int = option(1, "timed runs of each engine, in turn, after one that is not timed")
    cases: Any = option([case.name for case in CASES], "rows of the second table (list)")
    upstream_path: Any = option(None, "checkouts of the authors' code, {model: folder, ...}", key="upstream.path")
    upstream_folder: Any = option(
        None, "folder of such checkouts; empty: where tdbench fetch --upstream puts them", key="upstream.folder"
    )

    def __post_init__(self) -> None:
        self.parts, self.steps, self.cases = as_list(self.parts), as_list(self.steps), as_list(self.cases)
        for name, known in (("parts", PARTS), ("cases", [case.name for case in CASES])):
            for value in getattr(self, name):
                if value not in known:
                    raise unknown(name, str(value), known)
        for value in (*self.steps, self.samples, self.rounds):
            positive("steps, samples and rounds", value)
        check_settings([case.model for case in self.chosen], self)

    @property
    def chosen(self) -> list[PerfCase]:
        """The cases by name."""
        return [case for case in CASES if case.name in self.cases]
