"""The verdict: what it must say, and what it must never claim."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.config import ReportConfig, build
from harness.errors import UserError
from harness.metrics.base import SampleValues
from harness.paired import ALPHA, holm
from harness.report import ReportData, write_report
from harness.report.contest import Contest
from harness.report.data import Given
from harness.report.page import Page
from harness.report.pieces import Piece, plain, split
from harness.report.render import templates
from harness.report.verdict import build as verdict_of
from harness.report.verdict import lines
from tests.harness.report.made import METRIC, Made, control, normal, perplexity, row, run_of, shares, swept


def said(data: ReportData) -> str:
    return "\n".join(lines(verdict_of(Page(data))))


def contest(data: ReportData) -> Contest:
    (found,) = Page(data).contests.values()
    return found


def rendered(data: ReportData) -> str:
    template = templates().from_string('{% from "verdict.html" import section %}{{ section(part) }}')
    return template.render(part=verdict_of(Page(data)))


def two(first: float, second: float, samples: int = 400) -> ReportData:
    """Two models at ten steps."""
    return run_of(swept({("good", "a", 10): first, ("plain", "a", 10): second}, samples))


def test_the_best_is_named_with_its_figure_and_cost() -> None:
    text = said(two(0.9, 0.5))
    assert "At up to 20 steps: the highest share of valid sentences is 0.900 [" in text
    assert "by good \u00b7 a \u00b7 10 steps (10 NFE, 10 ms a sequence)" in text


def test_a_clear_runner_up_is_beaten_with_interval_and_p() -> None:
    text = said(two(0.9, 0.5))
    assert re.search(r"It is better than the runner-up, plain .*, by 0\.400 \[0\.\d+, 0\.\d+\], p < 0\.001\.", text)


def test_a_near_runner_up_is_not_separable_and_says_what_would_have_shown() -> None:
    text = said(two(0.52, 0.5))
    assert re.search(r"The runner-up, plain .* is not separable from it: difference 0\.02", text)
    assert re.search(r"this run could have seen a difference of 0\.\d+\.", text)
    assert "better than the runner-up" not in text


def test_what_could_have_been_seen_grows_with_the_family() -> None:
    """In a large family a test must be stricter, so that it sees less."""
    few = contest(two(0.52, 0.5))
    many = contest(run_of(swept({(f"m{i}", "a", 10): 0.5 + 0.02 * (i == 0) for i in range(12)}, 400)))
    detectable = [c.grid.test(c.ranked[0], c.ranked[1]).detectable for c in (few, many)]
    assert (few.grid.family, many.grid.family) == (1, 66)
    assert None not in detectable
    assert detectable[1] / detectable[0] == pytest.approx((3.367 + 0.842) / (1.960 + 0.842), rel=0.1)  # type: ignore[operator]


def test_all_models_that_are_not_separable_are_named_and_the_cheapest() -> None:
    figures = {("a1", "a", 20): 0.9, ("b1", "a", 20): 0.895, ("c1", "a", 5): 0.89, ("d1", "a", 20): 0.2}
    text = said(run_of(swept(figures)))
    assert "Not separable from the best either: c1." in text
    assert "The cheapest that is not separable from the best: c1 \u00b7 a \u00b7 5 steps" in text
    assert "d1" not in text.split("10 against 20")[0]


def test_a_budget_leaves_out_what_is_beyond_it() -> None:
    figures = {("slow", "a", 100): 0.9, ("fast", "a", 10): 0.5, ("fast", "a", 4): 0.3}
    rows = swept(figures)
    assert "At up to 20 steps: the highest share of valid sentences is 0.500" in said(run_of(rows))
    text = said(run_of(rows, Given(steps_budget=100, seconds_budget=0.005)))
    assert "At up to 100 steps: the highest share of valid sentences is 0.900" in text
    assert "Within 5 ms a sequence on Invented CPU (cpu, float32, batch size 64): the highest" in text
    assert "by fast \u00b7 a \u00b7 4 steps" in text
    text = said(run_of(rows, Given(steps_budget=2, seconds_budget=0.001)))
    assert "At up to 2 steps: no entry. The least is 4 steps, by fast \u00b7 a \u00b7 4 steps." in text
    assert "Within 1 ms a sequence on Invented CPU (cpu, float32, batch size 64): no entry. The least is 4 ms" in text


def test_without_few_steps_the_budget_is_the_fewest_that_ran() -> None:
    assert "At up to 50 steps" in said(run_of(swept({("a", "a", 50): 0.5, ("b", "a", 100): 0.9})))


def test_a_choice_among_candidates_spends_the_steps_of_all() -> None:
    mbr = row("radd", "a", 10) | {"selection": "mbr", "candidates": 3, "fingerprint": "mbr"}
    rows: list[Made] = [*swept({("radd", "a", 10): 0.5}), (mbr, {METRIC: shares(0.9)})]
    assert "highest share of valid sentences is 0.500" in said(run_of(rows, Given(steps_budget=20)))
    assert "highest share of valid sentences is 0.900" in said(run_of(rows, Given(steps_budget=30)))


def test_seconds_of_two_machines_are_never_ranked_together() -> None:
    here = swept({("a", "a", 10): 0.5, ("b", "a", 10): 0.4, ("a", "a", 20): 0.6})
    there = swept({("c", "a", 10): 0.9}, machine="Fast GPU")
    c = contest(run_of([*here, *there], Given(seconds_budget=1.0)))
    steps, seconds = c.budgets
    assert {e.model for e in steps.entries} == {"a", "b", "c"}
    assert {e.model for e in seconds.entries} == {"a", "b"}
    assert seconds.where == "Invented CPU (cpu, float32, batch size 64)"


def test_two_step_counts_are_answered_for_every_model() -> None:
    figures = {
        **{("gains", "a", 10): 0.4, ("gains", "a", 20): 0.8, ("flat", "a", 10): 0.5, ("flat", "a", 20): 0.5},
        **{("breaks", "a", 10): 0.8, ("breaks", "a", 20): 0.4, ("else", "a", 8): 0.2, ("else", "a", 25): 0.8},
        ("once", "a", 10): 0.5,
    }
    text = said(run_of(swept(figures)))
    assert "10 against 20 steps: of 3 combinations of model and scheduler, " in text
    assert re.search(
        r"gains \u00b7 a, 10 against 20 steps: 20 steps better by 0\.400 \[0\.\d+, 0\.\d+\], p < 0\.001", text
    )
    assert re.search(
        r"breaks \u00b7 a, 10 against 20 steps: 10 steps better by 0\.400 \[0\.\d+, 0\.\d+\], p < 0\.001", text
    )
    assert re.search(
        r"flat \u00b7 a, 10 against 20 steps: no measurable difference \(\u00b10\.\d+ would have shown\)", text
    )
    assert re.search(
        r"else \u00b7 a, 8 against 25 steps: 25 steps better .*\(10 and 20 steps were not both run\)", text
    )
    assert "once \u00b7 a, 10 steps: no other step count was run" in text


def test_the_step_pair_may_be_chosen() -> None:
    data = run_of(swept({("a", "a", 4): 0.2, ("a", "a", 8): 0.8}), Given(step_pair=(4, 8)))
    assert "4 against 8 steps: of 1 combination of model and scheduler, 8 steps are measurably better for 1." in said(
        data
    )


def test_one_model_is_compared_by_its_schedulers_and_alone_with_nothing() -> None:
    text = said(run_of(swept({("a", "x", 10): 0.9, ("a", "y", 10): 0.2})))
    assert (
        "It is better than the best entry of another scheduler (no other model is within the budget), a \u00b7 y"
        in text
    )
    assert "There is no other comparable model or scheduler within the budget." in said(
        run_of(swept({("a", "x", 10): 0.9}))
    )


def test_without_values_nothing_is_claimed() -> None:
    """Figures without the values of single samples, as MAUVE's: intervals may be named, and nothing follows."""
    rows = [(row(m, "a", 10), {"mauve": v}) for m, v in (("a", 0.9), ("b", 0.1))]
    for made, figures in rows:
        made |= {"mauve_low": figures["mauve"] - 0.05, "mauve_high": figures["mauve"] + 0.05}
    data = run_of(rows, metrics=("mauve",))
    data.table["mauve_low"], data.table["mauve_high"] = data.table["mauve"] - 0.05, data.table["mauve"] + 0.05
    text = said(data)
    assert "no paired test (the figures of single samples are not stored); the intervals do not overlap" in text
    for claim in ("better", "separable", "p =", "p <"):
        assert claim not in text


