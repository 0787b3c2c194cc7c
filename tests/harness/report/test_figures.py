"""Plots: what stands on the front, what shares an axis, what is said of what is not drawn."""

from __future__ import annotations

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness import comparable
from harness.metrics.base import SampleValues
from harness.report import ReportData, svg
from harness.report.data import Estimate, metrics_of
from harness.report.figures import Plot, all_series, draw, main_metrics, not_drawn, plot_groups
from harness.report.page import Page
from harness.report.plots.canvas import spread
from harness.report.plots.cost import cost_plots
from harness.report.plots.entropy import entropy_plot, matches
from harness.report.plots.memory import memory_plots
from harness.report.plots.points import NFE, SECONDS, STEPS, points_of, quartiles, time_groups
from harness.report.plots.scene import Scene
from harness.report.plots.standings import APART, BASELINE, DOMINATED, DULL, FRONT, MOST_MARKERS, PLAIN, panel_of
from harness.report.plots.throughput import throughput, throughput_plots
from tests.harness.report_fixture import METRICS, differing_run, pair_run, synthetic_run

VALID, PPL, ENTROPY = "toy_valid_sentences", "gen_ppl", "unigram_entropy"


def scene(data: ReportData) -> Scene:
    """The first place of a run, ready to be drawn."""
    page = Page(data)
    place, series = next(
        (place, series) for place, series in zip(page.places, all_series(page), strict=True) if place.kind == "generate"
    )
    return Scene(page, place, series)


def plots(data: ReportData) -> dict[str, Plot]:
    """Plots of the first place by name."""
    first = scene(data)
    return {plot.name: plot for plot in draw(first.page, first.place, first.series)}


def costs(data: ReportData, metric: str = VALID) -> dict[str, Plot]:
    """Plots of one metric against costs, without the others."""
    first = scene(data)
    group = next(group for group in plot_groups(first.place.metrics) if group[0].name == metric)
    return {plot.name: plot for plot in cost_plots(first, group)}


def changed(data: ReportData, table: pd.DataFrame) -> ReportData:
    """The run with another table, marked anew."""
    own = [column for column in (comparable.GROUP, comparable.REASON) if column in table]
    return dataclasses.replace(data, table=comparable.annotate(table.drop(columns=own).reset_index(drop=True)))


def with_values(run: ReportData, where: Any, **columns: Any) -> ReportData:
    """The run with other values in some rows."""
    table = run.table.copy()
    for column, value in columns.items():
        table.loc[where(table), column] = value
    return changed(run, table)


def titles(plot: Plot) -> list[str]:
    """What markers say where the pointer rests on them."""
    return re.findall(r"<title>([^<]*)</title>", plot.inline)


def label(plot: Plot) -> str:
    """What a screen reader says."""
    return ET.fromstring(plot.inline).attrib["aria-label"]


@pytest.fixture(scope="module")
def run() -> ReportData:
    return synthetic_run()


@pytest.fixture(scope="module")
def found(run: ReportData) -> dict[str, Plot]:
    """Plots of the run as it is."""
    return plots(run)


# --- front -----------------------------------------------------------------------------------------------------------


def test_every_point_says_where_it_stands(found: dict[str, Plot]) -> None:
    said = titles(found[f"fig-{VALID}-nfe"])
    assert len(said) == 11
    front = [text for text in said if text.endswith("; on the front")]
    dominated = [text for text in said if "; dominated by " in text]
    assert len(front) + len(dominated) == 11
    assert [text.split(":")[0] for text in front] == [f"nanodd · confidence · {n} steps" for n in (4, 16, 64)]
    assert next(t for t in dominated if t.startswith("radd · ancestral · 64")).endswith(
        "by nanodd · confidence · 64 steps"
    )


