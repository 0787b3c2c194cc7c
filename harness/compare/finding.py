"""What is said of one figure of one point in two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["identical", "same", "noise", "better", "worse", "accepted", "changed", "not tested", "not compared"]

#: What each verdict means, for the foot of a table.
MEANING: dict[Verdict, str] = {
    "identical": "the texts are the same, so every figure of them is",
    "same": "the figure is the same",
    "noise": "the difference is no larger than chance makes it (adjusted p of 0.05 or more)",
    "better": "better beyond noise",
    "worse": "worse beyond noise, and by more than is accepted",
    "accepted": "worse beyond noise, but by no more than is accepted",
    "changed": "different beyond noise, in a figure that has no better or worse",
    "not tested": "different, and the run holds nothing that a test could be made from",
    "not compared": "the two figures are not of the same quantity, or one of them is missing",
}


@dataclass(frozen=True)
class Finding:
    """One figure of one point, or of all points of a model.

    Attributes:
        point: name of the point.
        what: short name of the figure, as in `--metrics`.
        title: name for people.
        better: "higher", "lower" or "none".
        role: of the point: "model", "control" or "baseline".
        form: how to print the figure (`harness.report.format.figure`).
        a: figure of A, None where unknown.
        b: figure of B.
        low: lower end of the 95 % interval of b - a; for seconds, of b / a.
        high: upper end.
        p: of the test, before adjustment; None where there was none.
        adjusted: p by Holm over all tests of its family.
        detectable: the smallest difference that the test would have found four times in five.
        apart: of a figure without a test, whether the two intervals do not overlap; None where one is unknown.
        count: what the test was made from: "256 texts", "12 batches against 12".
        verdict: what follows.
        note: why there is no test or no comparison, or what else must be known.
    """

    point: str
    what: str
    title: str
    better: str
    role: str = "model"
    form: str = "number"
    a: float | None = None
    b: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None
    detectable: float | None = None
    apart: bool | None = None
    count: str = ""
    verdict: Verdict = "not compared"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """b / a; None where either is not known or A is 0."""
        return None if self.a is None or self.b is None or self.a == 0 else self.b / self.a

    @property
    def change(self) -> float | None:
        """Relative change, 0.05 for 5 % more in B; None where it is not known or A is 0."""
        return None if self.ratio is None else self.ratio - 1

    @property
    def loss(self) -> float:
        """Relative change for the worse, infinite where A is 0; 0 or less where B is no worse."""
        if self.a is None or self.b is None or self.a == self.b:
            return 0.0
        sign = {"higher": -1, "lower": 1}.get(self.better, 0)
        size = abs(self.a)
        return sign * (self.b - self.a) / size if size else sign * (self.b - self.a) * float("inf")
