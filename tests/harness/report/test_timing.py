"""Seconds that cannot both be right."""

from __future__ import annotations

import pytest

from harness.report.page import Page
from harness.report.timing import strangest
from harness.report.verdict import build, lines
from tests.harness.report.made import METRIC, Made, row, run_of, shares


def made(seconds: dict[int, float], model: str = "a", **more: float) -> list[Made]:
    return [
        (row(model, "x", steps, seconds_per_sequence=value, **more), {METRIC: shares(0.5, seed=steps)})
        for steps, value in seconds.items()
    ]


@pytest.mark.parametrize(
    ("seconds", "pair"),
    [
        ({4: 0.004, 10: 0.01, 64: 0.064}, None),
        ({4: 0.006, 10: 0.009, 64: 0.03}, None),  # what a run takes besides weighs more where steps are few
        ({10: 0.02, 20: 0.017}, None),  # within what scatters
        ({4: 0.02, 10: 0.09, 20: 0.176, 64: 0.075}, (20, 64)),
        ({4: 0.008, 10: 0.01, 20: 0.125}, (10, 20)),
    ],
)
def test_time_that_falls_or_jumps_with_more_steps_is_in_doubt(
    seconds: dict[int, float], pair: tuple[int, int] | None
) -> None:
    (contest,) = Page(run_of(made(seconds))).contests.values()
    found = strangest(contest.series[0])
    assert (found and (found[0].steps, found[1].steps)) == pair


def test_the_budget_of_seconds_says_so_and_that_of_steps_does_not() -> None:
    data = run_of([*made({10: 0.01, 20: 0.2}), *made({10: 0.01, 20: 0.02}, "b")])
    steps, seconds = (line for line in lines(build(Page(data))) if line.startswith(("At up to", "Within")))
    assert "doubt" not in steps
    assert seconds.endswith(
        "These seconds are in doubt for 1 of 2 combinations of model and scheduler: a \u00b7 x \u00b7 10 steps took "
        "10 ms a sequence, a \u00b7 x \u00b7 20 steps 200 ms. Measure again with nothing else running."
    )


def test_unknown_and_zero_seconds_are_no_contradiction() -> None:
    rows: list[Made] = [
        (row("a", "x", s, seconds_per_sequence=v), {METRIC: shares(0.5)}) for s, v in ((4, None), (9, 0.0))
    ]
    (contest,) = Page(run_of(rows)).contests.values()
    assert strangest(contest.series[0]) is None
