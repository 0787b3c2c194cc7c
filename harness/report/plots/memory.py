"""Peak memory on each machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from harness.report import svg
from harness.report.data import Estimate, number, unique
from harness.report.entries import Entry
from harness.report.format import figure as figure_text
from harness.report.plots import canvas
from harness.report.plots.canvas import Plot
from harness.report.plots.points import TimeGroup, points_of, time_groups
from harness.report.plots.scaling import (
    BATCH,
    MOST_GROUPS,
    at_one_step_count,
    batch_sizes,
    line_plot,
    over_batch_sizes,
    swept,
    where,
)
from harness.report.plots.scene import Scene

_GIB = 1 << 30
_KINDS = {"cuda_allocated": "allocated on the GPU", "resident_set": "resident set of the process"}
#: What memory is not told apart by: only machine and device.
_ALIKE = ("threads", "runtime", "dtype", "batch size", "length")


def memory(entry: Entry) -> float | None:
    """Largest peak of its rows in bytes; None where any is not known."""
    known = [number(row.get("peak_memory_bytes")) for row in entry.rows]
    return max(value for value in known if value) if all(known) else None


def memory_plots(scene: Scene) -> list[Plot]:
    """Peak memory on each machine: against batch size where that was swept, else for each model."""
    found = []
    for i, group in enumerate(time_groups(scene.entries, _ALIKE)[:MOST_GROUPS], start=1):
        known = {id(entry): peak for entry in group.entries if (peak := memory(entry)) and peak > 0}
        entries = [entry for entry in group.entries if id(entry) in known]
        if entries:
            name = f"fig-memory{f'-{i}' if i > 1 else ''}{scene.place.suffix}"
            plot = _by_batch_size if swept(entries) else _by_model
            found.append(plot(scene, group, entries, known, name))
    return found


def _by_model(scene: Scene, group: TimeGroup, entries: Sequence[Entry], known: Mapping[int, float], name: str) -> Plot:
    spans = {m: sorted(known[id(e)] for e in entries if e.model == m) for m in unique(e.model for e in entries)}
    spans = dict(sorted(spans.items(), key=lambda item: item[1][-1]))
    sizes = batch_sizes(entries)
    caption = f"{_caption(scene, group, entries)} Bars span samplers and steps. Batch size {sizes}: it was not swept."
    plot = Plot(name, "peak memory", _least_and_most(spans), caption, "")
    with svg.style():
        figure = canvas.canvas(0.35 + 0.11 * len(spans), ([], []))
        ax = figure.add_subplot()
        titles = {}
        for y, (model, span) in enumerate(spans.items()):
            titles[f"m{y}"] = f"{model}: {' to '.join(unique(figure_text(v, 'bytes') for v in (span[0], span[-1])))}"
            look = scene.page.looks[model]
            ax.plot([span[0] / _GIB, span[-1] / _GIB], [y, y], color=look.drawn, lw=2, gid=f"m{y}")
            ax.plot([span[-1] / _GIB], [y], marker=look.marker, color=look.drawn, ms=6, ls="none", gid=f"m{y}")
            at = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "fontsize": canvas.SMALL}
            ax.annotate(figure_text(span[-1], "bytes"), (span[-1] / _GIB, y), **at)  # type: ignore[arg-type]
        _axes(ax, spans)
        canvas.heading(ax, plot.title, scene.checkpoints(entries), scene.title, where(group))
        return canvas.finish(figure, plot, titles, scene.checkpoints(entries))


def _axes(ax: Axes, spans: Mapping[str, Sequence[float]]) -> None:
    values = [value / _GIB for span in spans.values() for value in span]
    low, high = min(values) / 1.6, max(values) * 2.6  # room for the figures at the right
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    canvas.log_ticks(ax.xaxis, low, high, 10)
    ax.set_xlabel("GiB (log scale)", fontsize=canvas.SIZE)
    ax.set_yticks(range(len(spans)), [canvas.cut(model) for model in spans])
    ax.set_ylim(-0.6, len(spans) - 0.4)
    canvas.grid(ax)
    ax.grid(False, axis="y")


def _by_batch_size(
    scene: Scene, group: TimeGroup, entries: Sequence[Entry], known: Mapping[int, float], name: str
) -> Plot:
    scaled = {key: Estimate(value / _GIB, None, None) for key, value in known.items()}
    every = points_of(entries, scene.series, BATCH, scaled)
    points, kept = at_one_step_count(over_batch_sizes(every))
    spans = {m: sorted(known[id(e)] for e in entries if e.model == m) for m in unique(e.model for e in entries)}
    caption = f"{_caption(scene, group, entries)} {kept}".strip()
    plot = Plot(name, "peak memory against batch size", _least_and_most(spans), caption, "")
    told = {id(p.entry): figure_text(known[id(p.entry)], "bytes") for p in points}
    return line_plot(scene, points, BATCH, plot, "GiB (log scale)", where(group), told)


def _least_and_most(spans: Mapping[str, Sequence[float]]) -> str:
    """The least and the most that any model takes at most, in words."""
    peaks = {model: figure_text(max(span), "bytes") for model, span in spans.items()}
    ranked = sorted(spans, key=lambda model: max(spans[model]))
    low, high = ranked[0], ranked[-1]
    if peaks[low] == peaks[high]:
        return f"At most {peaks[high]}, {'all models alike' if len(ranked) > 1 else high}."
    return f"At most {peaks[low]} for {low}, the least, and {peaks[high]} for {high}, the most."


def _caption(scene: Scene, group: TimeGroup, entries: Sequence[Entry]) -> str:
    kind = _KINDS.get(str((scene.page.data.environment.get("worker") or {}).get("memory_kind")))
    text = f"Largest of all batches, weights included{f' ({kind})' if kind else ''}."
    lacking = len(group.entries) - len(entries)
    return text + (f" Not measured: {lacking} of {len(group.entries)} entries." if lacking else "")
