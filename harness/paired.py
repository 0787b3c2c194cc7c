"""Paired comparisons: is a figure of B different from that of A on the same samples, or is that noise?

A figure is a function of column sums over samples (`SampleValues`), so one scheme serves means, perplexities and BLEU:
samples are resampled or swapped whole, summed, and the figure is computed from the sums.

* Interval of the difference: percentile bootstrap over pairs (Efron and Tibshirani 1993, chapter 13).
* p: two-sided permutation test, which swaps A and B in each pair by the toss of a coin (Good 2005, chapter 3; for
  corpus figures called approximate randomisation, Riezler and Maxwell 2005). With few pairs all swaps are tried and p
  is exact; else it is (hits + 1) / (tosses + 1), never 0.
* Several p: Holm's step-down adjustment (Holm 1979).
* Smallest detectable difference: what a two-sided test at `ALPHA` finds four times in five among as many samples that
  scatter as these do, from the standard error of the difference (Card et al. 2020, "With Little Power Comes Great
  Responsibility").
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from harness import stats
from harness.metrics.base import SampleValues
from harness.sums import STATISTICS, Floats, Statistic, summands, total

__all__ = [
    "ALPHA",
    "POWER",
    "STATISTICS",
    "Comparison",
    "compare",
    "compare_by_keys",
    "comparison",
    "figure_of",
    "holm",
    "paired_values",
    "percentile_ends",
    "resampled_sums",
]

#: Below this a p-value tells two things apart.
ALPHA = 0.05
#: How often a difference that is said to be detectable would be found.
POWER = 0.8
TOSSES = 9_999
_REACH = NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(POWER)
#: Pairs that must differ before any p can be below `ALPHA`: the smallest p of m pairs is 2 / 2^m.
_FEWEST_DIFFERING = math.ceil(1 - math.log2(ALPHA))
_BLOCK_CELLS = 1 << 18  # numbers at a time: 2 MB, which a cache holds
#: The bits of every byte [256, 8], lowest first.
_BITS = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(np.float64)

Key = TypeVar("Key", bound=Hashable)


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
        detectable: the smallest difference that this many pairs would show four times in five; None where it cannot
            be told: fewer than six pairs differ at all, or all by the same.
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
        ValueError: for no samples, an unknown statistic, or numbers that are not finite or give no finite figure.
    """
    rows, statistic = summands(values), STATISTICS[values.statistic]
    value = _figure(rows, statistic)
    if len(rows) < 2:
        return value, None, None
    return (value, *percentile_ends(statistic(resampled_sums(rows, seed))))


def compare(a: SampleValues, b: SampleValues, seed: int = 0, tosses: int = TOSSES) -> Comparison:
    """Set B against A, sample by sample.

    Args:
        a: of the one, n rows.
        b: of the other, n rows of the same samples in the same order.
        seed: of resampling and tossing; the same values give the same answer.
        tosses: of the permutation test; the smallest p it can give is 1 / (tosses + 1).

    Raises:
        ValueError: when the two are of different statistics or sizes, or as in `figure_of`.
    """
    first, second = summands(a), summands(b)
    if a.statistic != b.statistic or first.shape != second.shape:
        raise ValueError(f"{a.statistic} {first.shape} is not comparable in pairs with {b.statistic} {second.shape}")
    statistic, n = STATISTICS[a.statistic], len(first)
    figures = _figure(first, statistic), _figure(second, statistic)
    if n < 2:
        return Comparison(*figures, figures[1] - figures[0], None, None, None, n, None)
    sums = resampled_sums(np.hstack([first, second]), seed)
    spread = statistic(sums[:, statistic.columns :]) - statistic(sums[:, : statistic.columns])
    return comparison(first, second, figures, spread, _permutation(first, second, statistic, seed, tosses))


def comparison(first: Floats, second: Floats, figures: tuple[float, float], spread: Floats, p: float) -> Comparison:
    """What resampling and tossing have found, put together.

    Args:
        first: rows of A [n, k].
        second: rows of B, of the same samples.
        figures: of A and of B.
        spread: B - A of each resample [resamples].
        p: of the permutation test.
    """
    differing = int((first != second).any(axis=1).sum())
    detectable = _smallest_detectable(spread, figures) if differing >= _FEWEST_DIFFERING else None
    return Comparison(*figures, figures[1] - figures[0], *percentile_ends(spread), p, len(first), detectable)


def paired_values(
    a_keys: Sequence[Key],
    a: SampleValues,
    b_keys: Sequence[Key],
    b: SampleValues,
) -> tuple[SampleValues, SampleValues]:
    """The rows of the samples that both have, in the order of A; none where they share no sample.

    Args:
        a_keys: what each row of `a` is of, such as (seed, index).
        a: of the one.
        b_keys: as `a_keys`, of `b`.
        b: of the other.

    Raises:
        ValueError: when keys repeat, or are not as many as the rows.
    """
    first, second = _by_key(a_keys, a), _by_key(b_keys, b)
    shared = [key for key in first if key in second]
    return (
        SampleValues(a.statistic, [first[key] for key in shared]),
        SampleValues(b.statistic, [second[key] for key in shared]),
    )