def test_the_finding_is_said_to_those_who_do_not_see_it(found: dict[str, Plot]) -> None:
    plot = found[f"fig-{VALID}-nfe"]
    best = "Best: nanodd · confidence · 64 steps (0.877 at 59.52 NFE)."
    budget = "Best at up to 20 NFE: nanodd · confidence · 16 steps (0.567 at 14.88 NFE)."
    assert plot.finding == f"{best} {budget} Nowhere on the front: radd."
    assert plot.finding in label(plot)
    assert "tiny checkpoints" in label(plot)


def test_the_budget_is_the_users(run: ReportData) -> None:
    given = dataclasses.replace(run.given, steps_budget=4, seconds_budget=0.01)
    found = costs(dataclasses.replace(run, given=given))
    assert "Best at up to 4 NFE: nanodd · confidence · 4 steps" in found[f"fig-{VALID}-nfe"].finding
    assert "Best at up to 10 ms: nanodd · confidence · 16 steps" in found[f"fig-{VALID}-seconds"].finding


def test_what_is_not_comparable_is_never_on_the_front() -> None:
    data = differing_run()
    best = (data.table["precision"] == "float16") & (data.table["steps"] == 4)
    table = data.table.copy()
    table.loc[best, VALID] = 1.0
    first = scene(dataclasses.replace(data, table=table))
    panel = panel_of(first, first.place.metrics[0], NFE, first.entries)
    apart = [p for p, s in zip(panel.points, panel.standings, strict=True) if s.kind == APART]
    assert len(apart) == 3
    assert {p.mark for p in apart} == {"a"}
    assert max(p.y.value for p in apart) == 1.0 > panel.of(FRONT)[-1].y.value


def test_a_baseline_is_said_beside_the_front() -> None:
    plot = costs(pair_run(), "bleu")["fig-bleu-nfe"]
    assert "Baseline: gpt2 · autoregressive · 48 steps" in plot.finding
    assert not plot.finding.startswith("Best: gpt2")
    assert any("gpt2" in text and "not part of the front" in text for text in titles(plot))


def test_dull_text_does_not_win_perplexity(run: ReportData) -> None:
    dull = with_values(
        run,
        lambda t: (t["model"] == "radd") & (t["steps"] == 64),
        **{PPL: 2.0, ENTROPY: 1.0, f"{ENTROPY}_low": 0.9, f"{ENTROPY}_high": 1.1},
    )
    first = scene(dull)
    panel = panel_of(first, next(m for m in first.place.metrics if m.name == PPL), NFE, first.entries)
    lowest = min(panel.points, key=lambda p: p.y.value)
    assert lowest in panel.of(DULL)
    plot = costs(dull, PPL)[f"fig-{PPL}-nfe"]
    assert "Best: nanodd" in plot.finding
    all_dull = with_values(run, lambda t: t["model"] == "radd", **{ENTROPY: 1.0, f"{ENTROPY}_high": 1.1})
    said = costs(all_dull, PPL)[f"fig-{PPL}-nfe"].finding
    assert said.endswith("Not ranked, as all its text has less entropy than real text: radd.")
    assert "Hollow: less entropy than real text" in plot.caption


def test_no_front_where_all_text_is_dull(run: ReportData) -> None:
    dull = with_values(run, lambda t: t["role"] == "model", **{ENTROPY: 1.0, f"{ENTROPY}_high": 1.1})
    plot = costs(dull, PPL)[f"fig-{PPL}-nfe"]
    assert plot.finding.startswith("No front: no comparable point has the entropy of real text.")
    entropy = entropy_plot(scene(dull))
    assert entropy
    assert entropy.finding.startswith("No model has the entropy of real text (3.950); nearest: ")


def test_without_real_text_nothing_is_called_dull(run: ReportData) -> None:
    found = plots(changed(run, run.table[run.table["model"] != "data"]))
    assert "Hollow" not in found[f"fig-{PPL}-nfe"].caption
    assert found[f"fig-{PPL}-entropy"].finding.startswith("No real text in this run")


