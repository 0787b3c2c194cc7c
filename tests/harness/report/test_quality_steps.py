"""Steps to quality: least steps near the best, where it saturates, where it breaks."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from harness.metrics.base import SampleValues
from harness.report import ReportData, write_report
from harness.report.data import Given
from harness.report.format import DASH
from harness.report.page import Page
from harness.report.quality_steps import EDGE, WIDTH, Line, PlaceSteps, build, lines
from harness.report.render import templates
from tests.harness.report.made import METRIC, control, perplexity, row, run_of, shares, swept


def place(data: ReportData) -> PlaceSteps:
    (found,) = build(Page(data)).places
    return found


def line(figures: dict[int, float], samples: int = 400, others: Any = (), **more: Any) -> Line:
    """The line of a model with these shares by steps."""
    rows = swept({("a", "x", steps): share for steps, share in figures.items()}, samples, **more)
    return next(found for found in place(run_of([*rows, *others])).lines if found.series.model == "a")


def test_least_steps_that_reach_95_percent_of_the_best() -> None:
    found = line({4: 0.3, 10: 0.7, 20: 0.9, 64: 0.92}, 2000)
    assert found.reached[:3] == (20, 20, 20)
    assert found.reached.text == "20 [20, 20]"
    assert found.best_text.endswith("at 64")


def test_the_interval_spans_the_steps_that_noise_cannot_tell_apart() -> None:
    found = line({4: 0.2, 10: 0.55, 20: 0.6, 64: 0.62}, 100)
    assert (found.reached.low, found.reached.high) == (10, 64)


def test_lower_is_better_is_turned_round() -> None:
    rows = [
        (row("a", "x", steps), {"gen_ppl": perplexity(ppl, seed=steps)})
        for steps, ppl in ((4, 60.0), (10, 20.5), (20, 20.0))
    ]
    found = place(run_of(rows, metrics=("gen_ppl",)))
    assert "at most the lowest divided by 0.95" in found.rule
    assert found.lines[0].reached.steps == 10
    assert found.lines[0].best.steps in (10, 20)


def test_samples_are_resampled_together() -> None:
    """What all step counts share moves all of them: the interval must not take it for noise between them."""
    hard = [0.0, 1.0] * 60
    rows = [
        (row("a", "x", steps), {METRIC: SampleValues("mean", [[0.1 + share * h, 1.0] for h in hard])})
        for steps, share in ((4, 0.5), (10, 0.8), (20, 0.82))
    ]
    assert place(run_of(rows)).lines[0].reached[:3] == (10, 10, 10)


def test_saturation_is_where_no_larger_count_is_measurably_better() -> None:
    assert line({4: 0.3, 10: 0.8, 20: 0.81, 64: 0.8}).saturates.text == "no measurable gain after 10"
    assert line({4: 0.3, 10: 0.5, 20: 0.7, 64: 0.9}).saturates.text == "still gains at 64"
    assert line({4: 0.5, 10: 0.5}).saturates.text == "no measurable gain after 4"


def test_breaking_is_being_measurably_worse_than_with_fewer_steps() -> None:
    assert line({4: 0.3, 10: 0.9, 64: 0.5}).breaks.text == "worse at 64 than at 10"
    assert line({4: 0.3, 10: 0.6, 64: 0.59}).breaks.text == DASH


def test_breaking_is_also_being_no_better_than_a_control() -> None:
    bigram = control("bigram", 0.3, 400)
    assert line({4: 0.3, 10: 0.6, 64: 0.9}, others=[bigram]).breaks.text == "below 10 no better than bigram"
    assert line({4: 0.6, 10: 0.8}, others=[bigram]).breaks.text == DASH
    better = swept({("b", "x", 4): 0.9}, 400)
    text = line({4: 0.2, 10: 0.31}, others=[bigram, *better]).breaks.text
    assert text == "at no step count better than bigram"
    assert line({4: 0.9, 10: 0.3, 64: 0.9}, others=[bigram]).breaks.text == (
        "worse at 10 than at 4; at 10 no better than bigram"
    )


def test_a_control_that_nobody_beats_says_nothing_of_breaking() -> None:
    others = [control("repetitive", 1.0, 400), control("bigram", 0.1, 400, seed=98)]
    assert line({4: 0.3, 10: 0.6}, others=others).breaks.text == DASH


def test_one_step_count_says_so() -> None:
    found = line({10: 0.5})
    assert found.reached.steps is None
    assert (found.reached.text, found.reached.why_not) == (DASH, "one step count only")
    assert found.saturates == (DASH, "one step count only")
    assert "one step count only" in place(run_of(swept({("a", "x", 10): 0.5}))).summary
    mixed = place(run_of(swept({("a", "x", 10): 0.5, ("b", "x", 4): 0.5, ("b", "x", 10): 0.5})))
    assert "1 ran with one step count only." in mixed.summary


def test_without_values_there_is_no_interval_and_no_test() -> None:
    rows = [(row("a", "x", steps), {"mauve": value}) for steps, value in ((4, 0.5), (10, 0.9), (20, 0.91))]
    (found,) = place(run_of(rows, metrics=("mauve",))).lines
    assert found.reached.text == "10"
    assert found.reached.why_not.startswith("no interval")
    assert found.saturates.why_not.startswith("no paired test")


def test_samples_of_other_seeds_have_no_interval() -> None:
    rows = [*swept({("a", "x", 4): 0.5}), *swept({("a", "x", 10): 0.9}, seed=1)]
    (found,) = place(run_of(rows)).lines
    assert (found.reached.steps, found.reached.low) == (10, None)


def test_nothing_right_at_all_reaches_nothing() -> None:
    found = line({4: 0.0, 10: 0.0})
    assert found.reached.steps is None
    assert "no figure is above 0" in found.reached.why_not


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_not_resampled(bad: float) -> None:
    data = run_of(swept({("a", "x", 4): 0.5, ("a", "x", 10): 0.9}))
    for values in data.values.values():
        values[METRIC] = SampleValues("mean", [[bad, 1.0]] * 200)  # type: ignore[index]
    (found,) = place(data).lines
    assert (found.reached.steps, found.reached.low) == (10, None)


def test_machines_are_lines_of_their_own() -> None:
    rows = [*swept({("a", "x", 4): 0.5, ("a", "x", 10): 0.9}), *swept({("a", "x", 4): 0.5}, machine="Other")]
    assert [found.series.steps for found in place(run_of(rows)).lines] == [[4, 10], [4]]


def test_the_axis_is_logarithmic_and_the_same_for_all_lines() -> None:
    found = place(run_of(swept({("a", "x", s): 0.1 * s for s in (1, 2, 4)} | {("b", "x", 2): 0.5})))
    assert found.axis == (1, 4)
    assert list(found.lines[0].chart.ticks) == [EDGE, WIDTH / 2, WIDTH - EDGE]
    assert list(found.lines[1].chart.ticks) == [WIDTH / 2]


def test_charts_say_in_words_what_they_show(tmp_path: Path) -> None:
    data = run_of(swept({("a", "x", 4): 0.2, ("a", "x", 10): 0.9}, 1000))
    html = write_report(data, tmp_path).read_text()
    section = html[html.index('<section id="quality_steps"') :]
    section = section[: section.index("</section>")]
    assert 'aria-label="a x: 95 % of its best from 10 steps on, interval 10 to 10"' in section
    assert "style=" not in section
    for link in re.findall(r'href="#(row-[^"]+)"', section):
        assert f'id="{link}"' in html
    assert "## Steps to quality" in (tmp_path / "table.md").read_text()


def test_plain_sentences() -> None:
    data = run_of(swept({("a", "x", 4): 0.2, ("a", "x", 10): 0.9, ("a", "x", 64): 0.5}, 1000))
    assert lines(build(Page(data))) == [
        "95 % of the own best is reached soonest, at 10 steps, by a \u00b7 x.",
        "a \u00b7 x: 95 % of its best at 10 [10, 10] steps; no measurable gain after 10; worse at 64 than at 10.",
    ]


@pytest.mark.parametrize(
    "data",
    [
        run_of([]),
        run_of([control("bigram", 0.1)]),
        run_of([(row("a", "x", None), {METRIC: shares(0.5)})]),
        run_of([(row("a", "x", 4, status="failed"), {})]),
        run_of(swept({("a", "x", 4): 0.5}, 1), Given(step_pair=(4, 8))),
    ],
)
def test_nothing_swept_is_said(data: ReportData) -> None:
    template = templates().from_string('{% from "quality_steps.html" import section %}{{ section(part) }}')
    html = template.render(part=build(Page(data)))
    assert "No step count was swept" in html or "one step count only" in html
