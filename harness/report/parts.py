"""The parts of the page beside its tables and plots: each is built from the page and has a template of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from harness.report import convergence, effort, ledger, quality_steps, verdict
from harness.report.page import Page


class Part(NamedTuple):
    """One part: `id` is its anchor and the name of its template, which has a macro ``section(part)``."""

    id: str
    build: Callable[[Page], Any]


PARTS = (
    Part("verdict", verdict.build),
    Part("quality_steps", quality_steps.build),
    Part("convergence", convergence.build),
    Part("effort", effort.build),
    Part("ledger", ledger.build),
)