def test_a_metric_without_direction_has_no_front(run: ReportData) -> None:
    entropy = next(m for m in metrics_of(run) if m.name == ENTROPY)
    first = scene(run)
    panel = panel_of(first, entropy, NFE, first.entries)
    assert {s.kind for s in panel.standings} == {PLAIN}
    assert plot_groups([entropy]) == [(entropy,)], "drawn alone where there is no perplexity"


# --- entries ---------------------------------------------------------------------------------------------------------


def test_seeds_are_one_marker_with_one_interval() -> None:
    data = pair_run()
    first = scene(data)
    assert len(first.entries) == 11
    assert len(titles(costs(data, "bleu")["fig-bleu-nfe"])) == 9, "and imported rows have no NFE"
    points = [row["fingerprint"] for row in first.page.rows if row["model"] == "diffuseq" and not row.get("selection")]
    rows = [[float(i % 5), 1.0] for i in range(1024)]
    values = {point: {"bleu": SampleValues("mean", rows)} for point in points}
    pooled = scene(dataclasses.replace(data, values=values))
    entry = next(e for e in pooled.entries if e.model == "diffuseq" and len(e.rows) == 3)
    assert pooled.figures("bleu")[id(entry)].low is not None


def test_interval_of_seconds_is_the_quartiles_of_batches(run: ReportData) -> None:
    first = scene(run)
    entry = first.entries[0]
    row = entry.rows[0]
    assert quartiles(entry) == (row["seconds_q1"] / 64, row["seconds_q3"] / 64)
    for change in ({"batches": 1}, {"batch_size": None}, {"selection": "mbr"}, {"seconds_q1": None}):
        other = dataclasses.replace(entry, rows=[{**row, **change}])
        assert quartiles(other) == (None, None), change


# --- seconds ---------------------------------------------------------------------------------------------------------


def two_machines(run: ReportData) -> ReportData:
    """The run on a GPU, and radd's rows again, ten times slower, on another machine."""
    slow = run.table[run.table["model"] == "radd"].assign(
        machine="old box", fingerprint=lambda t: t["fingerprint"] + "b"
    )
    slow["seconds_per_sequence"] *= 10
    return changed(run, pd.concat([run.table.assign(machine="fast GPU"), slow], ignore_index=True))


def test_seconds_of_two_machines_never_share_an_axis(run: ReportData) -> None:
    found = costs(two_machines(run))
    one, two = found[f"fig-{VALID}-seconds"], found[f"fig-{VALID}-seconds-2"]
    assert "fast GPU" in one.title
    assert "fast GPU" in label(one)
    assert "old box" not in one.inline
    assert "old box" in two.title
    assert len(titles(one)) == 11
    assert len(titles(two)) == 6
    assert all("radd" in text for text in titles(two))
    assert "Half-filled" not in two.caption, "they are comparable among themselves"


def test_another_machine_does_not_matter_to_quality_against_nfe(run: ReportData) -> None:
    plot = costs(two_machines(run))[f"fig-{VALID}-nfe"]
    assert len(titles(plot)) == 17
    assert not any("not comparable" in text for text in titles(plot))


@pytest.mark.parametrize("column", ["device", "dtype", "batch_size", "length", "machine"])
def test_what_seconds_depend_on_makes_groups(run: ReportData, column: str) -> None:
    first = scene(
        with_values(run, lambda t: t["model"] == "radd", **{column: 7 if column in ("batch_size", "length") else "x"})
    )
    groups = time_groups(first.entries)
    assert len(groups) == 2
    assert len({group.title for group in groups}) == 2, "and the titles tell them apart"
    assert all(len({e.model for e in group.entries}) == 1 for group in groups)


def test_too_many_conditions_are_said(run: ReportData) -> None:
    rows = [run.table.iloc[[0]].assign(machine=f"m{i}", fingerprint=f"f{i}") for i in range(9)]
    found = costs(changed(run, pd.concat(rows, ignore_index=True)))
    assert len([name for name in found if name.startswith(f"fig-{VALID}-seconds")]) == 6
    assert (
        "measured under 9 different conditions; not drawn are 3 of them with 3 points"
        in found[f"fig-{VALID}-seconds"].caption
    )


