"""Points without figures, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.report.data import Names, Row, as_text, group_by


class Problem(NamedTuple):
    """Points without figures that share a reason; `kind` is "failed", "not_available" or "same_as"."""

    kind: str
    points: list[str]
    reason: str
    why: str


def not_run(rows: Sequence[Row], names: Names) -> list[Problem]:
    """Points without figures, failed ones first, then what a model cannot do, then what would be the same twice."""
    found = []
    for kind, reason in (("failed", "reason not recorded"), ("not_available", "not available")):
        mine = [r for r in rows if r.get("status") == kind]
        for (given, why), same in group_by(
            mine, lambda r: (as_text(r.get("reason")), as_text(r.get("message")))
        ).items():
            text = (given or reason).replace("_", " ")
            found.append(Problem(kind, [names.full(r) for r in same], text, why or "no message recorded"))
    return found + _same_as(rows, names)


def _same_as(rows: Sequence[Row], names: Names) -> list[Problem]:
    """One entry for each pair of schedulers that are the same algorithm; `same_as` is a fingerprint or a scheduler."""
    schedulers = {str(r.get("fingerprint")): as_text(r.get("scheduler")) for r in rows}
    mine = [r for r in rows if r.get("status") == "same_as"]
    found = []
    for (scheduler, twin), same in group_by(
        mine, lambda r: (as_text(r.get("scheduler")), _twin(r, schedulers))
    ).items():
        why = f"{scheduler} is the same as {twin} under this schedule: not run twice."
        found.append(Problem("same_as", [names.full(r) for r in same], "same as another", why))
    return found


def _twin(row: Row, schedulers: Mapping[str, str]) -> str:
    other = as_text(row.get("same_as"))
    return schedulers.get(other, other)