def test_samples_that_are_not_shared_are_not_paired() -> None:
    rows = [*swept({("a", "a", 10): 0.9}), *swept({("b", "a", 10): 0.2}, seed=7)]
    assert "no paired test (fewer than two samples in common)" in said(run_of(rows))


def test_entries_of_other_seeds_are_compared_over_the_seeds_both_have() -> None:
    rows = [*swept({("a", "a", 10): 0.9}), *swept({("b", "a", 10): 0.2})]
    rows += [(row("a", "a", 10, 1), {METRIC: shares(0.9, seed=5)})]
    c = contest(run_of(rows))
    test = c.grid.test(c.ranked[0], c.ranked[1])
    assert (test.pairs, test.better) == (200, True)


# --- dull text, controls, real data ----------------------------------------------------------------------------------


def judged(model: str, steps: int, ppl: float, entropy: float, seed: int) -> Any:
    return row(model, "a", steps), {
        "gen_ppl": perplexity(ppl, seed=seed),
        "unigram_entropy": normal(entropy, seed=seed + 50),
    }


def real_data(entropy: float = 3.5) -> Any:
    made, _ = control("data", 1.0)
    return made, {"gen_ppl": perplexity(8.0, seed=90), "unigram_entropy": normal(entropy, seed=91)}


JUDGED = ("gen_ppl", "unigram_entropy")