# --- entropy ---------------------------------------------------------------------------------------------------------


def test_perplexity_is_compared_at_the_entropy_of_real_text(found: dict[str, Plot]) -> None:
    plot = found[f"fig-{PPL}-entropy"]
    assert plot.finding.startswith("Best at the entropy of real text: nanodd · confidence · 64 steps (perplexity 11.23")
    assert "entries lie in it: nanodd ancestral (64 steps); nanodd confidence (16, 64 steps)" in plot.caption
    assert "real text" in plot.inline
    assert "off the plot: unigram (118.0 at 3.950)" in plot.caption


@pytest.mark.parametrize(
    ("own", "fits"),
    [((3.0, 2.9, 3.1), False), ((3.3, 3.2, 3.4), True), ((3.9, 3.8, 4.0), False), ((3.5, None, None), True)],
)
def test_entropies_match_where_intervals_touch(own: tuple[float, Any, Any], fits: bool) -> None:
    assert matches(Estimate(*own), Estimate(3.5, 3.4, 3.6)) is fits


# --- memory, throughput ----------------------------------------------------------------------------------------------


def swept(run: ReportData) -> ReportData:
    """The run at three batch sizes."""
    parts = []
    for size in (1, 8, 64):
        part = run.table[run.table["role"] != "control"].assign(batch_size=size)
        part["fingerprint"] += str(size)
        part["tokens_per_second"] *= size**0.5
        part["peak_memory_bytes"] = 1e9 + 1e7 * size
        parts.append(part)
    return changed(run, pd.concat(parts, ignore_index=True))


def test_throughput_is_against_batch_size_where_that_was_swept(run: ReportData) -> None:
    plot = throughput_plots(scene(swept(run)))[0]
    assert plot.title == "throughput against batch size"
    assert len(titles(plot)) == 12, "two models, two schedulers, three sizes at one step count"
    assert "Drawn at 64 steps" in plot.caption
    lines = [d for d in re.findall(r'<path d="(M[^"]*)"[^>]*stroke="var\(--c', plot.inline) if d.count("L") == 2]
    assert len(lines) >= 4, "a line joins the batch sizes"


def test_throughput_is_against_steps_otherwise_and_says_why(found: dict[str, Plot]) -> None:
    plot = found["fig-throughput"]
    assert plot.title == "throughput against steps"
    assert "as no model ran at several batch sizes (here: 64)" in plot.caption
    assert plot.finding.startswith("Most: nanodd · ancestral · 4 steps, 47,500 tokens/s. Least: ")


def test_throughput_of_seeds_is_all_tokens_by_all_seconds() -> None:
    entry = scene(pair_run()).entries[0]
    rows = [{"tokens_per_second": 100.0, "seconds_total": 1.0}, {"tokens_per_second": 20.0, "seconds_total": 5.0}]
    assert throughput(dataclasses.replace(entry, rows=rows)) == pytest.approx(200 / 6)
    assert throughput(dataclasses.replace(entry, rows=[rows[0], {"tokens_per_second": None}])) is None


def test_memory_is_a_line_a_model_or_against_batch_size(run: ReportData) -> None:
    other = with_values(run, lambda t: t["model"] == "radd", peak_memory_bytes=2 << 30)
    plot = memory_plots(scene(other))[0]
    assert plot.finding == "At most 296 MiB for nanodd, the least, and 2 GiB for radd, the most."
    assert "it was not swept" in plot.caption
    by_size = memory_plots(scene(swept(run)))[0]
    assert by_size.title == "peak memory against batch size"
    assert "1.527 GiB" in by_size.finding


# --- bad input -------------------------------------------------------------------------------------------------------


