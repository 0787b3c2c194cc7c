"""Generative perplexity against unigram entropy, with the band of real text.

Perplexity can be had for entropy: text that repeats common words has a low one. So samplers are compared where their
text is as varied as real text (matched entropy, arXiv 2604.02718).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.report import svg
from harness.report.data import Estimate, Metric, unique
from harness.report.format import figure as figure_text
from harness.report.format import with_interval
from harness.report.plots import canvas
from harness.report.plots.canvas import Plot
from harness.report.plots.points import Cost, Point, points_of
from harness.report.plots.scene import Scene, marks, name_of_control
from harness.report.plots.standings import ENTROPY, MOST_MARKERS, below

_PPL = "gen_ppl"


def entropy_plot(scene: Scene) -> Plot | None:
    """The plot; None where no entry has both figures."""
    ppl, entropy = scene.metric(_PPL), scene.metric(ENTROPY)
    if ppl is None or entropy is None:
        return None
    at = scene.figures(ENTROPY)
    cost = Cost("entropy", "entropy", "", "number", lambda entry: at[id(entry)].value if id(entry) in at else None, 10)
    points = points_of(scene.entries, scene.series, cost, scene.figures(_PPL))
    if not points:
        return None
    real = scene.real(ENTROPY)
    letters = marks([p.entry for p in points])
    titles: dict[str, str] = {}
    with svg.style():
        series = scene.used([p.entry for p in points])
        more = [canvas.sample(color=svg.SOFT, alpha=0.35, lw=6, label="entropy of real text")] if real else []
        figure = canvas.canvas(1.6, canvas.legend_of(series, more), letters)
        ax = figure.add_subplot()
        outside = _axes(ax, points, scene, ppl, entropy)
        titles = _draw(ax, points, ppl, entropy, at)
        shown = [p.entry for p in points]
        canvas.heading(ax, f"{ppl.title} against {entropy.title}", scene.checkpoints(shown), scene.title)
        plot = Plot(
            name=f"fig-{_PPL}-entropy{scene.place.suffix}",
            title=f"{ppl.title} against {entropy.title}",
            finding=_finding(points, at, real),
            caption=_caption(points, scene, real, outside),
            inline="",
        )
        return canvas.finish(figure, plot, titles, scene.checkpoints(shown))


def _axes(ax: Axes, points: Sequence[Point], scene: Scene, ppl: Metric, entropy: Metric) -> list[str]:
    """Scales, the band of real text, controls; names of the controls that lie outside."""
    band, level = scene.real(ENTROPY), scene.real(_PPL)
    x = [v for p in points for v in (p.x,)] + ([band.value] if band else [])
    y = [v for p in points for v in (p.y.value, p.y.low, p.y.high) if v is not None and v > 0]
    y += [level.value] if level and level.value > 0 else []
    room = 0.08 * ((max(x) - min(x)) or 1.0)
    ax.set_xlim(min(x) - room, max(x) + room)
    canvas.log_y(ax, y)
    canvas.grid(ax)
    if band:
        ends = (band.value if band.low is None else band.low, band.value if band.high is None else band.high)
        ax.axvspan(*ends, color=svg.SOFT, alpha=0.35, lw=1)
    if level:
        ax.axhline(level.value, color=svg.INK, lw=0.8, ls=(0, (2, 2)), alpha=0.8)
        ax.annotate("real text", (0.01, level.value), xycoords=("axes fraction", "data"), xytext=(0, 2),
                    textcoords="offset points", fontsize=canvas.SMALL)  # fmt: skip
    ax.set_xlabel("\n".join(w for w in (f"{entropy.title}, {entropy.unit}".strip(", "),) if w), fontsize=canvas.SIZE)
    canvas.y_label(ax, ppl)
    return _controls(ax, scene)


def _controls(ax: Axes, scene: Scene) -> list[str]:
    """A cross and a name for each control but real text; names of those outside the axes."""
    outside = []
    for entry in scene.controls:
        x, y = scene.figures(ENTROPY).get(id(entry)), scene.figures(_PPL).get(id(entry))
        if x is None or y is None or y == scene.real(_PPL):
            continue
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        if left <= x.value <= right and low <= y.value <= high:
            ax.plot([x.value], [y.value], marker="x", ms=5, color=svg.INK, ls="none")
            at: dict[str, Any] = {"xytext": (4, 2), "textcoords": "offset points", "fontsize": canvas.SMALL}
            ax.annotate(canvas.cut(name_of_control(entry)), (x.value, y.value), **at)
        else:
            outside.append(f"{name_of_control(entry)} ({figure_text(y.value)} at {figure_text(x.value)})")
    return unique(outside)


def _draw(
    ax: Axes, points: Sequence[Point], ppl: Metric, entropy: Metric, at: Mapping[int, Estimate]
) -> dict[str, str]:
    """A line for each model and method in the order of steps, a marker and a cross for each entry."""
    if len(points) > MOST_MARKERS:
        canvas.dots(ax, [(p.x, p.y.value) for p in points], svg.SOFT)
        return {}
    titles = {}
    for series in unique(p.series for p in points):
        mine = sorted((p for p in points if p.series == series), key=lambda p: p.entry.steps or 0)
        colour = series.look.drawn
        ax.plot([p.x for p in mine], [p.y.value for p in mine], color=colour, ls=series.line, lw=1.0, gid=series.gid)
        bars = [(p.x, p.y.low, p.x, p.y.high) for p in mine if p.y.low and p.y.high]
        bars += [(e.low, p.y.value, e.high, p.y.value) for p in mine if (e := at[id(p.entry)]).low and e.high]
        canvas.cross(ax, series.gid, colour, bars)
        for i, p in enumerate(mine):
            gid = f"{series.gid}-{i}"
            face: dict[str, Any] = {"markerfacecoloralt": "none", "fillstyle": "bottom"} if p.mark else {}
            ax.plot([p.x], [p.y.value], marker=series.look.marker, ms=5, color=colour, ls="none", gid=gid, **face)
            titles[gid] = f"{p.entry.name}: {ppl.title} {with_interval(p.y)} at {with_interval(at[id(p.entry)])} "
            titles[gid] += f"{entropy.unit}" + (f" ({p.mark}: not comparable: {p.reason})" if p.mark else "")
    return titles


def matches(own: Estimate, real: Estimate) -> bool:
    """Whether text is as varied as real text: the two intervals touch."""
    return not below(own, real) and not below(real, own)


def _finding(points: Sequence[Point], at: Mapping[int, Estimate], real: Estimate | None) -> str:
    """The best where text is as varied as real text, and what lies lowest anywhere."""
    lowest = min(points, key=lambda p: p.y.value)
    text = f"Lowest anywhere: {_told(lowest)}."
    if real is None:
        return f"No real text in this run to compare entropies with. {text}"
    ranked = [p for p in points if not p.mark]
    fit = sorted((p for p in ranked if matches(at[id(p.entry)], real)), key=lambda p: p.y.value)
    models = [p for p in fit if p.entry.role != "baseline"][:1]
    baselines = [p for p in fit if p.entry.role == "baseline"][:1]
    parts = [f"Best at the entropy of real text: {_told(p)}." for p in models]
    parts += [f"Baseline there: {_told(p)}." for p in baselines]
    if not models and ranked:
        near = min(ranked, key=lambda p: abs(p.x - real.value))
        nearest = f"; nearest: {_told(near)}" if not fit else ""
        parts.insert(0, f"No model has the entropy of real text ({figure_text(real.value)}){nearest}.")
    return " ".join(parts if lowest in fit[:1] else [*parts, text])


def _grouped(points: Sequence[Point]) -> str:
    """Their names, a model and method with all its steps at once: "radd ancestral (4, 16 steps)"."""
    found = []
    for model, method in unique((p.series.model, p.series.method) for p in points):
        steps = [p.entry.steps for p in points if (p.series.model, p.series.method) == (model, method)]
        told = ", ".join(str(n) for n in sorted(unique(steps)))
        found.append(f"{model} {method}".strip() + (f" ({told} steps)" if told else ""))
    return "; ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _told(point: Point) -> str:
    return f"{point.entry.name} (perplexity {figure_text(point.y.value)}, entropy {figure_text(point.x)})"


def _caption(points: Sequence[Point], scene: Scene, real: Estimate | None, outside: Sequence[str]) -> str:
    at = scene.figures(ENTROPY)
    parts = ["Compare perplexity at equal entropy only: text that repeats itself has a low one. Lines join the steps."]
    if real:
        fit = [p for p in points if matches(at[id(p.entry)], real)]
        some = _grouped(fit)
        of = f"{len(fit)} of {len(points)} entries lie in it" + (f": {some}" if fit else "")
        parts.append(f"Grey band: the interval of real text; {of} (their intervals touch).")
    if len(points) > MOST_MARKERS:
        parts.append(f"There are {len(points):,} points: they are dots without name or interval.")
    if any(p.mark for p in points):
        parts.append("Half-filled markers are not comparable with the others.")
    lacking = len(scene.entries) - len(points)
    if lacking:
        parts.append(f"Not drawn, as one of the two is not known: {lacking} of {len(scene.entries)} entries.")
    if outside:
        parts.append(f"Crosses: control rows; off the plot: {', '.join(outside)}.")
    return " ".join(parts)
