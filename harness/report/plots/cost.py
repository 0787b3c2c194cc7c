"""Quality against what it costs, with the Pareto front: NFE, seconds on one machine, steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.report import svg
from harness.report.data import Metric, unique
from harness.report.entries import Entry
from harness.report.places import slug
from harness.report.plots import canvas
from harness.report.plots.canvas import Plot
from harness.report.plots.cost_words import MOST_LINES, caption, finding, title
from harness.report.plots.points import NFE, SECONDS, STEPS, Cost, Point, TimeGroup, time_groups
from harness.report.plots.scene import Scene, marks
from harness.report.plots.standings import APART, DOMINATED, DULL, FRONT, Panel, Standing, panel_of

#: Machines or settings for which a plot of seconds is drawn; the largest groups first.
MOST_GROUPS = 6
_LEGEND: dict[str, dict[str, Any]] = {
    FRONT: {"color": svg.INK, "lw": 1.6, "label": "Pareto front"},
    DOMINATED: {"color": svg.SOFT, "ls": "none", "marker": "o", "ms": 5, "label": "dominated"},
    DULL: {
        "color": svg.SOFT,
        "mfc": "none",
        "ls": "none",
        "marker": "o",
        "ms": 5,
        "label": "less entropy than real text",
    },
}


def cost_plots(scene: Scene, group: Sequence[Metric]) -> list[Plot]:
    """The plots of one metric, and of what must stand beside it (a panel each): against NFE, against seconds for each
    machine and setting, and against steps where an NFE is not known.
    """
    suffix = scene.place.suffix
    stem = f"fig-{slug(group[0].name)}"
    found = [_plot(scene, group, NFE, scene.entries, f"{stem}-nfe{suffix}")]
    times = time_groups([entry for entry in scene.entries if id(entry) in scene.figures(group[0].name)])
    for i, time in enumerate(times[:MOST_GROUPS], start=1):
        number = f"-{i}" if i > 1 else ""
        plot = _plot(scene, group, SECONDS, time.entries, f"{stem}-seconds{number}{suffix}", time)
        found.append(plot and _with_note(plot, _other_times(times, scene) if i == 1 else ""))
    if any(entry.nfe is None for entry in scene.entries):
        found.append(_plot(scene, group, STEPS, scene.entries, f"{stem}-steps{suffix}"))
    return [plot for plot in found if plot]


def _with_note(plot: Plot, note: str) -> Plot:
    return plot._replace(caption=f"{plot.caption} {note}".strip())


def _other_times(times: Sequence[TimeGroup], scene: Scene) -> str:
    """What a plot of seconds leaves out: entries without seconds, and groups beyond the first few."""
    untimed = sum(entry.seconds is None for entry in scene.entries)
    parts = (
        [f"Not drawn, as their seconds were not measured: {untimed} of {len(scene.entries)} points."] if untimed else []
    )
    if len(times) > MOST_GROUPS:
        rest = times[MOST_GROUPS:]
        parts.append(
            f"Seconds were measured under {len(times)} different conditions; not drawn are {len(rest)} of them with "
            f"{sum(len(group.entries) for group in rest)} points: they are in the table."
        )
    return " ".join(parts)


def _plot(
    scene: Scene,
    group: Sequence[Metric],
    cost: Cost,
    entries: Sequence[Entry],
    name: str,
    time: TimeGroup | None = None,
) -> Plot | None:
    """One plot; None where no entry has both the first metric and the cost."""
    panels = [panel_of(scene, metric, cost, entries) for metric in group]
    if not panels[0].points:
        return None
    drawn = _lines_drawn(panels)
    shown = [entry for panel in panels for entry in (p.entry for p in panel.points)]
    letters = marks([*shown, *scene.controls])
    titles: dict[str, str] = {}
    outside: list[str] = []
    kinds = {s.kind for panel in panels for s in panel.standings}
    with svg.style():
        more = [canvas.sample(**_LEGEND[kind]) for kind in _LEGEND if kind in kinds]
        series = [s for s in scene.series.values() if s.number in drawn]
        figure = canvas.canvas(len(group), canvas.legend_of(series, more), letters)
        for i, panel in enumerate(panels):
            ax = figure.add_subplot(len(panels), 1, i + 1)
            _axes(ax, panel, panels[0], cost, scene, last=i == len(panels) - 1)
            titles |= _draw(ax, panel, cost, drawn)
            outside += canvas.references(ax, scene.reference(panel.metric.name))
        words = f"{group[0].title} against {cost.word}"
        under = [scene.checkpoints(shown), scene.title] + ([time.title] if time else [])
        canvas.heading(figure.axes[0], words, *under)
        plot = Plot(name, words + (f" ({time.title})" if time else ""), finding(panels[0], cost, scene), "", "")
        plot = plot._replace(caption=caption(panels, cost, scene, bool(letters), outside))
        return canvas.finish(figure, plot, titles, scene.checkpoints(shown))


def _lines_drawn(panels: Sequence[Panel]) -> set[int]:
    """Numbers of the lines to draw: all, or where there are too many points those that reach the front first."""
    points = panels[0].points
    if not panels[0].crowded:
        return {p.series.number for p in points}
    return set(unique(p.series.number for p in [*panels[0].of(FRONT), *points])[:MOST_LINES])


def _draw(ax: Axes, panel: Panel, cost: Cost, drawn: set[int]) -> dict[str, str]:
    """Lines, front, intervals, markers; titles by gid."""
    chosen = [
        (p, s) for p, s in zip(panel.points, panel.standings, strict=True) if not panel.crowded or s.kind == FRONT
    ]
    leading = {p.series.number for p in panel.of(FRONT)}
    for number in sorted(drawn):
        _line(ax, [p for p in panel.points if p.series.number == number], bold=number in leading or not leading)
    if panel.crowded:
        rest = [p for p, s in zip(panel.points, panel.standings, strict=True) if s.kind != FRONT]
        canvas.dots(ax, [(p.x, p.y.value) for p in rest], svg.SOFT)
    _front(ax, panel.of(FRONT))
    titles: dict[str, str] = {}
    for number in unique(p.series.number for p, _ in chosen):
        mine = [(p, s) for p, s in chosen if p.series.number == number]
        _crosses(ax, mine)
        for i, (point, standing) in enumerate(mine):
            gid = f"{point.series.gid}-{i}"
            _marker(ax, point, standing, gid)
            titles[gid] = title(point, standing, panel.metric, cost)
    return titles


def _line(ax: Axes, points: Sequence[Point], bold: bool) -> None:
    """One line through entries in the order of their cost; faint unless `bold`."""
    if len(points) > 1:
        s = points[0].series
        x, y = zip(*sorted((p.x, p.y.value) for p in points), strict=True)
        ax.plot(x, y, color=s.look.drawn, ls=s.line, lw=1.0, alpha=0.9 if bold else 0.4, gid=s.gid, clip_on=False)


def _front(ax: Axes, points: Sequence[Point]) -> None:
    """The best that each budget can buy: steps from point to point, and on to the right edge."""
    if points:
        x = [p.x for p in points] + [ax.get_xlim()[1]]
        y = [p.y.value for p in points] + [points[-1].y.value]
        ax.plot(x, y, color=svg.INK, lw=1.6, drawstyle="steps-post", solid_capstyle="butt", zorder=2.2)


def _crosses(ax: Axes, mine: Sequence[tuple[Point, Standing]]) -> None:
    """Intervals of one line, those of grey markers in grey."""
    for grey in (True, False):
        bars = []
        for p, s in mine:
            if (s.kind in (DOMINATED, DULL)) is not grey:
                continue
            if p.y.low is not None and p.y.high is not None:
                bars.append((p.x, p.y.low, p.x, p.y.high))
            if p.x_low is not None and p.x_high is not None:
                bars.append((p.x_low, p.y.value, p.x_high, p.y.value))
        series = mine[0][0].series
        canvas.cross(ax, series.gid, svg.SOFT if grey else series.look.drawn, bars)


def _marker(ax: Axes, point: Point, standing: Standing, gid: str) -> None:
    colour = svg.SOFT if standing.kind in (DOMINATED, DULL) else point.series.look.drawn
    look: dict[str, Any] = {"mfc": colour, "ms": 7 if standing.kind == FRONT else 5}
    if standing.kind == APART:  # half-filled, with its letter: not to be ranked with the others
        look = {"mfc": colour, "markerfacecoloralt": "none", "fillstyle": "bottom", "ms": 5.5}
        at: dict[str, Any] = {"xytext": (5, 3), "textcoords": "offset points", "fontsize": 8}
        ax.annotate(point.mark, (point.x, point.y.value), **at).set_gid(point.series.gid)
    if standing.kind == DULL:
        look["mfc"] = "none"
    look |= {"marker": point.series.look.marker, "mec": colour, "ls": "none", "gid": gid, "clip_on": False}
    ax.plot([point.x], [point.y.value], zorder=4 if standing.kind == FRONT else 3, **look)


def _axes(ax: Axes, panel: Panel, first: Panel, cost: Cost, scene: Scene, last: bool) -> None:
    """Scales, ticks and labels; perplexities that differ much get a logarithmic axis too. Controls far from all entries
    do not stretch it.
    """
    canvas.log_x(ax, [p.x for p in first.points], cost.base)
    values = [v for p in panel.points for v in (p.y.value, p.y.low, p.y.high) if v is not None]
    beside = list(scene.reference(panel.metric.name).values())
    low, high = min(values, default=0.0), max(values, default=1.0)
    if "ppl" in panel.metric.name and low > 0 and max(high, *beside, 0) > 5 * low:
        near = [v for v in beside if low / 4 < v < high * 4]
        canvas.log_y(ax, [low, high, *near])
    else:
        room = (high - low) or abs(high) or 1.0
        near = [v for v in beside if low - room < v < high + room]
        low, high = min([low, *near]), max([high, *near])
        margin = 0.06 * ((high - low) or room)
        ax.set_ylim(low - margin, high + margin)
    canvas.grid(ax)
    canvas.y_label(ax, panel.metric)
    ax.tick_params(labelbottom=last)
    if last:
        ax.set_xlabel(cost.label, fontsize=canvas.SIZE)