def test_zero_and_infinite_costs_are_not_drawn_and_said(run: ReportData) -> None:
    data = with_values(
        run, lambda t: t["steps"] == 16, seconds_per_sequence=0.0, nfe_mean=np.inf, tokens_per_second=np.inf
    )
    found = costs(data)
    assert "as 0 has no place on a logarithmic axis: 3 of 11 points" in found[f"fig-{VALID}-seconds"].caption
    assert "as their NFE was not measured: 3 of 11 points" in found[f"fig-{VALID}-nfe"].caption
    assert len(titles(found[f"fig-{VALID}-nfe"])) == 8


def test_figures_that_are_not_finite_or_possible_are_not_drawn_and_said(run: ReportData) -> None:
    data = with_values(run, lambda t: t["steps"] == 16, **{PPL: np.inf})
    data = with_values(data, lambda t: (t["steps"] == 64) & (t["model"] == "radd"), **{PPL: 0.0})
    found = plots(data)
    assert "Without generative perplexity, and so not drawn: 5 of 11 points." in found[f"fig-{PPL}-nfe"].caption
    assert "as one of the two is not known: 5 of 11 entries" in found[f"fig-{PPL}-entropy"].caption
    for plot in found.values():
        assert not re.search(r"\b(nan|inf|None)\b", plot.inline + plot.caption + plot.finding)


def test_what_was_never_measured_is_said(run: ReportData) -> None:
    table = run.table.assign(seconds_per_sequence=0.0, peak_memory_bytes=None, tokens_per_second=None)
    first = scene(changed(run, table))
    found = draw(first.page, first.place, first.series)
    assert not_drawn(first.page, first.place, found) == [
        "No plot of MAUVE: no finished point has it; the table says why.",
        "No plot of seconds, throughput, memory: not measured, or 0, in every finished point.",
    ]


def test_a_run_without_scores_still_has_its_costs(run: ReportData) -> None:
    kept = [column for column in run.table if not str(column).startswith(tuple(METRICS))]
    first = scene(dataclasses.replace(changed(run, run.table[kept]), scores=pd.DataFrame()))
    found = draw(first.page, first.place, first.series)
    assert {plot.name for plot in found} == {"fig-throughput", "fig-memory"}
    assert "No plot of quality: nothing is scored yet." in not_drawn(first.page, first.place, found)


def test_one_point_and_equal_points(run: ReportData) -> None:
    alone = costs(dataclasses.replace(run, table=run.table.iloc[:1]))
    assert alone[f"fig-{VALID}-nfe"].finding == "Best: nanodd · ancestral · 4 steps (0.215 at 3.72 NFE)."
    same = costs(changed(run, run.table.assign(**{VALID: 0.5, "nfe_mean": 4.0, PPL: 10.0})))
    assert all(text.endswith("; on the front") for text in titles(same[f"fig-{VALID}-nfe"]))


def test_empty_place_draws_nothing(run: ReportData) -> None:
    first = scene(dataclasses.replace(run, table=run.table.assign(status="failed")))
    assert draw(first.page, first.place, first.series) == []
    assert not_drawn(first.page, first.place, []) == []


def test_names_cannot_break_the_svg(run: ReportData) -> None:
    evil = 'x" style="a" <b>&$_{y}$ id="z" url(#q) ' + "long " * 50
    found = plots(with_values(run, lambda t: t["model"] == "radd", model=evil))
    for plot in found.values():
        root = ET.fromstring(plot.inline)
        assert not [element for element in root.iter() if "style" in element.attrib]
        assert not [element for element in root.iter() if element.tag.endswith("}b")]
    assert any(text.startswith("x&quot; style=&quot;a&quot;") for text in titles(found[f"fig-{VALID}-nfe"]))