def test_dull_text_does_not_win_by_perplexity() -> None:
    rows = [judged("dull", 10, 5.0, 2.0, 1), judged("fair", 10, 20.0, 3.5, 2), judged("poor", 10, 60.0, 3.5, 3)]
    text = said(run_of([*rows, real_data()], metrics=JUDGED))
    assert re.search(r"the lowest generative perplexity is (19|20)\.\d+ \[.*\], by fair", text)
    assert "It is better than the runner-up, poor" in text
    assert "1 entry may not win, being less varied than real data." in text


def test_nobody_wins_where_all_text_is_dull() -> None:
    text = said(
        run_of([judged("dull", 10, 5.0, 2.0, 1), judged("duller", 10, 4.0, 1.5, 2), real_data()], metrics=JUDGED)
    )
    assert "no entry may win by generative perplexity: the text of all 2 is measurably less varied" in text
    assert "better than" not in text


def test_text_that_is_more_varied_than_real_data_may_win() -> None:
    rows = [judged("lively", 10, 15.0, 4.5, 1), judged("fair", 10, 20.0, 3.5, 2), real_data()]
    assert "by lively" in said(run_of(rows, metrics=JUDGED))


def test_without_real_data_that_is_said() -> None:
    rows = [judged("a", 10, 15.0, 2.0, 1), judged("b", 10, 20.0, 3.5, 2)]
    assert "The run has no comparable row of real data." in said(run_of(rows, metrics=JUDGED))


def test_by_other_metrics_dull_text_may_win_and_is_called_that() -> None:
    rows = [
        (made, {METRIC: shares(s, seed=i), "unigram_entropy": normal(e, seed=i + 9)})
        for i, (made, s, e) in enumerate([(row("dull", "a", 10), 0.9, 2.0), (row("fair", "a", 10), 0.5, 3.6)])
    ]
    data = control("data", 1.0, unigram_entropy=normal(3.5, seed=4))
    text = said(run_of([*rows, data]))
    assert "by dull \u00b7 a \u00b7 10 steps" in text
    assert re.search(
        r"The text of the best is less varied than real data \(unigram entropy 2\.0\d+ against 3\.\d+\)", text
    )
    assert "the best that is not: fair \u00b7 a \u00b7 10 steps" in text


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (0.95, "The best does not beat a control that learned nothing: bigram has 0.950"),
        (0.88, "The best is not measurably better than a control that learned nothing: bigram has 0.880"),
        (0.1, "The best control that learned nothing: bigram has 0.100"),
    ],
)
def test_controls_that_learned_nothing_are_compared_with(share: float, says: str) -> None:
    rows = [*swept({("a", "a", 10): 0.9}), control("bigram", share), control("unigram", 0.0, seed=3)]
    assert says in said(run_of(rows))


