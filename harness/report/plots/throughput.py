"""Tokens a second on each machine."""

from __future__ import annotations

from harness.report.data import Estimate, number
from harness.report.entries import Entry
from harness.report.format import figure as figure_text
from harness.report.plots.canvas import Plot
from harness.report.plots.points import STEPS, Cost, Point, TimeGroup, points_of, time_groups
from harness.report.plots.scaling import (
    BATCH,
    MOST_GROUPS,
    at_one_step_count,
    batch_sizes,
    line_plot,
    over_batch_sizes,
    swept,
)
from harness.report.plots.scene import Scene


def throughput(entry: Entry) -> float | None:
    """Generated tokens a second over all its rows: all tokens by all seconds; None where any is not known."""
    pairs = [(number(row.get("tokens_per_second")), number(row.get("seconds_total"))) for row in entry.rows]
    if len(pairs) == 1:
        return pairs[0][0]
    known = [(rate, seconds) for rate, seconds in pairs if rate and seconds]
    if len(known) < len(pairs):
        return None
    return sum(rate * seconds for rate, seconds in known) / sum(seconds for _, seconds in known)


def throughput_plots(scene: Scene) -> list[Plot]:
    """Tokens a second on each machine: against batch size where that was swept, else against steps."""
    found = []
    for i, group in enumerate(time_groups(scene.entries, ("batch size",))[:MOST_GROUPS], start=1):
        cost = BATCH if swept(group.entries) else STEPS
        rates = {id(e): Estimate(r, None, None) for e in group.entries if (r := throughput(e)) and r > 0}
        points = points_of(group.entries, scene.series, cost, rates)
        if points:
            name = f"fig-throughput{f'-{i}' if i > 1 else ''}{scene.place.suffix}"
            found.append(_plot(scene, group, points, cost, name))
    return found


def _plot(scene: Scene, group: TimeGroup, points: list[Point], cost: Cost, name: str) -> Plot:
    caption = ["Generated tokens by seconds, prompt and padding left out."]
    if cost is STEPS:
        sizes = batch_sizes([p.entry for p in points])
        caption.append(f"Against steps, as no model ran at several batch sizes (here: {sizes}).")
    else:
        points, kept = at_one_step_count(over_batch_sizes(points))
        caption += [kept] if kept else []
    best, worst = (choose(points, key=lambda p: p.y.value) for choose in (max, min))
    finding = f"Most: {_told(best)}." + (f" Least: {_told(worst)}." if worst is not best else "")
    told = {id(p.entry): f"{figure_text(p.y.value)} tokens/s" for p in points}
    plot = Plot(name, f"throughput against {cost.word}", finding, " ".join(caption), "")
    return line_plot(scene, points, cost, plot, "tokens/s (log scale)\nhigher is better \u2191", group.title, told)


def _told(point: Point) -> str:
    return f"{point.entry.name}, {figure_text(point.y.value)} tokens/s"
