"""What a user asks of a comparison, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UserError, unknown

#: What two points must agree in to be the same point.
IDENTITY = (
    *("model", "role", "benchmark", "data", "tokenizer", "kind", "task", "scheduler", "steps", "estimator"),
    *("seed", "selection", "candidates", "samples", "length"),
)
#: What they may differ in: what is being compared. Machine, threads and versions are no part of a point at all.
MAY_DIFFER = ("engine", "runtime", "device", "dtype", "batch_size", "options", "precision", "checkpoint")


@dataclass(frozen=True)
class Request:
    """What is compared with what, and what counts as worse.

    Attributes:
        a: name or folder of the run that is the measure.
        b: of the run that is judged.
        metrics: what may make the comparison fail; () for everything with a direction but seconds and memory.
        tolerance: relative change for the worse that is accepted.
        max_slowdown: how many times as long B may take; None: seconds fail nothing.
        by: fields in which points may differ and still are paired.
        strict: whether what could not be decided fails as well.
    """

    a: str
    b: str
    metrics: tuple[str, ...] = ()
    tolerance: float = 0.0
    max_slowdown: float | None = None
    by: tuple[str, ...] = MAY_DIFFER
    strict: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise UserError(f"--tolerance must be 0 or more, as 0.02 for 2 %, got {self.tolerance}.")
        if self.max_slowdown is not None and not (math.isfinite(self.max_slowdown) and self.max_slowdown >= 1):
            raise UserError(f"--max-slowdown must be 1 or more, as 1.10 for 10 % slower, got {self.max_slowdown}.")
        for name in self.by:
            if name not in (*IDENTITY, *MAY_DIFFER):
                raise unknown("field for --by", name, (*IDENTITY, *MAY_DIFFER))

    @property
    def fixed(self) -> tuple[str, ...]:
        """The fields that points must agree in."""
        return tuple(name for name in (*IDENTITY, *MAY_DIFFER) if name not in self.by)


def names_of(given: str) -> tuple[str, ...]:
    """The names of a list as a user types it: a,b."""
    return tuple(name for name in given.replace(" ", "").split(",") if name)


def check_metrics(wanted: Sequence[str], known: Mapping[str, str]) -> None:
    """Check the metrics that may fail.

    Args:
        wanted: what the user named.
        known: metrics of the two runs, with what is better.

    Raises:
        UserError: for one that neither run has, or that has no better and no worse.
    """
    for name in wanted:
        if name not in known:
            raise unknown("metric", name, known)
        if known[name] == "none":
            raise UserError(f"{name} has no better and no worse, so nothing can fail by it.")
        if name == "seconds":
            raise UserError("seconds fail by --max-slowdown, not by --metrics.")
