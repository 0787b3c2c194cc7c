"""What plots of quality against cost say in words: titles of markers, the finding, the caption."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.data import Metric, unique
from harness.report.format import figure as figure_text
from harness.report.format import with_interval
from harness.report.plots.points import NFE, SECONDS, STEPS, Cost, Point
from harness.report.plots.scene import Scene, several_seeds, sizes
from harness.report.plots.standings import APART, BASELINE, DOMINATED, DULL, ENTROPY, FRONT, Panel, Standing

#: Lines in a plot of too many points.
MOST_LINES = 30
#: "Best at up to N NFE", where the user gave no N.
_BUDGET = 20


def title(point: Point, standing: Standing, metric: Metric, cost: Cost) -> str:
    """What a marker is, and where it stands."""
    text = f"{point.entry.name}: {metric.title} {with_interval(point.y)}, {cost.text(point.x)}"
    seeds = len(point.entry.rows)
    text += f", {seeds} seeds" if seeds > 1 else ""
    more = {
        APART: f" ({point.mark}: not comparable: {point.reason})",
        DULL: "; its text has less entropy than real text",
        FRONT: "; on the front",
        BASELINE: "; a baseline, not part of the front",
    }
    by = f"; dominated by {standing.by.entry.name}" if standing.by else ""
    return text + by + more.get(standing.kind, "")


def finding(panel: Panel, cost: Cost, scene: Scene) -> str:
    """What the front says, in words."""
    front = panel.of(FRONT)
    if not front:
        return _no_front(panel, scene)
    best = front[-1]
    parts = [f"Best: {_told(best, cost)}."]
    given = scene.page.data.given
    budget = given.seconds_budget if cost is SECONDS else float(given.steps_budget or _BUDGET)
    within = [p for p in front if budget is not None and p.x <= budget]
    if within and within[-1] is not best:
        limit = figure_text(budget, "seconds") if cost is SECONDS else f"{figure_text(budget, 'count')} {cost.word}"
        parts.append(f"Best at up to {limit}: {_told(within[-1], cost)}.")
    elif len(front) > 1 and front[0].x < best.x:
        parts.append(f"Cheapest on the front: {_told(front[0], cost)}.")
    parts += [f"Baseline: {_told(p, cost)}." for p in _best_baselines(panel)]
    ranked = unique(p.series.model for p in [*front, *panel.of(DOMINATED)])
    never = [model for model in ranked if model not in {p.series.model for p in front}]
    if never:
        some = ", ".join(never) if len(never) <= 5 else f"{len(never)} of {len(ranked)} models"
        parts.append(f"Nowhere on the front: {some}.")
    dull = unique(p.series.model for p in panel.of(DULL) if p.series.model not in ranked)
    if dull:
        some = ", ".join(dull) if len(dull) <= 5 else f"{len(dull)} models"
        parts.append(f"Not ranked, as all its text has less entropy than real text: {some}.")
    return " ".join(parts)


def _best_baselines(panel: Panel) -> list[Point]:
    """The best entry of each baseline."""
    sign = -1 if panel.metric.better == "higher" else 1
    mine = sorted((p for p in panel.of(BASELINE)), key=lambda p: sign * p.y.value)
    return [next(p for p in mine if p.series.model == model) for model in unique(p.series.model for p in mine)]


def _told(point: Point, cost: Cost) -> str:
    at = "" if cost is STEPS else f" at {cost.text(point.x)}"  # its name says the steps
    return f"{point.entry.name} ({figure_text(point.y.value)}{at})"


def _no_front(panel: Panel, scene: Scene) -> str:
    values = [p.y.value for p in panel.points]
    ends = " to ".join(unique(figure_text(v) for v in (min(values), max(values))))
    text = f"{len(values)} {'point' if len(values) == 1 else 'points'}, {panel.metric.title} {ends}."
    if panel.of(DULL):
        return f"No front: no comparable point has the entropy of real text. {text}"
    real = scene.real(panel.metric.name)
    return text + (f" Real text: {figure_text(real.value)}." if real else "")


def caption(panels: Sequence[Panel], cost: Cost, scene: Scene, letters: bool, outside: Sequence[str]) -> str:
    """How to read the plot, and what it leaves out."""
    panel = panels[0]
    entries = [p.entry for p in panel.points]
    seeds = ", all seeds together" if several_seeds(entries) else ""
    parts = [f"{sizes(entries)}{seeds}.".capitalize()]
    if not any(p.y.low is not None for p in panel.points):
        parts.append("No intervals are known.")
    if any(p.x_low is not None for p in panel.points):
        parts.append("Bars sideways: quartiles over batches.")
    if panel.of(DULL):
        real = scene.real(ENTROPY)
        at = f" ({figure_text(real.value)})" if real else ""
        parts.append(f"Hollow: less entropy than real text{at}, which alone lowers perplexity; not on the front.")
    if letters:
        parts.append("Half-filled markers with a letter are not comparable with the others, as is said below the axes.")
    parts += _left_out(panel, cost, scene, outside)
    return " ".join(parts)


def _left_out(panel: Panel, cost: Cost, scene: Scene, outside: Sequence[str]) -> list[str]:
    """What the plot does not show."""
    parts = []
    if panel.crowded:
        parts.append(
            f"There are {len(panel.points):,} points: those off the front are dots without name or interval, and at "
            f"most {MOST_LINES} lines are drawn, those that reach the front first."
        )
    known = scene.figures(panel.metric.name)
    with_figure = [entry for entry in scene.entries if id(entry) in known]
    if cost is not SECONDS:
        lacking = sum(cost.of(entry) is None for entry in with_figure)
        if lacking:
            parts.append(
                f"Not drawn, as their {cost.word} {'was' if cost is NFE else 'were'} not measured: "
                f"{lacking} of {len(with_figure)} points."
            )
    zero = sum((x := cost.of(entry)) is not None and x <= 0 for entry in with_figure)
    if zero:
        parts.append(f"Not drawn, as 0 has no place on a logarithmic axis: {zero} of {len(with_figure)} points.")
    if len(with_figure) < len(scene.entries):
        count = f"{len(scene.entries) - len(with_figure)} of {len(scene.entries)} points"
        parts.append(f"Without {panel.metric.title}, and so not drawn: {count}.")
    away = [f"{n} ({figure_text(v)})" for n, v in scene.reference(panel.metric.name).items() if n in outside]
    return parts + ([f"Control rows off the plot: {', '.join(away)}."] if away else [])
