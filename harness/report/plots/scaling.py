"""Plots of what a machine gives or takes, one line a model and sampler: memory and throughput share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes

from harness.report import svg
from harness.report.data import as_text, group_by, key_of, number, unique
from harness.report.entries import SAME, Entry
from harness.report.format import figure as figure_text
from harness.report.plots import canvas
from harness.report.plots.canvas import Plot
from harness.report.plots.points import Cost, Point, TimeGroup
from harness.report.plots.scene import Scene
from harness.report.plots.series import dashes
from harness.report.plots.standings import MOST_MARKERS

#: Machines for which such plots are drawn; the largest groups first.
MOST_GROUPS = 3
_SIZE = "batch size"


def batch_size(entry: Entry) -> float | None:
    """Sequences at a time."""
    return number(entry.rows[0].get("batch_size"))


BATCH = Cost("batch", _SIZE, "batch size (log scale)", "count", batch_size, 2)


def swept(entries: Sequence[Entry]) -> bool:
    """Whether any model ran at several batch sizes."""
    models = unique(entry.model for entry in entries)
    return any(len(unique(batch_size(e) for e in entries if e.model == model)) > 1 for model in models)


def batch_sizes(entries: Sequence[Entry]) -> str:
    """All batch sizes: "1, 8"."""
    sizes = sorted(unique(batch_size(entry) for entry in entries))
    return ", ".join(figure_text(size, "count") for size in sizes) or "not recorded"


def where(group: TimeGroup) -> str:
    """Machine and device of a group."""
    return TimeGroup([], {key: group.conditions.get(key) for key in ("machine", "device")}).title


def at_one_step_count(points: Sequence[Point]) -> tuple[list[Point], str]:
    """The points of each model at the step count that it has most points at, the larger of equals, and a sentence that
    says so: lines against batch size would lie one above the other for each step count.
    """
    kept, told = [], {}
    for model in unique(p.entry.model for p in points):
        mine = [p for p in points if p.entry.model == model]
        counts = Counter(p.entry.steps for p in mine)
        told[model] = steps = max(counts, key=lambda n: (counts[n], n or 0))
        kept += [p for p in mine if p.entry.steps == steps]
    if len(kept) == len(points):
        return kept, ""
    words = [f"{n} steps" for n in unique(told.values())]
    if len(words) > 1:
        words = [f"{model} at {n} steps" for model, n in told.items() if n is not None]
    return kept, f"Drawn at {', '.join(words)}; the other step counts are in the table."


def over_batch_sizes(points: Sequence[Point]) -> list[Point]:
    """The same points with lines that join batch sizes, which are lines of their own elsewhere."""
    fields = [field for field in SAME if field != "batch_size"]
    schedulers = unique(_scheduler(p.entry) for p in points)
    lines = group_by(points, lambda p: key_of(p.entry.rows[0], fields))
    found = []
    for same in lines.values():
        first: Point = same[0]
        name = _scheduler(first.entry)
        series = first.series._replace(method=name, line=dashes(schedulers.index(name)))
        found += [replace(point, series=series) for point in same]
    return found


def _scheduler(entry: Entry) -> str:
    return as_text(entry.rows[0].get("scheduler"))


def line_plot(
    scene: Scene, points: Sequence[Point], cost: Cost, plot: Plot, label: str, under: str, told: Mapping[int, str]
) -> Plot:
    """A plot on two logarithmic axes.

    Args:
        scene: the place.
        points: at least one.
        cost: x axis.
        plot: all but its SVG; its title stands above.
        label: of the y axis.
        under: what stands below the title, beside checkpoints and place.
        told: figures of a point in words, by its id.
    """
    entries = [p.entry for p in points]
    titles: dict[str, str] = {}
    lines = unique(p.series for p in points)
    with svg.style():
        crowded = len(points) > MOST_MARKERS
        figure = canvas.canvas(1.1, ([], []) if crowded else canvas.legend_of(lines))
        ax = figure.add_subplot()
        canvas.log_x(ax, [p.x for p in points], cost.base)
        canvas.log_y(ax, [p.y.value for p in points])
        canvas.grid(ax)
        ax.set_ylabel(label, fontsize=canvas.SIZE)
        ax.set_xlabel(cost.label, fontsize=canvas.SIZE)
        if crowded:
            canvas.dots(ax, [(p.x, p.y.value) for p in points], svg.SOFT)
        else:
            for series in lines:
                titles |= _line(ax, sorted((p for p in points if p.series == series), key=lambda p: p.x), told)
        canvas.heading(ax, plot.title, scene.checkpoints(entries), scene.title, under)
        if crowded:
            plot = plot._replace(
                caption=f"{plot.caption} There are {len(points):,} points: they are dots without name."
            )
        return canvas.finish(figure, plot, titles, scene.checkpoints(entries))


def _line(ax: Axes, points: Sequence[Point], told: Mapping[int, str]) -> dict[str, str]:
    series = points[0].series
    look: dict[str, Any] = {"color": series.look.drawn, "clip_on": False}
    if len(points) > 1:
        ax.plot([p.x for p in points], [p.y.value for p in points], ls=series.line, lw=1.0, gid=series.gid, **look)
    titles = {}
    for i, p in enumerate(points):
        gid = f"{series.gid}-{i}"
        ax.plot([p.x], [p.y.value], marker=series.look.marker, ms=5, ls="none", gid=gid, **look)
        titles[gid] = f"{p.entry.name}: {told[id(p.entry)]}"
    return titles
