"""Figures from sums against sacrebleu's own, and at their edges."""

from __future__ import annotations

import math
import random
import warnings
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF

from harness.metrics.base import SampleValues
from harness.sums import STATISTICS, summands

UNSMOOTHED = BLEU(tokenize="none", smooth_method="none", force=True)
METRICS = {"bleu": BLEU(force=True), "bleu_unsmoothed": UNSMOOTHED, "chrf": CHRF()}


def counts_of(metric: Any, trials: int) -> list[list[int]]:
    """Counts of random texts of 0 to 12 words, which share few n-grams: all edges of smoothing and brevity occur."""
    rng = random.Random(0)
    texts = [[" ".join(rng.choices("abcdef", k=rng.randint(0, 12))) for _ in range(trials)] for _ in range(2)]
    rows: list[list[int]] = metric._extract_corpus_statistics(texts[0], [texts[1]])
    return rows


@pytest.mark.parametrize("name", list(METRICS))
def test_corpus_figures_are_sacrebleus_for_any_counts(name: str) -> None:
    metric, rows = METRICS[name], counts_of(METRICS[name], 500)
    rows += [[0] * len(rows[0]), *(np.sum(rows[i : i + 20], axis=0).tolist() for i in range(480))]
    expected = [metric._compute_score_from_stats(list(row)).score for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = STATISTICS[name](np.array(rows, dtype=np.float64))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert len(set(expected)) > 50
    assert 0.0 in expected


def test_all_sums_at_once_are_as_each_alone() -> None:
    rows = np.array(counts_of(METRICS["chrf"], 24), dtype=np.float64)
    together = STATISTICS["chrf"](rows.reshape(4, 6, -1))
    assert together.shape == (4, 6)
    assert together.ravel().tolist() == [float(STATISTICS["chrf"](row)) for row in rows]


def test_ratios() -> None:
    sums = np.array([[3.0, 2.0], [0.0, 5.0], [1.0, 0.0]])
    assert STATISTICS["ratio"](sums)[:2].tolist() == STATISTICS["mean"](sums)[:2].tolist() == [1.5, 0.0]
    assert STATISTICS["exp_ratio"](sums)[:2].tolist() == [math.exp(1.5), 1.0]
    assert np.isnan([STATISTICS[name](sums)[2] for name in ("mean", "ratio", "exp_ratio")]).all()


@pytest.mark.parametrize(
    ("statistic", "rows", "problem"),
    [
        ("median", [[1.0, 1]], "unknown statistic 'median', known: mean, ratio"),
        ("mean", [], "no samples"),
        ("mean", [[1.0, 1, 1]], r"rows of mean are \[n, 2\], these are \[1, 3\]"),
        ("mean", [[1.0, 1], [math.nan, 1]], "row 1 is not finite"),
        ("ratio", [[1.0, math.inf], [1.0, 1]], "row 0 is not finite"),
        ("mean", [[1.0, 1], [1.0]], "inhomogeneous"),
    ],
)
def test_what_cannot_be_summed(statistic: str, rows: list[list[float]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        summands(SampleValues(statistic, rows))
