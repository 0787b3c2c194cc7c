"""Rows that differ in the seed alone are one entry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.metrics.base import SampleValues
from harness.report import ReportData
from harness.report.entries import Entry
from harness.report.page import Page
from tests.harness.report.made import METRIC, Made, control, row, run_of, shares, swept


def entries(data: ReportData) -> list[Entry]:
    page = Page(data)
    return [entry for place in page.places if place.kind == "generate" for entry in page.entries(place)]


def of_seeds(count: int, **more: Any) -> ReportData:
    return run_of([(row("radd", "a", 4, seed, **more), {METRIC: shares(0.5, 20, seed)}) for seed in range(count)])


def test_seeds_are_one_entry_and_their_samples_stand_one_after_the_other() -> None:
    (entry,) = entries(of_seeds(3))
    assert len(entry.rows) == 3
    assert entry.keys == [(seed, i) for seed in range(3) for i in range(20)]
    assert entry.values[METRIC].rows[20:40] == shares(0.5, 20, 1).rows
    figure = entry.estimate(METRIC)
    assert figure is not None
    assert figure.value == pytest.approx(0.5)
    assert figure.low is not None
    assert figure.low < 0.5


def test_prompts_are_the_samples_where_each_sample_has_one() -> None:
    """Three answers to a question are not three questions: the interval is that of the questions."""
    same = shares(0.5, 20)
    made = [(row("diffuseq", "a", 4, seed, task="seq2seq"), {METRIC: same}) for seed in range(3)]
    (entry,), (single,) = entries(run_of(made)), entries(run_of(made[:1]))
    assert entry.keys == single.keys == [(None, i) for i in range(20)]
    assert np.array(entry.values[METRIC].rows) == pytest.approx(np.array(same.rows))
    assert entry.estimate(METRIC) == pytest.approx(single.estimate(METRIC))


def test_a_choice_among_seeds_is_paired_with_the_seeds_by_prompt() -> None:
    made = [(row("diffuseq", "a", 4, seed, task="seq2seq"), {METRIC: shares(0.5, 20, seed)}) for seed in range(2)]
    chosen = row("diffuseq", "a", 4, task="seq2seq") | {"seed": None, "selection": "mbr", "candidates": 2}
    plain, mbr = entries(run_of([*made, (chosen, {METRIC: shares(0.6, 20)})]))
    assert plain.keys == mbr.keys


@pytest.mark.parametrize(
    "other",
    [{"steps": 8}, {"machine": "Another CPU"}, {"batch_size": 1}, {"threads": 3}, {"engine": "upstream"}, {"run": "b"}],
)
def test_anything_but_the_seed_is_another_entry(other: dict[str, Any]) -> None:
    second = row("radd", "a", 4, 1) | other
    values = {METRIC: shares(0.5, 20)}
    assert len(entries(run_of([(row("radd", "a", 4), values), (second, values)]))) == 2


def test_a_metric_that_a_seed_lacks_has_no_figure() -> None:
    made = [(row("radd", "a", 4, 0), {METRIC: shares(0.5, 20)}), (row("radd", "a", 4, 1, samples=20), {})]
    (entry,) = entries(run_of(made))
    assert entry.estimate(METRIC) is None
    assert METRIC not in entry.values


def test_seeds_without_values_have_a_mean_without_an_interval() -> None:
    made = [(row("radd", "a", 4, seed), {METRIC: value}) for seed, value in enumerate((0.2, 0.4))]
    (entry,) = entries(run_of(made))
    assert entry.estimate(METRIC) == (pytest.approx(0.3), None, None)


@pytest.mark.parametrize("rows", [shares(0.5, 20).rows[:-1], []])
def test_values_that_do_not_fit_the_samples_are_not_used(rows: list[list[float]]) -> None:
    data = run_of([(row("radd", "a", 4), {METRIC: shares(0.5, 20)})])
    data.values["radd-a-4-0--"][METRIC] = SampleValues("mean", rows)  # type: ignore[index]
    (entry,) = entries(data)
    assert METRIC not in entry.values
    assert entry.estimate(METRIC) is not None


def test_values_that_are_not_finite_give_the_mean_of_the_rows() -> None:
    data = of_seeds(2)
    for values in data.values.values():
        values[METRIC] = SampleValues("mean", [[math.nan, 1.0]] * 20)  # type: ignore[index]
    (entry,) = entries(data)
    assert entry.estimate(METRIC) == (pytest.approx(0.5), None, None)


def test_cost_is_a_mean_and_unknown_where_any_row_lacks_it() -> None:
    made: list[Made] = [(row("radd", "a", 4, seed, nfe_mean=nfe), {}) for seed, nfe in enumerate((4.0, 6.0))]
    (entry,) = entries(run_of(made))
    assert (entry.nfe, entry.seconds) == (5.0, pytest.approx(0.004))
    (entry,) = entries(run_of([*made, (row("radd", "a", 4, 2, nfe_mean=None), {})]))
    assert entry.nfe is None


def test_controls_have_no_steps_and_imported_rows_no_seconds() -> None:
    made = [control("bigram", 0.1), *swept({("radd", "a", 4): 0.5}, engine="imported")]
    bigram, radd = entries(run_of(made))
    assert (bigram.name, bigram.steps) == ("bigram", None)
    assert (radd.steps, radd.seconds) == (4, None)


def test_unfinished_rows_are_no_entries() -> None:
    made: list[Made] = [
        (row("radd", "a", steps, status=s), {}) for steps, s in ((4, "failed"), (8, "partial"), (16, "pending"))
    ]
    assert entries(run_of(made)) == []


def test_one_step_is_not_called_steps() -> None:
    assert [e.name for e in entries(run_of(swept({("radd", "a", 1): 0.5})))] == ["radd \u00b7 a \u00b7 1 step"]
