"""Likelihoods in the verdict: paired by text, kinds of figures apart."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pandas as pd

from harness import comparable
from harness.metrics.base import SampleValues
from harness.paired import figure_of
from harness.report import ReportData
from harness.report.collect import likelihood_values
from harness.report.page import Page
from harness.report.verdict import build, lines

TEXTS = 64


def run_of(models: dict[str, tuple[float, str]], known: bool = True, **more: Any) -> ReportData:
    """Models with bits per byte and kind of figure; hard texts are hard for all of them."""
    hard = np.random.default_rng(0).normal(0, 0.3, TEXTS)
    table, values = [], {}
    for i, (model, (bits, bound)) in enumerate(models.items()):
        noise = np.random.default_rng(i + 1).normal(0, 0.01, TEXTS)
        rows = [[float(300 * (bits + h + e)), 300.0] for h, e in zip(hard, noise, strict=True)]
        mine = SampleValues("ratio", rows)
        row = {"model": model, "role": "model", "kind": "likelihood", "benchmark": "toy", "task": None, "data": "d"}
        row |= {"estimator": "e", "bound": bound, "status": "done", "fingerprint": model, "samples": TEXTS}
        row |= {"samples_done": TEXTS, "length": 64, "engine": "native", "checkpoint": "big"}
        row |= dict(zip(("bits_per_byte", "bits_per_byte_low", "bits_per_byte_high"), figure_of(mine), strict=True))
        table.append(row | more.get(model, {}))
        values[model] = {"bits_per_byte": mine} if known else {}
    return ReportData(
        run="r",
        command="c",
        created="2026-01-02T03:04:05+00:00",
        table=comparable.annotate(pd.DataFrame(table)),
        benchmarks={"toy": {"name": "toy", "metrics": []}},
        values=values,
    )


def said(data: ReportData) -> str:
    return "\n".join(lines(build(Page(data))))


def test_a_small_difference_on_the_same_texts_is_found_though_the_intervals_overlap() -> None:
    text = said(run_of({"good": (0.65, "upper_bound"), "near": (0.67, "upper_bound")}))
    assert "Likelihood: the lowest bits per byte (upper bound) are 0.6" in text
    assert re.search(
        r"by good \u00b7 e. Next: near \u00b7 e with 0\.\d+ \[.*\], measurably worse by 0\.0\d+ \[0\.01\d+, 0\.02"
        r"\d+\], "
        r"p < 0\.001 \(paired by text, Holm over 1 pair\)\.",
        text,
    )


def test_no_difference_is_called_that_and_says_what_would_have_shown() -> None:
    bits = dict.fromkeys(("a", "b", "c"), (0.65, "upper_bound"))
    text = said(run_of(bits))
    assert "not separable from it: difference" in text
    assert re.search(r"a difference of 0\.00\d+ would have shown", text)
    assert "Not separable from the best either: " in text
    assert "measurably worse" not in text


def test_exact_figures_and_bounds_are_told_apart() -> None:
    text = said(run_of({"sure": (0.9, "exact"), "bound": (0.6, "upper_bound")}))
    assert "(exact) are 0.9" in text
    assert "(upper bound) are 0.6" in text
    assert "Next" not in text


def test_rows_of_other_texts_are_left_out_with_the_reason() -> None:
    bits = {name: (0.65 + 0.1 * i, "upper_bound") for i, name in enumerate(("a", "b", "other"))}
    text = said(run_of(bits, other={"data": "elsewhere", "bits_per_byte": 0.1}))
    assert "by a \u00b7 e" in text
    assert "Left out, as not comparable: 1 row (data elsewhere, others d)." in text


def test_without_the_figures_of_texts_nothing_is_claimed() -> None:
    text = said(run_of({"a": (0.2, "exact"), "b": (0.9, "exact")}, known=False))
    assert "no paired test (the figures of single samples are not stored), the intervals do not overlap" in text
    assert "worse" not in text


def test_bits_and_bytes_are_read_from_the_batches() -> None:
    def text(index: int, nats: float = math.log(2)) -> dict[str, Any]:
        return {"index": index, "nats": nats, "bytes": 4, "tokens": 1}

    found = likelihood_values(
        {
            "whole": [{"likelihoods": [text(1, 0.0)]}, {"likelihoods": [text(0)]}],
            "half": [{"likelihoods": [text(0), text(2)]}],
            "infinite": [{"likelihoods": [text(0, math.inf)]}],
            "generated": [{"samples": [{"index": 0}]}],
        }
    )
    assert found == {"whole": {"bits_per_byte": SampleValues("ratio", [[1.0, 4.0], [0.0, 4.0]])}}
