"""MAUVE (Pillutla et al. 2021, arXiv 2102.01454) by mauve-text, on the judge's features.

Its own README asks for thousands of samples; below 1,000 a side it cannot even rank clear shifts, so there is no
figure. k-means alone moves it, so the figure is the mean over several seeds. Even data against data is not 1: read it
beside the `data` control's row. Only figures with equal settings and equal counts can be compared.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.metrics.base import Metric, Score, ScoreInput, missing
from harness.metrics.judge_input import judge_of, unscorable_reason

SMALLEST = 1000
SEEDS = 5
SCALING = 5.0  # c of the paper, the library's default


def mauve(data: ScoreInput) -> Score:
    """Mean MAUVE over `SEEDS` k-means seeds, samples against held-out texts, the same count from each side."""
    n = min(len(data.texts), len(data.references))
    if n < SMALLEST:
        sides = f"{len(data.texts)} samples, {len(data.references)} held-out texts"
        return missing(f"too few for MAUVE: {sides}, {SMALLEST} a side are needed", n=n)
    try:
        from mauve import compute_mauve
    except ImportError:
        return missing("missing package: pip install mauve-text")
    texts, references = data.texts[:n], data.references[:n]
    reason = unscorable_reason(data, texts) or unscorable_reason(data, references)
    if reason:
        return missing(reason)
    p, q = judge_of(data).features(texts), judge_of(data).features(references)
    seeds = [data.seed + i for i in range(SEEDS)]
    with _quiet():
        runs = [compute_mauve(p, q, mauve_scaling_factor=SCALING, seed=seed) for seed in seeds]
    values = [float(run.mauve) for run in runs]
    detail = {
        "n": n,
        "k": int(runs[0].num_buckets),
        "seed_values": values,
        "seed_sd": statistics.stdev(values),
        "mauve_star": statistics.fmean(float(run.mauve_star) for run in runs),
        "frontier_integral": statistics.fmean(float(run.frontier_integral) for run in runs),
        "interval": "none: seed_sd is the spread over k-means seeds, not over samples",
    }
    return Score(statistics.fmean(values), detail=detail)


@contextmanager
def _quiet() -> Iterator[None]:
    """faiss prints warnings about few points per centroid to the C stderr; with k = n/10 they are expected."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def _settings(data: ScoreInput) -> dict[str, Any]:
    judge = data.judge
    featuriser: dict[str, Any] = {"judge": None}
    if judge:
        featuriser = {"judge": judge.name, "judge_digest": judge.digest, "window": judge.window}
    features = "final hidden state at the last token of the first window, BOS prepended"
    return {**featuriser, "features": features, "c": SCALING, "k": "n/10", "seeds": SEEDS}


METRICS = (
    Metric(
        name="mauve",
        version=1,
        unit="0..1",
        better="higher",
        needs=frozenset({"judge", "references"}),
        compute=mauve,
        summary=f"MAUVE on judge features, mean of {SEEDS} k-means seeds; none below {SMALLEST} samples a side",
        settings=_settings,
    ),
)