def test_many_points_are_dots(run: ReportData) -> None:
    """More than can be told apart: the front keeps its markers, the rest is one path."""
    n = 3000
    rng = np.random.default_rng(0)
    table = pd.concat([run.table.iloc[[0]]] * n, ignore_index=True)
    table["model"], table["scheduler"] = [f"m{i % 50}" for i in range(n)], "s"
    table["steps"] = table["nfe_mean"] = [2 + i // 50 for i in range(n)]
    table["fingerprint"] = [str(i) for i in range(n)]
    table[VALID] = rng.uniform(size=n)
    plot = costs(changed(run, table))[f"fig-{VALID}-nfe"]
    assert n > MOST_MARKERS
    assert 1 <= len(titles(plot)) < 50
    assert all("on the front" in text for text in titles(plot))
    assert "There are 3,000 points: those off the front are dots without name or interval" in plot.caption
    assert len(plot.inline) < 300_000


def test_size_of_nine_models_with_six_step_counts_and_three_schedulers() -> None:
    models = tuple(f"model_{i}" for i in range(9))
    data = synthetic_run(models, (4, 8, 16, 64, 256, 1024), ("ancestral", "euler", "confidence"))
    found = plots(data)
    assert len(found) == 7
    assert sum(len(plot.inline.encode()) for plot in found.values()) < 1_200_000


# --- svg -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn() -> dict[str, Plot]:
    return plots(differing_run())


def test_no_style_is_left_in_the_svg(drawn: dict[str, Plot]) -> None:
    """A strict content security policy applies none."""
    for plot in drawn.values():
        root = ET.fromstring(plot.inline)
        names = {name for element in root.iter() for name in element.attrib}
        assert "style" not in names
        assert not [element for element in root.iter() if element.tag.endswith("style")]
        assert {"stroke-width", "fill", "font-size"} <= names, "it became attributes"


def test_a_file_alone_follows_the_theme(drawn: dict[str, Plot]) -> None:
    for plot in drawn.values():
        text = svg.file_svg(plot.inline)
        ET.fromstring(text.partition("\n")[2])
        used = set(re.findall(r"var\((--[a-z0-9]+)\)", text))
        assert {"--ink", "--rule"} <= used
        for variable in used:
            assert text.count(f"{variable}:#") == 2, f"{variable} in light and dark"


def test_lines_and_markers_can_be_switched_off(drawn: dict[str, Plot]) -> None:
    first = scene(differing_run())
    number = first.series["radd", "confidence"].number
    root = ET.fromstring(drawn[f"fig-{VALID}-nfe"].inline)
    mine = [element for element in root.iter() if element.attrib.get("class") == f"s{number}"]
    assert len([e for e in mine if e.find("{http://www.w3.org/2000/svg}title") is not None]) == 3
    assert len(mine) > 3, "the line, its bars, its letters"


# --- helpers ---------------------------------------------------------------------------------------------------------


def test_names_on_reference_lines_do_not_overlap() -> None:
    apart = spread([0.5, 0.5, 0.99, 1.0], gap=0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(apart))
    assert apart[-1] <= 1.0


def test_costs_in_words() -> None:
    assert NFE.text(19.25) == "19.25 NFE"
    assert SECONDS.text(0.012) == "12 ms"
    assert STEPS.text(20.0) == "20 steps"


def test_controls_are_no_points(run: ReportData) -> None:
    first = scene(run)
    points = points_of(first.entries, first.series, NFE, first.figures(VALID))
    assert {p.entry.role for p in points} == {"model"}
    assert {DOMINATED, BASELINE, FRONT} == {"dominated", "baseline", "front"}
    assert len(main_metrics(metrics_of(run))) == 3


def test_groups_that_say_nothing_are_left_out() -> None:
    """Each element of a plot costs time when the page is opened."""
    for plot in plots(synthetic_run()).values():
        assert "<g><path" not in plot.inline
        assert "rotate(0" not in plot.inline
        assert "rotate(-0" not in plot.inline
        ET.fromstring(plot.inline.replace("xlink:href", "href"))


def test_letters_that_our_font_lacks_are_no_ones_business(recwarn: pytest.WarningsRecorder) -> None:
    drawn = plots(synthetic_run(("\u5bfc\u5165\u6587\u672c",)))
    assert all("\u5bfc\u5165\u6587\u672c" in plot.inline for plot in drawn.values())
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
