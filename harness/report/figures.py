"""The plots of a place: quality against NFE, seconds, and steps where an NFE is not known; perplexity against entropy;
memory; throughput.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.data import Metric
from harness.report.page import Page
from harness.report.places import Place
from harness.report.plots.canvas import Plot
from harness.report.plots.cost import cost_plots
from harness.report.plots.entropy import entropy_plot
from harness.report.plots.memory import memory_plots
from harness.report.plots.scene import Scene
from harness.report.plots.series import SeriesByLine, all_series
from harness.report.plots.throughput import throughput_plots

__all__ = ["Plot", "all_series", "draw", "main_metrics", "not_drawn", "plot_groups"]

#: Metrics that a benchmark may be told by, in plots and sentences: of those it lists, the first `MOST_METRICS`.
MAIN_METRICS = (
    *("toy_valid_sentences", "paraphrase_success", "paraphrase_valid", "paraphrase_meaning", "gen_ppl", "mauve"),
    *("bleu", "bleu_diffuseq", "bleu_fairseq", "chrf", "rouge_l", "bertscore"),
)
MOST_METRICS = 3
#: What every run measures, by a part of the names of its plots.
_MEASURED = {"-nfe": "NFE", "-seconds": "seconds", "fig-throughput": "throughput", "fig-memory": "memory"}


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


def draw(page: Page, place: Place, series: SeriesByLine) -> list[Plot]:
    """Every plot that a place of generated text has points for; its file name says metric, axis, and the place where
    there are several.
    """
    scene = Scene(page, place, series)
    found = [plot for group in plot_groups(place.metrics) for plot in cost_plots(scene, group)]
    entropy = entropy_plot(scene)
    return [*found, *([entropy] if entropy else []), *throughput_plots(scene), *memory_plots(scene)]


def not_drawn(page: Page, place: Place, plots: Sequence[Plot]) -> list[str]:
    """What a reader would look for among the plots of a place and does not find, and why."""
    entries = [entry for entry in page.entries(place) if entry.role != "control"]
    if not entries:
        return []
    metrics = main_metrics(place.metrics)
    lacking = [m.title for m in metrics if not any(entry.estimate(m.name) for entry in entries)]
    parts = [f"No plot of {', '.join(lacking)}: no finished point has it; the table says why."] if lacking else []
    if not place.metrics:
        parts.append("No plot of quality: nothing is scored yet.")
    names = " ".join(plot.name for plot in plots)
    scored = len(lacking) < len(metrics)
    costs = [words for part, words in _MEASURED.items() if part not in names and (scored or part.startswith("fig-"))]
    if costs:
        parts.append(f"No plot of {', '.join(costs)}: not measured, or 0, in every finished point.")
    return parts
