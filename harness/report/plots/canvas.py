"""What all plots share: an empty figure with its legend, logarithmic ticks, markers, reference lines."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.report import svg
from harness.report.data import Metric
from harness.report.plots.series import Series

SMALL, SIZE = 8.5, 9  # points
_LINE = 64  # characters of small text
_LONGEST = 36  # characters of a name
_WIDTH = 4.6  # inches; at 390 pixels the text is still about 9 pixels high
_DIRECTION = {"higher": "higher is better \u2191", "lower": "lower is better \u2193"}
_MANY = 8  # bars of one line; more are drawn faintly
_CELLS = (120, 60)  # dots in one cell of a grid this fine are one dot


class Plot(NamedTuple):
    """A finished figure.

    Attributes:
        name: of its file, without ending.
        title: what against what.
        finding: what it shows, one or two sentences; a reader who does not see it is told this.
        caption: how to read it.
        inline: the SVG for the page.
    """

    name: str
    title: str
    finding: str
    caption: str
    inline: str


def finish(figure: Figure, plot: Plot, titles: Mapping[str, str], checkpoints: str) -> Plot:
    """The plot with its SVG, and a description for those who do not see it."""
    label = f"Plot: {plot.title}, {checkpoints}. {plot.finding} All figures are in the table."
    return plot._replace(inline=svg.inline_svg(figure, plot.name, label, titles))


def cut(name: str) -> str:
    """A name as plots have room for."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\u2026"


def sample(**look: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], **look)


def legend_of(series: Sequence[Series], more: Sequence[Line2D] = ()) -> tuple[list[Line2D], list[Line2D]]:
    """Entries for models (colour and marker), and for methods (dashes) followed by `more`."""
    models = {
        s.model: sample(color=s.look.drawn, marker=s.look.marker, ms=5.5, lw=1.2, label=cut(s.label)) for s in series
    }
    methods = {s.method: sample(color=svg.INK, ls=s.line, lw=1.2, label=cut(s.method) or "\u2013") for s in series}
    return list(models.values()), [*methods.values(), *more]


def canvas(panels: float, entries: tuple[list[Line2D], list[Line2D]], told: Mapping[str, str] | None = None) -> Figure:
    """An empty figure with its legend below, and what letters on markers mean.

    Args:
        panels: height in panels of two inches.
        entries: two columns, as `legend_of` gives them; long ones stand below each other.
        told: reasons by letter.
    """
    left, right = entries
    beside = all(len(str(h.get_label())) <= 27 for h in left + right)
    if beside:  # legends fill column by column: level them so that models stay left and methods right
        blank = sample(ls="none", label=" ")
        size = max(len(left), len(right))
        left, right = left + [blank] * (size - len(left)), right + [blank] * (size - len(right))
    count = max(len(left), len(right)) if beside else len(left) + len(right)
    lines = [
        line for mark, reason in (told or {}).items() for line in textwrap.wrap(f"{mark}: not comparable: {reason}", 66)
    ]
    figure = Figure(figsize=(_WIDTH, 0.75 + 2.05 * panels + 0.175 * count + 0.16 * len(lines)), layout="constrained")
    look: dict[str, Any] = {"fontsize": SMALL, "handlelength": 2.8, "borderaxespad": 0.2, "labelspacing": 0.25}
    if lines:  # as the title of the legend, since nothing else keeps room for itself below the axes
        look |= {"title": "\n".join(lines), "title_fontsize": SMALL, "alignment": "left"}
    if left or right:
        figure.legend(handles=left + right, loc="outside lower left", ncols=2 if beside else 1, **look)
    return figure