def test_controls_and_baselines_never_win() -> None:
    baseline = row("gpt2", "ar", 64, role="baseline"), {METRIC: shares(0.99)}
    text = said(run_of([*swept({("a", "a", 10): 0.5}), control("data", 1.0), control("bigram", 0.9), baseline]))
    assert "is 0.500" in text
    assert "Real data: 1.000" in text
    assert "Baseline gpt2 \u00b7 ar \u00b7 64 steps: 0.990" in text


def test_a_baseline_of_another_kind_is_said_to_be_that() -> None:
    baseline = row("gpt2", "ar", 64, role="baseline", samples=100), {METRIC: shares(0.99, 100)}
    text = said(run_of([*swept({("a", "a", 10): 0.5, ("b", "a", 10): 0.5}), baseline]))
    assert "0.990 [0.970, 1.000] (64 NFE, 64 ms a sequence), not comparable (samples 100, others 200)." in text


def test_seeds_of_the_best_are_said() -> None:
    rows = [(row("a", "a", 10, seed), {METRIC: shares(share)}) for seed, share in enumerate((0.5, 0.6, 0.7))]
    assert "is 0.600 [" in said(run_of(rows))
    assert "its 3 seeds give 0.500 to 0.700" in said(run_of(rows))


def test_entries_that_are_not_comparable_are_left_out_and_counted() -> None:
    rows = [*swept({("a", "a", 10): 0.5, ("b", "a", 10): 0.4}), *swept({("c", "a", 10): 0.9}, precision="float16")]
    text = said(run_of(rows))
    assert "by a \u00b7 a" in text
    assert "Left out, as not comparable: 1 entry (sampling precision float16, others float64)." in text


