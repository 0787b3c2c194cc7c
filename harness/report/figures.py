"""The plots of a place: quality against NFE, seconds, and steps where an NFE is not known. One line a model and
scheduler, controls as reference lines.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness import comparable
from harness.report import svg
from harness.report.data import (
    Metric,
    Names,
    Row,
    estimate,
    group_by,
    is_done,
    kind_label,
    number,
    row_label,
    selection,
    unique,
)
from harness.report.format import figure as figure_text
from harness.report.format import with_interval
from harness.report.places import Place, slug

#: Metrics that a benchmark may be told by, in plots and sentences: of those it lists, the first `MOST_METRICS`.
MAIN_METRICS = (
    *("toy_valid_sentences", "paraphrase_success", "paraphrase_valid", "paraphrase_meaning", "gen_ppl", "mauve"),
    *("bleu", "bleu_diffuseq", "bleu_fairseq", "chrf", "rouge_l", "bertscore"),
)
MOST_METRICS = 3
_MARKERS = "os^DvPX<>p"
_LINES: tuple[Any, ...] = (
    *("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1))),
    *((0, (9, 2, 3, 2)), (0, (1, 4))),
)
_AXES = {
    "nfe": ("nfe_mean", "NFE", "NFE per sequence (log scale)"),
    "seconds": ("seconds_per_sequence", "seconds", "seconds per sequence (log scale)"),
    "steps": ("steps", "steps", "steps (log scale)"),
}
_DIRECTION = {"higher": "higher is better \u2191", "lower": "lower is better \u2193"}


class Plot(NamedTuple):
    """A finished figure: file name without ending, heading, caption, and the SVG for the page."""

    name: str
    title: str
    caption: str
    inline: str


class Series(NamedTuple):
    """One line: a model and a method, with its number on the page and its look."""

    number: int
    model: str
    method: str
    label: str
    colour: str
    marker: str
    line: Any
    hollow: bool


SeriesByLine = dict[tuple[str, str], Series]


def all_series(places: Sequence[Place], names: Names) -> list[SeriesByLine]:
    """The lines of each place: model sets colour and marker, the same in all places, and method sets the dashes."""
    drawn = [[r for r in place.rows if _is_drawn(r)] for place in places]
    models = unique(names.model(r) for mine in drawn for r in mine)
    found: list[SeriesByLine] = []
    for mine in drawn:
        first = sum(map(len, found))
        lines = group_by(mine, lambda r: (names.model(r), names.method(r)))
        methods = unique(method for _, method in lines)
        kinds = {m: ", ".join(unique(map(row_label, same))) for m, same in group_by(mine, names.model).items()}
        place: SeriesByLine = {}
        for i, (model, method) in enumerate(lines, start=first):
            m, s = models.index(model), methods.index(method)
            look = (svg.SERIES_COLOURS[m % 10], _MARKERS[m % 10], _LINES[s % len(_LINES)], s % 2 == 1)
            place[model, method] = Series(i, model, method, f"{model} ({kinds[model]})", *look)
        found.append(place)
    return found


def _is_drawn(row: Row) -> bool:
    return row.get("kind") == "generate" and row.get("role") != "control" and not row.get("same_as")


def main_metrics(metrics: Sequence[Metric]) -> list[Metric]:
    """The few that a benchmark is told by; where it has none of `MAIN_METRICS`, the first with a direction."""
    main = [m for m in metrics if m.name in MAIN_METRICS] or [m for m in metrics if m.better != "none"][:1]
    return main[:MOST_METRICS]


def plot_groups(metrics: Sequence[Metric]) -> list[tuple[Metric, ...]]:
    """Metrics to draw, each with what must stand beside it: perplexity is never drawn without entropy."""
    entropy = next((m for m in metrics if m.name == "unigram_entropy"), None)
    main = main_metrics(metrics)
    groups: list[tuple[Metric, ...]] = [(m, entropy) if m.name == "gen_ppl" and entropy else (m,) for m in main]
    return groups if entropy is None or any(len(g) > 1 for g in groups) else [*groups, (entropy,)]


class _Drawing(NamedTuple):
    """What the plots of one place share."""

    title: str
    suffix: str
    rows: list[Row]
    controls: list[Row]
    series: SeriesByLine
    names: Names


def draw(place: Place, series: SeriesByLine, names: Names) -> list[Plot]:
    """Every plot that a place of generated text has points for; its file name says metric, axis, and the place where
    there are several.
    """
    done = [r for r in place.rows if is_done(r)]
    title = f"{place.benchmark or 'unknown benchmark'}, {place.task}"
    rows, controls = [r for r in done if _is_drawn(r)], [r for r in done if r.get("role") == "control"]
    drawing = _Drawing(title, place.suffix, rows, controls, series, names)
    axes = [axis for axis in _AXES if axis != "steps" or any(number(r.get("nfe_mean")) is None for r in rows)]
    return [p for group in plot_groups(place.metrics) for axis in axes if (p := _plot(group, axis, drawing))]


def _plot(group: Sequence[Metric], axis: str, place: _Drawing) -> Plot | None:
    """One plot, a panel a metric; None where no point has both the first metric and the axis."""
    column, word, _ = _AXES[axis]
    known = [r for r in place.rows if estimate(r, group[0].name)]
    measured = [r for r in known if not (axis == "seconds" and comparable.is_imported(r))]
    drawn = [r for r in measured if (number(r.get(column)) or 0) > 0]
    if not drawn:
        return None
    title = f"{group[0].title} against {word}"
    name = f"fig-{slug(group[0].name)}-{axis}{place.suffix}"
    by_series = group_by(drawn, lambda r: place.series[place.names.model(r), place.names.method(r)])
    titles: dict[str, str] = {}
    with svg.style():
        marks = comparable.legend([*drawn, *place.controls])
        figure = _canvas(len(group), list(place.series.values()), set(by_series), marks)
        for i, metric in enumerate(group):
            ax = figure.add_subplot(len(group), 1, i + 1)
            for series, mine in by_series.items():
                titles |= _line(ax, series, mine, axis, metric, place.names)
            _axes(ax, metric, drawn, place.controls, i == len(group) - 1, axis)
            _references(ax, place.controls, metric, place.names)
        told = (kind_label(drawn), place.title)
        under = " \u00b7 ".join(told) if sum(map(len, told)) < 50 else "\n".join(told)
        figure.axes[0].set_title(f"{title}\n{under}", loc="left", fontsize=10)
        label = f"Plot: {title}, {kind_label(drawn)}. All figures are in the table."
        inline = svg.inline_svg(figure, name, label, titles)
    caption = _caption(group, drawn, place.controls)
    if len(drawn) < len(known):
        count = f"{len(known) - len(drawn)} of {len(known)} points"
        caption += f" Not drawn, as their {word} {'was' if axis == 'nfe' else 'were'} not measured: {count}."
    return Plot(name, title, caption, inline)


def _canvas(panels: int, series: Sequence[Series], used: Set[Series], marks: Mapping[str, str]) -> Figure:
    """An empty figure with its legend (model: colour and marker; method: dashes; then what marked rows differ in)
    below.
    """
    by_model = {
        s.model: Line2D([], [], color=s.colour, marker=s.marker, lw=1.6, label=s.label) for s in series if s in used
    }
    methods = {s.method for s in used}
    named = [s for s in series if s.method in methods]
    by_method = {s.method: Line2D([], [], color=svg.INK, ls=s.line, lw=1.6, label=s.method or "\u2013") for s in named}
    left, right = list(by_model.values()), list(by_method.values())
    beside = all(len(str(h.get_label())) <= 28 for h in left + right)
    if beside:  # legends fill column by column: level them so that models stay left and methods right
        blank = Line2D([], [], ls="none", label=" ")
        size = max(len(left), len(right))
        left, right = left + [blank] * (size - len(left)), right + [blank] * (size - len(right))
    entries = max(len(left), len(right)) if beside else len(left) + len(right)
    told = [line for mark, reason in marks.items() for line in textwrap.wrap(f"{mark}: not comparable: {reason}", 66)]
    height = 0.8 + 2.05 * panels + 0.19 * entries + 0.16 * len(told)
    figure = Figure(figsize=(4.7, height), layout="constrained")
    look: dict[str, Any] = {"fontsize": 9, "handlelength": 3.2, "borderaxespad": 0.2, "labelspacing": 0.3}
    if told:  # as the title of the legend, since nothing else keeps room for itself below the axes
        look |= {"title": "\n".join(told), "title_fontsize": 8.5, "alignment": "left"}
    figure.legend(handles=left + right, loc="outside lower left", ncols=2 if beside else 1, **look)
    return figure


def _line(ax: Axes, s: Series, rows: Sequence[Row], axis: str, metric: Metric, names: Names) -> dict[str, str]:
    """Draw one line through the mean over seeds and a marker with interval for each row; titles by gid."""
    column, word, _ = _AXES[axis]
    points = [(row, float(row[column]), e) for row in rows if (e := estimate(row, metric.name))]
    by_steps = group_by([{"steps": r.get("steps"), "x": x, "y": e.value} for r, x, e in points], lambda p: p["steps"])
    means = sorted((_mean([p["x"] for p in g]), _mean([p["y"] for p in g])) for g in by_steps.values())
    gid = f"s{s.number}"
    ax.plot(*zip(*means, strict=True) if means else ([], []), color=s.colour, ls=s.line, lw=1.4, gid=gid, clip_on=False)
    bars = [(x, e.low, e.high) for _, x, e in points if e.low is not None and e.high is not None]
    if bars:
        ax.vlines(*zip(*bars, strict=True), color=s.colour, lw=1.2, clip_on=False).set_gid(gid)
    titles = {}
    for i, (row, x, e) in enumerate(points):
        mark, letter = f"{gid}-{i}", comparable.mark(row)
        face: dict[str, Any] = {"mfc": "none" if s.hollow else s.colour}
        if letter:  # half-filled, with its letter: not to be ranked with the others
            face = {"mfc": s.colour, "markerfacecoloralt": "none", "fillstyle": "bottom"}
            at: dict[str, Any] = {"xytext": (5, 3), "textcoords": "offset points", "fontsize": 8}
            ax.annotate(letter, (x, e.value), **at).set_gid(gid)
        ax.plot([x], [e.value], marker=s.marker, ms=5.5, mec=s.colour, ls="none", gid=mark, clip_on=False, **face)
        titles[mark] = f"{names.row(row)}: {metric.title} {with_interval(e)}, {word} {figure_text(x)}"
        titles[mark] += f" ({letter}: not comparable: {row[comparable.REASON]})" if letter else ""
    return titles


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _axes(ax: Axes, metric: Metric, rows: Sequence[Row], controls: Sequence[Row], last: bool, axis: str) -> None:
    """Scales, ticks and labels; perplexities that differ much get a logarithmic axis too."""
    ax.set_xscale("log")
    at = [float(r[_AXES[axis][0]]) for r in rows]
    room = max(1.15, math.sqrt(5 * min(at) / max(at)))  # at least two ticks around points that lie close together
    ax.set_xlim(min(at) / room, max(at) * room)
    _log_ticks(ax.xaxis, min(at), max(at), base=10 if axis == "seconds" else 2)  # people sweep steps by doubling
    values = [e.value for r in (*rows, *controls) if (e := estimate(r, metric.name))]
    if "ppl" in metric.name and min(values, default=0) > 0 and max(values) > 5 * min(values):
        ax.set_yscale("log")
        _log_ticks(ax.yaxis, min(values), max(values), base=10)
    ax.grid(True, lw=0.5)
    ax.set_axisbelow(True)
    unit = metric.unit.removeprefix(f"{metric.title.partition(',')[0]}, ")
    told = unit in metric.title or unit.startswith(("perplexity", "0.."))
    lines = [metric.title, "" if told else unit, _DIRECTION.get(metric.better, "")]
    ax.set_ylabel("\n".join(line for line in lines if line), fontsize=9)
    ax.tick_params(labelbottom=last, labelsize=9)
    if last:
        ax.set_xlabel(_AXES[axis][2], fontsize=9)


def _log_ticks(axis: Axis, low: float, high: float, base: int) -> None:
    """Plain numbers, as many as there is room for."""
    subs = (1,) if base == 2 or high > 300 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(base=base, subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _references(ax: Axes, controls: Sequence[Row], metric: Metric, names: Names) -> None:
    """A line and a name at the right edge for each control, names pushed apart where they would overlap."""
    known = [r for r in controls if estimate(r, metric.name)]
    lines = {
        name: _mean([e.value for r in mine if (e := estimate(r, metric.name))])
        for name, mine in group_by(known, lambda r: _control(r, names)).items()
    }
    for value in lines.values():
        ax.axhline(value, color=svg.INK, lw=0.8, ls=(0, (2, 2)), alpha=0.8)
    ax.autoscale_view()
    to_axes, x = ax.transScale + ax.transLimits, ax.get_xlim()[0]
    ranked = sorted(lines.items(), key=lambda item: item[1])
    heights = _spread([float(to_axes.transform((x, value))[1]) for _, value in ranked], gap=0.085)
    for (name, _), height in zip(ranked, heights, strict=True):
        ax.text(1.01, height, name, transform=ax.transAxes, va="center", fontsize=8.5)


def _control(row: Row, names: Names) -> str:
    """A control's name on its line, one for all seeds."""
    return " ".join(word for word in (names.model(row), selection(row), comparable.mark(row)) if word)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending `heights` in [0, 1] moved apart to at least `gap`, upwards first and back down from the top."""
    out: list[float] = []
    for height in heights:
        out.append(max(height, out[-1] + gap) if out else height)
    for i in reversed(range(len(out))):
        out[i] = min(out[i], 1.0 if i == len(out) - 1 else out[i + 1] - gap)
    return out


def _caption(group: Sequence[Metric], rows: Sequence[Row], controls: Sequence[Row]) -> str:
    counts = unique(r.get("samples_done") or r.get("samples") for r in rows)
    size = " to ".join(f"{n:,}" for n in sorted({min(counts), max(counts)})) if counts else "an unknown number of"
    parts = [f"A marker is one point of the sweep ({size} samples each), its bar the bootstrap interval."]
    if comparable.legend([*rows, *controls]):
        parts.append("Half-filled markers with a letter are not comparable with the others, as is said below the axes.")
    if any(estimate(r, group[0].name) for r in controls):
        parts.append("Dashed lines: control rows.")
    if len(group) > 1:
        parts.append(
            "Perplexity alone can be won by dull text: read it with the entropy below it, and compare both with data."
        )
    return " ".join(parts)
