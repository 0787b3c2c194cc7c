"""The whole comparison: what was found, what follows, and the exit code of the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from harness.compare.differs import Difference
from harness.compare.finding import Finding
from harness.compare.quality import Texts
from harness.compare.request import Request
from harness.paired import ALPHA, holm
from harness.report.data import RunFacts

SAME, WORSE, NOTHING = 0, 1, 2
#: Figures of the cost of a machine: they fail nothing unless the user says so.
OF_THE_MACHINE = ("seconds", "memory")
COMPARED = ("identical", "same", "noise", "better", "worse", "accepted", "changed")


class Broken(NamedTuple):
    """A point that A has finished and B has not: its name, its state in B, the reason, whether that fails the gate."""

    point: str
    state: str
    why: str
    fails: bool


class Alone(NamedTuple):
    """A point that only one run has, and what keeps it from the nearest one of the other."""

    point: str
    why: str


@dataclass(frozen=True)
class Result:
    """Two runs compared.

    Attributes:
        request: what was asked.
        a: the run that is the measure.
        b: the run that is judged.
        points: how many points are finished in both.
        findings: figure by figure, judged.
        texts: of each generated unit, how many texts are the same.
        differs: what the runs were made with that is not the same.
        broken: finished in A and not in B.
        mended: names of points that are finished in B and not in A.
        only_a: points that B does not have.
        only_b: points that A does not have.
    """

    request: Request
    a: RunFacts
    b: RunFacts
    points: int
    findings: Sequence[Finding]
    texts: Sequence[Texts]
    differs: Sequence[Difference]
    broken: Sequence[Broken]
    mended: Sequence[str]
    only_a: Sequence[Alone]
    only_b: Sequence[Alone]

    def of(self, *verdicts: str) -> list[Finding]:
        """The findings with one of these verdicts, in their order."""
        return [finding for finding in self.findings if finding.verdict in verdicts]

    @property
    def tests(self) -> int:
        """How many tests were made."""
        return sum(finding.p is not None for finding in self.findings)

    @property
    def failing(self) -> list[Finding]:
        """What fails the gate."""
        return [finding for finding in self.of("worse") if gates(finding, self.request)]

    @property
    def undecided(self) -> list[Finding]:
        """Figures of the gate inside the noise of which a change as large as is accepted would have gone unseen."""
        return [f for f in self.of("noise") if gates(f, self.request) and is_undecided(f, self.request.tolerance)]

    @property
    def unjudged(self) -> list[Finding]:
        """Figures of the gate that could not be compared and, of those that the user named, not be tested."""
        of_gate = [finding for finding in self.of("not compared", "not tested") if gates(finding, self.request)]
        return [f for f in of_gate if f.verdict == "not compared" or f.what in self.request.metrics]

    @property
    def apart(self) -> list[Finding]:
        """Figures without a paired test, which fail nothing, though the intervals say that B is worse."""
        return [f for f in self.of("not tested") if f.apart and f.loss > 0 and gates(f, self.request)]

    @property
    def code(self) -> int:
        """0: nothing is worse beyond noise; 1: something is; 2: nothing that could fail was compared."""
        if self.failing or any(broken.fails for broken in self.broken):
            return WORSE
        if not any(_settles(finding, self.request) for finding in self.findings) and not self._all_the_same:
            return NOTHING
        unsettled = [*self.undecided, *self.broken, *self.only_a, *self.unjudged]
        return WORSE if self.request.strict and unsettled else SAME

    @property
    def _all_the_same(self) -> bool:
        """Whether all texts are the same, so that no figure of them can be worse."""
        same, total = self.identical_texts
        looked_at = any(gates(finding, self.request) for finding in self.findings)
        return same == total > 0 and looked_at and not self.request.metrics

    @property
    def identical_texts(self) -> tuple[int, int]:
        """How many of all texts are the same, of how many."""
        return sum(t.same for t in self.texts), sum(t.total for t in self.texts)


def gates(finding: Finding, request: Request) -> bool:
    """Whether a finding may fail the gate: what the user names, else all quality, likelihood and NFE of models and
    baselines; seconds where a slowdown was given.
    """
    if finding.role == "control" or finding.better == "none":
        return False
    if finding.what == "seconds":
        return request.max_slowdown is not None
    return finding.what in request.metrics if request.metrics else finding.what not in OF_THE_MACHINE


def _settles(finding: Finding, request: Request) -> bool:
    """Whether a finding says something of what may fail; evaluations alone say nothing of quality."""
    if not gates(finding, request) or (finding.what == "nfe" and not request.metrics):
        return False
    return finding.verdict in COMPARED or (finding.verdict == "not tested" and finding.apart is False)


def is_undecided(finding: Finding, tolerance: float) -> bool:
    """Whether a test without a finding could have missed a change larger than `tolerance`, which is asked for."""
    if not tolerance or finding.detectable is None or finding.a is None:
        return False
    return finding.detectable > tolerance * abs(finding.a)


def judged(findings: Sequence[Finding], request: Request) -> list[Finding]:
    """The findings with adjusted p and verdict. Seconds are a family of their own for Holm: there are as many tests of
    them as models, and hundreds of quality.
    """
    families = group_by_family(findings)
    adjusted: dict[int, float] = {}
    for places in families.values():
        adjusted |= dict(zip(places, holm([findings[i].p or 0.0 for i in places]), strict=True))
    return [
        _judged(replace(finding, adjusted=adjusted[i]), request) if i in adjusted else _untested(finding, request)
        for i, finding in enumerate(findings)
    ]


def group_by_family(findings: Sequence[Finding]) -> Mapping[bool, list[int]]:
    """Places of the tested findings: those of seconds, and all others."""
    tested: dict[bool, list[int]] = {}
    for i, finding in enumerate(findings):
        if finding.p is not None:
            tested.setdefault(finding.what == "seconds", []).append(i)
    return tested


def _judged(finding: Finding, request: Request) -> Finding:
    """The verdict of a tested finding."""
    if finding.adjusted is None or finding.adjusted >= ALPHA:
        return replace(finding, verdict="noise")
    if finding.better == "none":
        return replace(finding, verdict="changed")
    if finding.loss <= 0:
        return replace(finding, verdict="better")
    if finding.what == "seconds":
        limit = request.max_slowdown or 1.0
        return replace(finding, verdict="worse" if finding.low is not None and finding.low > limit else "accepted")
    return replace(finding, verdict="accepted" if finding.loss <= request.tolerance else "worse")


def _untested(finding: Finding, request: Request) -> Finding:
    """The verdict of a figure without a test, where the user named it: memory by its size alone, others where the
    intervals do not overlap.
    """
    named = finding.what in request.metrics and finding.better != "none" and finding.verdict == "not tested"
    if not named or not (finding.apart or finding.what == "memory"):
        return finding
    if finding.loss <= 0:
        return replace(finding, verdict="better")
    return replace(finding, verdict="accepted" if finding.loss <= request.tolerance else "worse")
