"""Plots of what happens inside a run: settled tokens and the judge's perplexity against the share of steps done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from harness.report import svg
from harness.report.curves import Curve, State
from harness.report.data import kind_label, metric_title
from harness.report.format import figure as figure_text
from harness.report.places import Place
from harness.report.plots import canvas
from harness.report.plots.canvas import Plot
from harness.report.plots.series import Series

SeriesOf = Mapping[tuple[str, str], Series]


class _Panel(NamedTuple):
    """One axis: what it shows of a state, and how it is labelled."""

    value: Callable[[State], float | None]
    label: str
    log: bool = False
    percent: bool = False


_SETTLED = _Panel(lambda s: s.settled and s.settled.value, "final tokens settled", percent=True)
_QUALITY = _Panel(lambda s: s.metric and s.metric.value, "")
_PPL = _Panel(lambda s: s.ppl and s.ppl.value, "judge's perplexity\nlower is better \u2193", log=True)
_ENTROPY = _Panel(lambda s: s.entropy and s.entropy.value, "unigram entropy\nnats/token")


class _Kind(NamedTuple):
    """One figure: its panels, when a line of the first of them gets somewhere, and what is said of that."""

    name: str
    title: str
    panels: list[_Panel]
    at: Callable[[Curve], int | None]
    finding: str
    caption: str


def _kinds(curves: Sequence[Curve]) -> list[_Kind]:
    metrics = {c.metric for c in curves if c.metric}
    quality = [_QUALITY._replace(label=f"{metric_title(m)}\nhigher is better \u2191") for m in metrics]
    rising = [_SETTLED, *(quality if len(quality) == 1 else [])]
    return [
        _Kind(
            "settled",
            "Final tokens settled, by steps done",
            rising,
            lambda curve: curve.settled_at(0.5),
            "Half of the final tokens are settled after",
            "Settled: from here on to the end the token is the final one.",
        ),
        _Kind(
            "ppl",
            "Perplexity of the text so far",
            [_PPL, _ENTROPY],
            lambda curve: curve.near_at,
            "The perplexity stays within 10 % of its end from",
            "Masks are left out of the text before it is judged.",
        ),
    ]


def inside_plots(place: Place, curves: Sequence[Curve], series: SeriesOf, name: str, steps: str) -> list[Plot]:
    """Settled tokens with the quality below, and perplexity with the entropy below, of curves that have such figures.

    Args:
        place: of the curves.
        curves: one for each of some lines.
        series: the lines, by model and method.
        name: what makes file names and ids this group's own.
        steps: which step counts these are, for the headings.
    """
    found = (_plot(kind, place, curves, series, f"fig-inside-{kind.name}{name}", steps) for kind in _kinds(curves))
    return [plot for plot in found if plot]


def _plot(kind: _Kind, place: Place, curves: Sequence[Curve], series: SeriesOf, name: str, steps: str) -> Plot | None:
    drawn = [c for c in curves if any(panel.value(s) is not None for panel in kind.panels[:1] for s in c.states)]
    used = [p for p in kind.panels if any(p.value(s) is not None for c in drawn for s in c.states)]
    if not drawn:
        return None
    titles: dict[str, str] = {}
    checkpoints = kind_label([c.row for c in drawn])
    with svg.style():
        lines = [series[c.model, c.method] for c in drawn]
        figure = canvas.canvas(len(used), canvas.legend_of(lines))
        for i, panel in enumerate(used):
            ax = figure.add_subplot(len(used), 1, i + 1)
            for curve, line in zip(drawn, lines, strict=True):
                titles[line.gid] = _told(curve)
                _line(ax, curve, line, panel)
            _axes(ax, panel, drawn, last=i == len(used) - 1)
        where = f"{place.benchmark or 'unknown benchmark'}, {place.task}"
        canvas.heading(figure.axes[0], kind.title, checkpoints, where, steps)
        plot = Plot(name, kind.title, _finding(drawn, kind), f"{kind.caption} {_size(drawn)}", "")
        return canvas.finish(figure, plot, titles, checkpoints)


def _line(ax: Axes, curve: Curve, line: Series, panel: _Panel) -> None:
    points = [(s.done / curve.steps, value) for s in curve.states if (value := panel.value(s)) is not None]
    if points:
        x, y = zip(*points, strict=True)
        spread = (line.number % 5 * len(points) // 15, max(1, len(points) // 3))  # a few, not all lines' at one place
        marks: dict[str, Any] = {"marker": line.look.marker, "ms": 4, "markevery": spread}
        ax.plot(x, y, color=line.look.drawn, ls=line.line, lw=1.4, gid=line.gid, clip_on=False, **marks)


def _axes(ax: Axes, panel: _Panel, curves: Sequence[Curve], last: bool) -> None:
    canvas.grid(ax)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    if panel.percent:
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    values = [v for c in curves for s in c.states if (v := panel.value(s)) is not None]
    if panel.log:
        canvas.log_y(ax, [value for value in values if value > 0])
    elif not panel.percent and min(values) >= 0:
        ax.set_ylim(0, 1.05 * max(values) or 1)
    ax.set_ylabel(panel.label, fontsize=canvas.SIZE)
    ax.tick_params(labelbottom=last)
    if last:
        ax.set_xlabel("steps done", fontsize=canvas.SIZE)


def _told(curve: Curve) -> str:
    """What is shown where the pointer rests on a line."""
    half = curve.settled_at(0.5)
    words = [f"{curve.model} {curve.method}, {curve.steps} steps"]
    words += [f"half of the final tokens settled after {half}"] if half is not None else []
    end = curve.states[-1].ppl
    return "; ".join(words + ([f"perplexity at the end {figure_text(end.value)}"] if end else []))


def _finding(curves: Sequence[Curve], kind: _Kind) -> str:
    """The earliest and the latest of the lines in a sentence."""
    at = sorted((found / c.steps, f"{c.model} {c.method}") for c in curves if (found := kind.at(c)) is not None)
    if not at:
        return ""
    ends = dict.fromkeys((at[0], at[-1]))
    return kind.finding + ", and".join(f" {100 * share:.0f} % of the steps with {name}" for share, name in ends) + "."


def _size(curves: Sequence[Curve]) -> str:
    counts = sorted({c.sequences for c in curves})
    return f"{' to '.join(dict.fromkeys(str(n) for n in (counts[0], counts[-1])))} traced texts a line."
