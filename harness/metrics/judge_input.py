"""What the metrics that need a judge share. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.metrics.base import ScoreInput

if TYPE_CHECKING:
    from harness.metrics.judge import Judge


def judge_of(data: ScoreInput) -> Judge:
    """The judge of an input whose metric needs one."""
    if data.judge is None:
        raise ValueError("this metric needs a judge")
    return data.judge


def unscorable_reason(data: ScoreInput, texts: Sequence[str]) -> str | None:
    """Why the judge cannot score all of `texts`, or None where it can."""
    count, first = judge_of(data).unscorable(texts)
    return f"the judge cannot encode {count} of {len(texts)} texts: {first}" if count else None
