"""Paired comparisons: is a figure of B different from that of A on the same samples, or is that noise?

A figure is a function of column sums over samples (`SampleValues`), so one scheme serves means, perplexities and BLEU:
samples are resampled or swapped whole, summed, and the figure is computed from the sums.

* Interval of the difference: percentile bootstrap over pairs (Efron and Tibshirani 1993, chapter 13).
* p: two-sided permutation test, which swaps A and B in each pair by the toss of a coin (Good 2005, chapter 3; for
  corpus figures called approximate randomisation, Riezler and Maxwell 2005). It is never 0: (hits + 1) / (tosses + 1).
* Several p: Holm's step-down adjustment (Holm 1979).
* Smallest detectable difference: what a two-sided test at `ALPHA` finds four times in five, from the standard error of
  the difference (Card et al. 2020, "With Little Power Comes Great Responsibility").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness import stats
from harness.metrics.base import SampleValues

ALPHA = 0.05
POWER = 0.8
TOSSES = 9_999
_REACH = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)

Floats = npt.NDArray[np.float64]


def _mean(sums: Floats) -> Floats:
    """Columns: value, 1 for each sample that counts."""
    return _ratio(sums)


def _ratio(sums: Floats) -> Floats:
    """Columns: numerator, denominator. Not a number where the denominators sum to 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)


def _exp_ratio(sums: Floats) -> Floats:
    """Columns: numerator, denominator; the exponential of their ratio."""
    return np.exp(_ratio(sums))


#: From sums [..., k] to figures [...].
STATISTICS: Mapping[str, Callable[[Floats], Floats]] = {"mean": _mean, "ratio": _ratio, "exp_ratio": _exp_ratio}


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
        a: figure of A.
        b: figure of B.
        difference: b - a.
        low: lower end of its 95 % bootstrap interval, None for fewer than two pairs.
        high: upper end.
        p: of the two-sided permutation test, None for fewer than two pairs.
        pairs: how many samples were paired.
        detectable: the smallest difference that this many pairs would show four times in five; None where unknown.
    """

    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    pairs: int
    detectable: float | None


def figure_of(values: SampleValues, seed: int = 0) -> tuple[float, float | None, float | None]:
    """The figure and its 95 % bootstrap interval.

    Raises:
        ValueError: for no samples, or an unknown statistic.
    """
    rows, statistic = _rows(values), STATISTICS[values.statistic]
    value = float(statistic(rows.sum(axis=0)))
    if len(rows) < 2:
        return value, None, None
    return (value, *_percentiles(statistic(_weights(len(rows), seed) @ rows)))


def compare(a: SampleValues, b: SampleValues, seed: int = 0, tosses: int = TOSSES) -> Comparison:
    """Set B against A, sample by sample.

    Args:
        a: of the one, n rows.
        b: of the other, n rows of the same samples in the same order.
        seed: of resampling and tossing; the same values give the same answer.
        tosses: of the permutation test; the smallest p it can give is 1 / (tosses + 1).

    Raises:
        ValueError: when the two are of different statistics or sizes, or empty.
    """
    first, second = _rows(a), _rows(b)
    if a.statistic != b.statistic or first.shape != second.shape:
        raise ValueError(f"{a.statistic} {first.shape} is not comparable in pairs with {b.statistic} {second.shape}")
    statistic, n = STATISTICS[a.statistic], len(first)
    values = float(statistic(first.sum(axis=0))), float(statistic(second.sum(axis=0)))
    difference = values[1] - values[0]
    if n < 2:
        return Comparison(*values, difference, None, None, None, n, None)
    weights = _weights(n, seed)
    spread = statistic(weights @ second) - statistic(weights @ first)
    spread = spread[np.isfinite(spread)]
    low, high = _percentiles(spread)
    error = float(spread.std(ddof=1)) if len(spread) > 1 else math.nan
    detectable = _REACH * error
    p = _permutation(first, second, statistic, difference, seed, tosses)
    return Comparison(*values, difference, low, high, p, n, detectable if math.isfinite(detectable) else None)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the order given, each at most 1; below `ALPHA` means different at that level for the
    whole family.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    out, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        out[i] = largest
    return out


def _rows(values: SampleValues) -> Floats:
    if values.statistic not in STATISTICS:
        raise ValueError(f"unknown statistic {values.statistic!r}, known: {', '.join(STATISTICS)}")
    rows = np.asarray(values.rows, dtype=np.float64)
    if not rows.size:
        raise ValueError("no samples to compare")
    return rows


@lru_cache(maxsize=4)
def _weights(n: int, seed: int) -> Floats:
    """How often each of n samples is drawn in each resample [resamples, n]; the same for all figures of n samples."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=stats.RESAMPLES).astype(np.float64)


@lru_cache(maxsize=4)
def _tossed(n: int, seed: int, tosses: int) -> npt.NDArray[np.float32]:
    """Which pairs are swapped in each toss [tosses, n], as 0 or 1."""
    rng = np.random.default_rng([seed, 1])
    return rng.integers(0, 2, size=(tosses, n), dtype=np.int8).astype(np.float32)


def _permutation(
    a: Floats, b: Floats, statistic: Callable[[Floats], Floats], observed: float, seed: int, tosses: int
) -> float:
    """p of the two-sided permutation test; a difference that rounding alone could make is none."""
    moved = _tossed(len(a), seed, tosses) @ (b - a)
    tossed = np.abs(statistic(b.sum(axis=0) - moved) - statistic(a.sum(axis=0) + moved))
    hits = int((~(tossed < abs(observed) * (1 - 1e-9) - 1e-12)).sum())
    return (hits + 1) / (tosses + 1)


def _percentiles(statistics: Floats) -> tuple[float | None, float | None]:
    known = statistics[np.isfinite(statistics)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, [(1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2])
    return float(low), float(high)
