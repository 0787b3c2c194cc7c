"""Where the points of a plot stand: on the Pareto front, dominated, or not to be ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.report.data import Estimate, Metric
from harness.report.entries import Entry
from harness.report.frontier import dominated_by
from harness.report.plots.points import Cost, Point, points_of
from harness.report.plots.scene import Scene

#: Above this many points the dominated ones are dots without name or interval, and only lines that reach the front are
#: drawn.
MOST_MARKERS = 400
ENTROPY = "unigram_entropy"

FRONT, DOMINATED, APART, DULL, PLAIN = "front", "dominated", "apart", "dull", "plain"
BASELINE = "baseline"


class Standing(NamedTuple):
    """Where a point stands: FRONT, DOMINATED (by another), APART (not comparable), DULL (less entropy than real text,
    so that a good perplexity says little), BASELINE (no model of the choice) or PLAIN (a metric without direction).
    """

    kind: str
    by: Point | None = None


class Panel(NamedTuple):
    """One metric of a plot."""

    metric: Metric
    points: list[Point]
    standings: list[Standing]
    crowded: bool

    def of(self, kind: str) -> list[Point]:
        """The points that stand so, cheapest first."""
        mine = (p for p, s in zip(self.points, self.standings, strict=True) if s.kind == kind)
        return sorted(mine, key=lambda p: p.x)


def panel_of(scene: Scene, metric: Metric, cost: Cost, entries: Sequence[Entry]) -> Panel:
    """One metric of some entries of a place against a cost."""
    points = points_of(entries, scene.series, cost, scene.figures(metric.name))
    dull = _dull(points, scene) if "ppl" in metric.name else set()
    return Panel(metric, points, standings(points, metric.better, dull), len(points) > MOST_MARKERS)


def _dull(points: Sequence[Point], scene: Scene) -> set[int]:
    """Ids of the points whose text has less entropy than real text, by intervals that do not touch."""
    real, figures = scene.real(ENTROPY), scene.figures(ENTROPY)
    if real is None:
        return set()
    own = {id(p): figures.get(id(p.entry)) for p in points}
    return {key for key, entropy in own.items() if entropy and below(entropy, real)}


def below(a: Estimate, b: Estimate) -> bool:
    """Whether `a` lies below `b`, intervals and all."""
    return (a.value if a.high is None else a.high) < (b.value if b.low is None else b.low)


def standings(points: Sequence[Point], better: str, dull: set[int]) -> list[Standing]:
    """Where each point stands among those that may be ranked."""
    if better not in ("higher", "lower"):
        return [Standing(APART if p.mark else PLAIN) for p in points]
    baselines = {id(p) for p in points if p.entry.role == "baseline"}
    ranked = [p for p in points if not p.mark and id(p) not in dull | baselines]
    by = dominated_by([(p.x, p.y.value) for p in ranked], better)
    found = {
        id(p): Standing(FRONT) if other is None else Standing(DOMINATED, ranked[other])
        for p, other in zip(ranked, by, strict=True)
    }
    rest = {key: Standing(DULL) for key in dull} | {key: Standing(BASELINE) for key in baselines}
    return [Standing(APART) if p.mark else found.get(id(p)) or rest[id(p)] for p in points]