# --- what may be missing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (run_of([]), "This run has no points yet."),
        (run_of([control("data", 1.0), control("bigram", 0.1)]), "No model has a finished row here"),
        (run_of([(row("a", "a", 4, status="failed"), {})]), "No model has a finished row here"),
        (run_of([(row("a", "a", 4), {})], metrics=()), "Nothing is scored yet: run tdbench score."),
        (run_of([(row("a", "a", 4), {"unigram_entropy": normal(3.0)})], metrics=("unigram_entropy",)), "to rank by"),
        (run_of(swept({("a", "a", 10): 0.5, ("b", "a", 10): 0.5}, samples=1)), "no paired test (fewer than two"),
        (run_of([(row("a", "a", None), {METRIC: shares(0.5)})]), "No row has a step count, so at any cost: the"),
        (run_of(swept({("a", "a", 4): 0.5}, seconds_per_sequence=None)), "No row has seconds that were measured here"),
        (run_of(swept({("a", "a", 4): 0.5}, engine="imported")), "No row has seconds that were measured here"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(data: ReportData, says: str) -> None:
    assert says in said(data)
    assert "<ul" in rendered(data) or "Nothing has finished yet" in rendered(data)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_not_tested(bad: float) -> None:
    data = two(0.9, 0.5)
    for values in data.values.values():
        values[METRIC] = SampleValues("mean", [[bad, 1.0], *values[METRIC].rows[1:]])  # type: ignore[index]
    assert "no paired test (the figures of single samples are not all finite)" in said(data)


def test_figures_that_are_no_numbers_do_not_win() -> None:
    data = two(0.9, 0.5)
    data.table.loc[0, METRIC] = math.inf
    assert "by plain" in said(data)


# --- the family ------------------------------------------------------------------------------------------------------


def test_the_family_is_every_pair_that_could_have_been_tested() -> None:
    figures = {(f"m{i}", "a", steps): 0.5 for i in range(4) for steps in (4, 10, 20)}
    data = run_of([*swept(figures, 60), control("bigram", 0.1, 60), control("data", 1.0, 60)])
    grid = contest(data).grid
    assert (grid.entries, grid.family) == (13, 78)
    assert grid.looked_at < grid.family
    assert "p after Holm over all 78 pairs of 13 entries" in said(data)


def test_nothing_is_claimed_where_nothing_differs() -> None:
    """All entries are equal, and the best is picked on the samples it is tested on: at most 5 % of runs may claim more.

    Adjusting only for the pairs with the best would claim something in far more of them.
    """
    rng, runs, claimed, careless, beaten = np.random.default_rng(5), 60, 0, 0, 0
    for _ in range(runs):
        hits = rng.random((5, 4, 64)) < 0.5
        rows = [
            (row(f"m{i}", "a", 10 * j + 10), {METRIC: SampleValues("mean", [[float(h), 1.0] for h in hits[i, j]])})
            for i in range(5)
            for j in range(4)
        ]
        found = contest(run_of(rows, Given(steps_budget=40), metrics=(METRIC,)))
        best, *others = found.ranked
        tests = [found.grid.test(best, other) for other in others]
        claimed += any(test.separable for test in tests)
        beaten += found.grid.test(best, next(e for e in others if e.model != best.model)).better
        raw = [found.grid._compared.get((best, o)) or found.grid._compared[o, best] for o in others]
        careless += min(holm([c.p for c in raw if c.p is not None])) < ALPHA
    assert beaten <= 1
    assert claimed <= 6  # more than 6 of 60 has a chance of 2 % where each has one of 5 %
    assert careless > claimed + 3


def test_five_hundred_entries_take_seconds() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(500):
        mine = rng.random((256, 1)) < 0.3 + 0.001 * i
        values = SampleValues("mean", np.hstack([mine, np.ones((256, 1))]).tolist())
        rows.append((row(f"m{i % 20}", f"s{i // 100}", 4 * (i // 20 % 5) + 4), {METRIC: values}))
    page = Page(run_of(rows, metrics=(METRIC,)))
    began = time.process_time()
    assert len(page.contests) == 1
    assert time.process_time() - began < 20  # 3 s where nothing else runs


# --- settings --------------------------------------------------------------------------------------------------------


def test_budgets_are_settings_of_the_report() -> None:
    config = build(ReportConfig, ["run=a", "max_steps=50", "max_seconds=0.5", "step_pair=50,4"])
    assert (config.max_steps, config.max_seconds, config.step_pair) == (50, 0.5, [4, 50])
    assert build(ReportConfig, ["run=a"]).step_pair == [10, 20]


@pytest.mark.parametrize(
    "word", ["max_steps=0", "max_steps=2.5", "max_seconds=0", "max_seconds=soon", "step_pair=10", "step_pair=10,10"]
)
def test_budgets_that_mean_nothing_are_refused(word: str) -> None:
    with pytest.raises(UserError, match=word.split("=")[0]):
        build(ReportConfig, ["run=a", word])


# --- the page --------------------------------------------------------------------------------------------------------


def test_every_figure_links_to_a_row_of_the_table(tmp_path: Path) -> None:
    figures = {(m, "a", steps): 0.5 for m in ("a", "b") for steps in (10, 20)}
    html = write_report(run_of([*swept(figures), control("bigram", 0.1)]), tmp_path).read_text()
    section = html[html.index('<section id="verdict"') : html.index('<section id="plots"')]
    links = re.findall(r'href="#(row-[^"]+)"', section)
    assert len(links) >= 6
    for link in links:
        assert f'id="{link}"' in html
    assert 'id="summary"' in section
    assert "style=" not in section


def test_names_are_escaped() -> None:
    html = rendered(run_of(swept({("<b>x</b>", "a", 10): 0.5, ("b", "<i>", 10): 0.4})))
    assert "&lt;b&gt;x" in html
    assert "<b>x" not in html
    assert "<i>" not in html


def test_table_md_has_the_verdict(tmp_path: Path) -> None:
    write_report(two(0.9, 0.5), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "- At up to 20 steps: the highest share of valid sentences is 0.900" in text
    assert isinstance(two(0.9, 0.5).table, pd.DataFrame)


def test_a_reader_in_a_hurry_gets_the_first_two_sentences_and_nothing_is_lost() -> None:
    text = [Piece("At up to 20 steps:", lead=True), Piece(" best is 0.7 by "), Piece("a", "f0"), Piece(". Next is ")]
    text += [Piece("b", "f1"), Piece(". It is not separable."), Piece(" More.")]
    first, rest = split(text, 2)
    assert plain(first) == "At up to 20 steps: best is 0.7 by a. Next is b."
    assert plain(rest) == " It is not separable. More."
    assert [piece.row for piece in first if piece.row] == ["f0", "f1"]
    assert split(text, 9) == (text, [])
