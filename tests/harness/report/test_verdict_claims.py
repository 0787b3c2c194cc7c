"""Claims that the data does not carry: the verdict and steps to quality must not make them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.report import ReportData
from harness.report.contest import Contest
from harness.report.data import Given
from harness.report.format import DASH
from harness.report.page import Page
from harness.report.quality_steps import build as quality_steps_of
from harness.report.quality_steps import lines as quality_lines
from harness.report.tests_of import p_text
from harness.report.verdict import build as verdict_of
from harness.report.verdict import lines
from tests.harness.report.made import METRIC, Made, control, normal, perplexity, row, run_of, shares, swept

JUDGED = ("gen_ppl", "unigram_entropy")


def said(data: ReportData) -> str:
    return "\n".join(lines(verdict_of(Page(data))))


def steps_said(data: ReportData) -> str:
    return "\n".join(quality_lines(quality_steps_of(Page(data))))


def contest(data: ReportData) -> Contest:
    (found,) = Page(data).contests.values()
    return found


def judged(model: str, steps: int, ppl: float, entropy: float | None, seed: int) -> Made:
    figures: dict[str, Any] = {"gen_ppl": perplexity(ppl, seed=seed)}
    if entropy is not None:
        figures["unigram_entropy"] = normal(entropy, seed=seed + 50)
    return row(model, "a", steps), figures


def real_data(ppl: float = 8.0, name: str = "data", entropy: float = 3.5) -> Made:
    made, _ = control(name, 1.0)
    return made, {"gen_ppl": perplexity(ppl, seed=90), "unigram_entropy": normal(entropy, seed=91)}


# --- a low perplexity of dull text -----------------------------------------------------------------------------------


def collapses() -> ReportData:
    """At 20 steps `falls` writes dull text of very low perplexity."""
    rows = [judged("falls", 10, 15.0, 3.5, 1), judged("falls", 20, 4.0, 2.0, 2)]
    rows += [judged("fair", 10, 15.1, 3.5, 3), judged("fair", 20, 12.0, 3.5, 4)]
    return run_of([*rows, real_data()], metrics=JUDGED)


def test_more_steps_are_not_better_by_the_perplexity_of_dull_text() -> None:
    text = said(collapses())
    assert re.search(
        r"falls \u00b7 a, 10 against 20 steps: 20 steps: perplexity lower by 10\.\d+ \[.*\], p < 0\.001, "
        "but of text less varied than real data",
        text,
    )
    assert re.search(r"fair \u00b7 a, 10 against 20 steps: 20 steps better by 3\.\d+", text)
    assert (
        "of 2 combinations of model and scheduler, 20 steps are measurably better for 1, "
        "the lower perplexity comes with text less varied than real data for 1." in text
    )


def test_dull_text_is_no_best_that_step_counts_are_measured_by() -> None:
    (place,) = quality_steps_of(Page(collapses())).places
    fair, falls = sorted(place.lines, key=lambda line: line.name == "falls \u00b7 a")
    assert falls.best is not None
    assert (falls.best.steps, falls.reached.steps, falls.breaks.text) == (10, None, "less varied than real data at 20")
    assert (fair.reached.steps, fair.breaks.text) == (20, DASH)


def test_where_all_text_is_dull_no_step_count_is_called_near_its_best() -> None:
    rows = [judged("a", 10, 15.0, 2.5, 1), judged("a", 20, 4.0, 2.0, 2), real_data()]
    (place,) = quality_steps_of(Page(run_of(rows, metrics=JUDGED))).places
    (line,) = place.lines
    assert (line.best, line.best_text, line.reached.steps, line.saturates.text) == (None, DASH, None, DASH)
    assert "less varied than real data" in line.reached.why_not
    assert line.breaks.text == "less varied than real data at 10, 20"
    assert "95 %" not in place.summary


def test_dull_text_by_another_metric_is_better_and_called_dull() -> None:
    rows: list[Made] = [
        (row("a", "x", steps), {METRIC: shares(share, seed=steps), "unigram_entropy": normal(entropy, seed=steps)})
        for steps, share, entropy in ((10, 0.3, 3.5), (20, 0.9, 2.0))
    ]
    text = said(run_of([*rows, control("data", 1.0, unigram_entropy=normal(3.5, seed=4))]))
    assert re.search(r"20 steps better by 0\.600 .*; of text less varied than real data", text)


@pytest.mark.parametrize(
    ("rows", "whose"),
    [
        ([judged("a", 10, 5.0, None, 1), judged("b", 10, 15.0, 3.5, 2), real_data(4.0)], "its"),
        ([judged("a", 10, 5.0, 2.0, 1), judged("b", 10, 15.0, 3.5, 2)], "real data's"),
    ],
)
def test_where_dull_text_cannot_be_told_that_is_said(rows: list[Made], whose: str) -> None:
    text = said(run_of(rows, metrics=JUDGED))
    assert "by a \u00b7 a \u00b7 10 steps" in text
    assert f"Dull text has low perplexity too, and is not ruled out: {whose} unigram entropy is not known." in text
    assert "That is below real data" not in text


def test_a_perplexity_below_real_data_is_no_sign_of_better_text() -> None:
    rows = [judged("a", 10, 5.0, 3.6, 1), judged("b", 10, 15.0, 3.5, 2)]
    assert re.search(
        r"That is below real data \(8\.0\d+\), which is no sign", said(run_of([*rows, real_data()], metrics=JUDGED))
    )
    assert "no sign" not in said(run_of([*rows, real_data(4.0)], metrics=JUDGED))


def test_a_dull_control_is_no_bar_for_perplexity() -> None:
    rows = [judged("a", 10, 12.0, 3.5, 1), real_data(), real_data(2.0, "repetitive", entropy=1.0)]
    text = said(run_of([*rows, real_data(60.0, "bigram")], metrics=JUDGED))
    assert "The best control that learned nothing: bigram has 60" in text
    assert "repetitive" not in text


# --- what is paired --------------------------------------------------------------------------------------------------


def three_seeds(shared: float, others: float, rival: float) -> ReportData:
    """`a` with three seeds, of which `b` has the first."""
    rows: list[Made] = [
        (row("a", "x", 10, seed), {METRIC: shares(shared if seed == 0 else others, seed=seed)}) for seed in range(3)
    ]
    return run_of([*rows, (row("b", "x", 10), {METRIC: shares(rival, seed=9)})])


def test_a_test_over_some_of_the_samples_says_so() -> None:
    text = said(three_seeds(0.9, 0.9, 0.5))
    assert re.search(
        r"It is better than the runner-up, b .*, by 0\.400 \[.*\] over the 200 samples that both have, p <", text
    )
    assert "samples that both have" not in said(run_of(swept({("a", "x", 10): 0.9, ("b", "x", 10): 0.5})))


def test_a_runner_up_that_is_better_on_what_both_have_is_not_called_inseparable() -> None:
    text = said(three_seeds(0.2, 0.99, 0.6))
    assert re.search(r"But the runner-up, b .*, is better over the 200 samples that both have, by 0\.400 \[0\.3", text)
    assert "not separable" not in text


# --- what is left out ------------------------------------------------------------------------------------------------


def test_a_finished_entry_without_the_figure_is_named() -> None:
    rows: list[Made] = [*swept({("b", "x", 10): 0.2}), (row("a", "x", 10, samples=200), {METRIC: float("nan")})]
    assert "Without a share of valid sentences: a \u00b7 x \u00b7 10 steps." in said(run_of(rows))


def test_where_only_some_seeds_are_scored_nothing_is_ranked() -> None:
    rows: list[Made] = [(row("a", "x", 10, 0), {METRIC: shares(0.5)}), (row("a", "x", 10, 1, samples=200), {})]
    assert "No model has a share of valid sentences over all its seeds: there is nothing to rank by." in said(
        run_of(rows)
    )


def test_texts_without_a_step_count_are_ranked_and_not_passed_over() -> None:
    imported = [
        (row(m, "", None, engine="imported", seconds_per_sequence=None, nfe_mean=None), {METRIC: shares(v, seed=i)})
        for i, (m, v) in enumerate({"a": 0.3, "b": 0.8}.items())
    ]
    alone = said(run_of(imported))
    assert "No row has a step count, so at any cost: the highest share of valid sentences is 0.800" in alone
    assert "It is better than the runner-up, a" in alone
    both = said(run_of([*imported, *swept({("c", "x", 10): 0.6})]))
    assert "At up to 20 steps: the highest share of valid sentences is 0.600" in both
    assert "Not in this: 2 entries without a step count, the best: b" in both


def test_entries_of_another_machine_are_named_beside_a_budget_of_seconds() -> None:
    here, there = swept({("a", "x", 10): 0.5, ("b", "x", 10): 0.4}), swept({("c", "x", 10): 0.9}, machine="Fast GPU")
    text = said(run_of([*here, *there], Given(seconds_budget=1.0)))
    assert (
        "Not in this: 1 entry whose seconds are not known, or of another machine or setting: c \u00b7 x \u00b7 10 steps"
        in text
    )


def test_the_same_sampler_on_another_machine_is_no_rival() -> None:
    rows = [*swept({("a", "x", 10): 0.5}), *swept({("a", "x", 10): 0.5}, machine="Fast GPU")]
    text = said(run_of(rows))
    assert "another scheduler" not in text
    assert "There is no other comparable model or scheduler within the budget." in text


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0504, "p = 0.0504"),
        (0.05, "p = 0.0500"),
        (0.049996, "p = 0.0499"),
        (0.0449, "p = 0.045"),
        (0.0001, "p < 0.001"),
        (1.0, "p = 1"),
    ],
)
def test_a_p_value_never_looks_to_be_on_the_other_side_of_the_level(p: float, shown: str) -> None:
    assert p_text(p) == shown


def test_one_pair_is_no_family() -> None:
    text = said(run_of(swept({("a", "x", 10): 0.9, ("b", "x", 10): 0.5})))
    assert "p after Holm over the only pair of 2 entries" in text


def test_figures_stand_beside_step_counts_that_were_not_tested() -> None:
    rows: list[Made] = [(row("a", "x", steps), {"mauve": value}) for steps, value in ((10, 0.9), (20, 0.3))]
    text = said(run_of(rows, metrics=("mauve",)))
    assert (
        "a \u00b7 x, 10 against 20 steps: no paired test (the figures of single samples are not stored); 0.900 and"
        in text
    )


def test_an_interval_of_step_counts_holds_the_step_count_itself() -> None:
    """Seeds that only one step count has are in its figure, but not in what is resampled."""
    rows: list[Made] = [
        (row("a", "x", 10, 0), {METRIC: shares(0.3, 400)}),
        (row("a", "x", 20, 0), {METRIC: shares(0.9, 400)}),
    ]
    rows += [(row("a", "x", 10, seed), {METRIC: shares(1.0, 400)}) for seed in range(1, 6)]
    (place,) = quality_steps_of(Page(run_of(rows))).places
    reached = place.lines[0].reached
    assert (reached.steps, reached.low, reached.high) == (10, 10, 20)