def heading(ax: Axes, title: str, *under: str) -> None:
    """The title above the first panel, with smaller lines below it."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    lines: list[str] = []
    for text in under:
        joined = " \u00b7 ".join([*lines[-1:], text])
        lines[-1:] = [joined] if len(joined) <= _LINE else [*lines[-1:], *textwrap.wrap(text, _LINE)]
    ax.set_title("\n".join(lines), loc="left", x=0.0, fontsize=SMALL)


def y_label(ax: Axes, metric: Metric) -> None:
    """Metric, unit and direction."""
    unit = metric.unit.removeprefix(f"{metric.title.partition(',')[0]}, ")
    told = unit in metric.title or unit.startswith(("perplexity", "0.."))
    lines = [*textwrap.wrap(metric.title, 26), "" if told else unit, _DIRECTION.get(metric.better, "")]
    ax.set_ylabel("\n".join(line for line in lines if line), fontsize=SIZE)


def grid(ax: Axes) -> None:
    """Faint lines behind everything."""
    ax.grid(True, lw=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=SIZE)


def log_x(ax: Axes, values: Sequence[float], base: int) -> None:
    """A logarithmic axis around `values`, all above 0."""
    low, high = min(values), max(values)
    ax.set_xscale("log")
    room = max(1.2, math.sqrt(5 * low / high))  # at least two ticks around points that lie close together
    ax.set_xlim(low / room, high * room)
    log_ticks(ax.xaxis, low, high, base)


def log_y(ax: Axes, values: Sequence[float]) -> None:
    """The same upwards."""
    low, high = min(values), max(values)
    ax.set_yscale("log")
    room = max(1.15, math.sqrt(5 * low / high))
    ax.set_ylim(low / room, high * room)
    log_ticks(ax.yaxis, low, high, 10)


def log_ticks(axis: Axis, low: float, high: float, base: int) -> None:
    """Plain numbers, as many as there is room for."""
    subs = (1,) if base == 2 or high > 300 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(base=base, subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def cross(ax: Axes, gid: str, colour: str, bars: Sequence[tuple[float, float, float, float]]) -> None:
    """Bars from (x, y) to (x, y) of one series as one path."""
    if bars:
        x = [value for bar in bars for value in (bar[0], bar[2], math.nan)]
        y = [value for bar in bars for value in (bar[1], bar[3], math.nan)]
        ax.plot(x, y, color=colour, lw=1.0, alpha=0.35 if len(bars) > _MANY else 0.8, gid=gid)


def dots(ax: Axes, pairs: Sequence[tuple[float, float]], colour: str) -> None:
    """Many points as one path of round dots; those that would lie on each other are drawn once.

    Call it when the limits of the axes are set.
    """
    if not pairs:
        return
    to_axes = ax.transScale + ax.transLimits
    cells = np.round(to_axes.transform(pairs) * np.asarray(_CELLS))
    _, first = np.unique(cells, axis=0, return_index=True)
    kept = np.asarray(pairs)[np.sort(first)]
    path = Path(np.repeat(kept, 2, axis=0), [Path.MOVETO, Path.LINETO] * len(kept))
    path.should_simplify = False  # a line of no length with round ends is a dot
    ax.add_patch(PathPatch(path, fc="none", ec=colour, lw=2.6, capstyle="round", alpha=0.7))


def references(ax: Axes, lines: Mapping[str, float]) -> list[str]:
    """A dashed line and a name at the right edge for each control, names pushed apart where they would overlap.

    Returns:
        Names of those that lie outside the axes and are not drawn.
    """
    low, high = sorted(ax.get_ylim())
    inside = {name: value for name, value in lines.items() if low <= value <= high}
    for value in inside.values():
        ax.axhline(value, color=svg.INK, lw=0.8, ls=(0, (2, 2)), alpha=0.8)
    to_axes, x = ax.transScale + ax.transLimits, ax.get_xlim()[0]
    ranked = sorted(inside.items(), key=lambda item: item[1])
    heights = spread([float(to_axes.transform((x, value))[1]) for _, value in ranked], gap=0.085)
    for (name, _), height in zip(ranked, heights, strict=True):
        ax.text(1.01, height, cut(name), transform=ax.transAxes, va="center", fontsize=SMALL)
    return [name for name in lines if name not in inside]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending `heights` in [0, 1] moved apart to at least `gap`, upwards first and back down from the top."""
    out: list[float] = []
    for height in heights:
        out.append(max(height, out[-1] + gap) if out else height)
    for i in reversed(range(len(out))):
        out[i] = min(out[i], 1.0 if i == len(out) - 1 else out[i + 1] - gap)
    return out
