"""Intervals and summaries. A statistic is never reported without saying how sure it is.

Intervals are percentile bootstrap (Efron and Tibshirani 1993, chapter 13) over samples: 95 %, 1,000 resamples, seeded,
so the same samples always give the same interval. Counts of distinct things are the exception: drawing with replacement
repeats samples and so loses types, which biases a bootstrap downwards; `jackknife_distinct` is used there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
RESAMPLES = 1000
_BLOCK_CELLS = 1 << 21  # indices drawn at a time: 16 MB

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval; both ends are None where it is unknown (fewer than two samples)."""

    low: float | None
    high: float | None

    def map(self, function: Callable[[float], float]) -> Interval:
        """The interval of a rising function of the statistic; percentile intervals go through it unchanged."""
        if self.low is None or self.high is None:
            return self
        return Interval(function(self.low), function(self.high))


class Quartiles(NamedTuple):
    """First quartile, median, third quartile."""

    q1: float
    median: float
    q3: float


UNKNOWN = Interval(None, None)


def _resampled_sums(columns: Floats, resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks [b, k] of the sums of `columns` [n, k] over n rows drawn with replacement."""
    rng = np.random.default_rng(seed)
    n = len(columns)
    block = max(1, min(resamples, _BLOCK_CELLS // n))
    for start in range(0, resamples, block):
        rows = rng.integers(0, n, size=(min(block, resamples - start), n))
        yield np.stack([column[rows].sum(axis=1) for column in columns.T], axis=1)


def _percentiles(statistics: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(statistics, [tail, 1 - tail])
    return Interval(float(low), float(high))


def bootstrap_mean(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Interval of the mean of `values`, one a sample."""
    return bootstrap_ratio(values, [1.0] * len(values), seed, resamples)


def bootstrap_ratio(
    numerators: Sequence[float], denominators: Sequence[float], seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Interval of sum(numerators) / sum(denominators), samples drawn as pairs.

    A resample whose denominators sum to zero says nothing and is left out.

    Args:
        numerators: one a sample.
        denominators: one a sample, 0 or more.
        seed: of the draws.
        resamples: number of resamples.

    Raises:
        ValueError: when the two differ in length.
    """
    return bootstrap_ratios(numerators, [denominators], seed, resamples)[0]


def bootstrap_ratios(
    numerators: Sequence[float],
    denominators: Sequence[Sequence[float]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Interval]:
    """As `bootstrap_ratio` for several denominators of one numerator, all from the same resamples.

    Raises:
        ValueError: when the number of samples differs.
    """
    for column in denominators:
        if len(numerators) != len(column):
            raise ValueError(f"{len(numerators)} numerators for {len(column)} denominators")
    if len(numerators) < 2:
        return [UNKNOWN] * len(denominators)
    columns = np.array([numerators, *denominators], dtype=np.float64).T
    sums = np.concatenate(list(_resampled_sums(columns, resamples, seed)))
    return [_ratio(sums[:, 0], below) for below in sums[:, 1:].T]


def _ratio(above: Floats, below: Floats) -> Interval:
    kept = below > 0
    return _percentiles(above[kept] / below[kept]) if kept.any() else UNKNOWN


def jackknife_distinct(types: int, tokens: int, own_types: Sequence[int], own_tokens: Sequence[int]) -> Interval:
    """Interval of types / tokens by the delete-one jackknife over samples (Efron, Stein 1981), normal tails, in 0..1.

    Args:
        types: distinct items in all samples together.
        tokens: items in all samples together.
        own_types: for each sample, the types that no other sample has.
        own_tokens: for each sample, its items.
    """
    n = len(own_types)
    rest = tokens - np.asarray(own_tokens, dtype=np.float64)
    if n < 2 or np.any(rest <= 0):
        return UNKNOWN
    without = (types - np.asarray(own_types, dtype=np.float64)) / rest
    error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    value = types / tokens
    return Interval(max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error))


def quartiles(values: Sequence[float]) -> Quartiles:
    """Quartiles by linear interpolation.

    Raises:
        ValueError: for no values.
    """
    if not len(values):
        raise ValueError("no values have no quartiles")
    return Quartiles(*(float(q) for q in np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75])))


def total(values: Iterable[float | None]) -> float | None:
    """The sum, None where one of the values is unknown."""
    found = list(values)
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return None
    return sum(known) if all(isinstance(value, int) for value in known) else math.fsum(known)