def compare_by_keys(
    a_keys: Sequence[Key],
    a: SampleValues,
    b_keys: Sequence[Key],
    b: SampleValues,
    seed: int = 0,
) -> Comparison | None:
    """`compare` over the samples that both have (`paired_values`).

    Returns:
        None where they share no sample, or where those that they share give one of the two no figure.

    Raises:
        ValueError: as `paired_values` and `compare`.
    """
    first, second = paired_values(a_keys, a, b_keys, b)
    if not first.rows or not all(math.isfinite(total(values)) for values in (first, second)):
        return None
    return compare(first, second, seed)


def holm(p_values: Sequence[float], family: int | None = None) -> list[float]:
    """Holm's adjusted p-values in the order given, each at most 1; below `ALPHA` means different at that level for the
    whole family.

    Args:
        p_values: of the tests that were made.
        family: how many tests count, where those that were not made count as ones of p = 1; None: as many as were made.

    Raises:
        ValueError: for a p outside 0..1.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"not all are in 0..1: {list(p_values)}")
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    count = len(p_values) if family is None else family
    out, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (count - rank) * p_values[i]))
        out[i] = largest
    return out


def _figure(rows: Floats, statistic: Statistic) -> float:
    value = float(statistic(rows.sum(axis=0)))
    if not math.isfinite(value):
        raise ValueError(f"these samples give no finite figure but {value}")
    return value


def _by_key(keys: Sequence[Key], values: SampleValues) -> dict[Key, Sequence[float]]:
    rows = dict(zip(keys, values.rows, strict=True))
    if len(rows) < len(keys):
        raise ValueError("two samples have the same key")
    return rows


@lru_cache(maxsize=4)
def _weights(n: int, seed: int) -> npt.NDArray[np.uint16]:
    """How often each of n samples is drawn in each resample [resamples, n]; the same for all figures of n samples."""
    rng = np.random.default_rng(seed)
    draws = (rng.integers(0, n, size=n) for _ in range(stats.RESAMPLES))
    return np.stack([np.bincount(drawn, minlength=n).astype(np.uint16) for drawn in draws])


def resampled_sums(rows: Floats, seed: int) -> Floats:
    """Sums [resamples, k] over the rows [n, k], drawn with replacement; the same draws for every n and seed.

    Args:
        rows: summands, one row a sample.
        seed: of the draws.
    """
    weights, columns = _weights(len(rows), seed), np.ascontiguousarray(rows.T)
    size = max(1, _BLOCK_CELLS // len(rows))
    # Not `@`: its threads wait for each other where cores are shared, and take many times longer for so little.
    blocks = (weights[at : at + size].astype(np.float64) for at in range(0, len(weights), size))
    return np.concatenate([np.einsum("rn,kn->rk", block, columns) for block in blocks])


def _coins(n: int, seed: int, tosses: int) -> npt.NDArray[np.uint8]:
    """Which pairs each toss swaps [n / 8, tosses], a bit a pair: all 2^n ways where they are at most `tosses`, else
    random ones after one that swaps none.
    """
    bytes_ = -(-n // 8)
    if 2**n <= tosses:
        return np.stack([np.arange(2**n) >> 8 * i & 255 for i in range(bytes_)]).astype(np.uint8)
    coins = np.random.default_rng([seed, 1]).integers(0, 256, size=(bytes_, tosses + 1), dtype=np.uint8)
    coins[:, 0] = 0
    return coins


def _tossed(rows: Floats, seed: int, tosses: int) -> Floats:
    """Sums [tosses, k] over those of n rows that a toss swaps; of each eight rows all 256 sums are made once."""
    coins = _coins(len(rows), seed, tosses)
    eights = np.zeros((len(coins), 8, rows.shape[1]))
    eights.reshape(-1, rows.shape[1])[: len(rows)] = rows
    sums = np.zeros((coins.shape[1], rows.shape[1]))
    for coin, eight in zip(coins, eights, strict=True):
        sums += np.take(np.einsum("bi,ik->bk", _BITS, eight), coin, axis=0)
    return sums


def _permutation(a: Floats, b: Floats, statistic: Statistic, seed: int, tosses: int) -> float:
    """p of the two-sided permutation test. A difference that rounding alone could make is none, and a swap that leaves
    one side without a figure counts against a difference.
    """
    sums, moved = (a.sum(axis=0), b.sum(axis=0)), _tossed(b - a, seed, tosses)
    figures = statistic(sums[0]), statistic(sums[1])
    observed = abs(float(figures[1] - figures[0]))
    least = observed * (1 - 1e-9) - 1e-12 * float(abs(figures[0]) + abs(figures[1]))
    distances = np.abs(statistic(sums[1] - moved) - statistic(sums[0] + moved))
    return float((~(distances < least)).mean())


def _smallest_detectable(spread: Floats, figures: tuple[float, float]) -> float | None:
    """The smallest difference that a two-sided test at `ALPHA` finds with chance `POWER` (Card et al. 2020).

    Args:
        spread: the difference of each resample [resamples]; its standard deviation is the standard error.
        figures: of both sides, which say how large a spread rounding alone could make.

    Returns:
        None where the standard error is 0 or unknown.
    """
    known = spread[np.isfinite(spread)]
    error = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    return _REACH * error if error > 1e-12 * (abs(figures[0]) + abs(figures[1])) else None


def percentile_ends(statistics: Floats) -> tuple[float | None, float | None]:
    """Ends of the 95 % percentile interval of resampled figures [resamples]; those that are not finite are left out.
    (None, None) where none is left.
    """
    known = statistics[np.isfinite(statistics)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, [(1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2])
    return float(low), float(high)
