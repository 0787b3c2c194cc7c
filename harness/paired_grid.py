"""Many paired comparisons of the same samples at once, in a fraction of the time that each of them would take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from harness.metrics.base import SampleValues
from harness.paired import Comparison, comparison, resampled_sums
from harness.sums import STATISTICS, Floats, Statistic, summands, total

_COLUMNS = 512  # of differences that are swapped at once
_BLOCK_CELLS = 1 << 19  # coins at a time: 4 MB
#: Tosses, and the p from which on a pair is tossed no more: what matters in a large family is small p, and a p of a few
#: hits is itself a matter of chance.
_STAGES = ((999, 0.2), (9_999, 1e-3), (99_999, 0.0))
#: A pair whose p is below this is tossed no more either.
_SURELY_DIFFERENT = 1e-8


def gives_a_figure(values: SampleValues) -> bool:
    """Whether values are of a known statistic, finite, and enough for a finite figure."""
    try:
        return math.isfinite(total(values))
    except ValueError:
        return False


def compare_all(values: Sequence[SampleValues], pairs: Sequence[tuple[int, int]], seed: int = 0) -> list[Comparison]:
    """As `harness.paired.compare` for many pairs, but for small p.

    A large family multiplies p by hundreds or thousands, so small p get more tosses, up to 100,000. Where none of them
    reached a difference, p is Hoeffding's bound on sums of random signs, 2 exp(-z^2 / 2) with z the difference in
    standard deviations of the tossed ones (Hoeffding 1963, theorem 2), if that is smaller. It holds for means, and near
    enough for the other figures.

    Args:
        values: of each thing compared, n rows of the same samples in the same order.
        pairs: which is A and which is B, by their place in `values`.
        seed: of resampling and tossing.

    Raises:
        ValueError: when they are of different statistics or sizes, or empty, or give no finite figure.
    """
    rows = {i: summands(values[i]) for i in sorted({i for pair in pairs for i in pair})}
    kinds = {(values[i].statistic, mine.shape) for i, mine in rows.items()}
    if len(kinds) > 1:
        raise ValueError(f"not comparable in pairs: {', '.join(f'{name} {shape}' for name, shape in sorted(kinds))}")
    if not pairs:
        return []
    ((name, (n, _)),) = kinds
    statistic = STATISTICS[name]
    figures = {i: float(statistic(mine.sum(axis=0))) for i, mine in rows.items()}
    if not all(map(math.isfinite, figures.values())):
        raise ValueError("some samples give no finite figure")
    if n < 2:
        unknown = (None, None, None, n, None)
        return [Comparison(figures[i], figures[j], figures[j] - figures[i], *unknown) for i, j in pairs]
    resampled = {i: statistic(resampled_sums(mine, seed)) for i, mine in rows.items()}
    p_values = _staged(rows, pairs, statistic, seed)
    return [
        comparison(rows[i], rows[j], (figures[i], figures[j]), resampled[j] - resampled[i], p)
        for (i, j), p in zip(pairs, p_values, strict=True)
    ]


def resampled_figures(values: Sequence[SampleValues], seed: int = 0) -> Floats:
    """Figures [resamples, things] of things with the same samples, all of them resampled together.

    Args:
        values: of each thing, n rows of the same samples in the same order.
        seed: of resampling.

    Raises:
        ValueError: for values without samples, or that are not finite.
    """
    rows, statistic = [summands(one) for one in values], STATISTICS[values[0].statistic]
    return np.stack([statistic(resampled_sums(mine, seed)) for mine in rows], axis=1)


def _swaps(n: int, seed: int, tosses: int) -> Iterator[Floats]:
    """Blocks [b, n] of which pairs are swapped, as 0 or 1: all 2^n ways where they are at most `tosses`, else random
    ones after one that swaps none.
    """
    if 2**n <= tosses:
        yield (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)
        return
    rng = np.random.default_rng([seed, 2])
    yield np.zeros((1, n))
    size = max(1, _BLOCK_CELLS // n)
    for at in range(0, tosses, size):
        coins = rng.integers(0, 256, size=(min(size, tosses - at), -(-n // 8)), dtype=np.uint8)
        yield np.unpackbits(coins, axis=1, count=n).astype(np.float64)


def _staged(
    rows: Mapping[int, Floats], pairs: Sequence[tuple[int, int]], statistic: Statistic, seed: int
) -> list[float]:
    """p of each pair, with more tosses where it is small."""
    found = [_SURELY_DIFFERENT * 2] * len(pairs)
    again = list(range(len(pairs)))
    for tosses, enough in _STAGES:
        for at, p in zip(again, _permutations(rows, [pairs[at] for at in again], statistic, seed, tosses), strict=True):
            found[at] = p
        again = [at for at in again if _SURELY_DIFFERENT < found[at] < enough]
    return found


def _permutations(
    rows: Mapping[int, Floats], pairs: Sequence[tuple[int, int]], statistic: Statistic, seed: int, tosses: int
) -> list[float]:
    """p of each pair."""
    size = max(1, _COLUMNS // statistic.columns)
    blocks = (pairs[at : at + size] for at in range(0, len(pairs), size))
    return [p for block in blocks for p in _permutation_block(rows, block, statistic, seed, tosses)]


def _permutation_block(
    rows: Mapping[int, Floats], pairs: Sequence[tuple[int, int]], statistic: Statistic, seed: int, tosses: int
) -> list[float]:
    """p of each pair, as `harness.paired` has it for one, and the bound where that is smaller."""
    first, second = np.stack([rows[i] for i, _ in pairs], axis=1), np.stack([rows[j] for _, j in pairs], axis=1)
    n, count, k = first.shape
    moving = (second - first).reshape(n, count * k)
    sums = first.sum(axis=0), second.sum(axis=0)
    figures = statistic(sums[0]), statistic(sums[1])
    observed = np.abs(figures[1] - figures[0])
    least = observed * (1 - 1e-9) - 1e-12 * (np.abs(figures[0]) + np.abs(figures[1]))
    hits, squares, tried = np.zeros(count), np.zeros(count), 0
    for swapped in _swaps(n, seed, tosses):
        moved = (swapped @ moving).reshape(len(swapped), count, k)
        distances = np.abs(statistic(sums[1] - moved) - statistic(sums[0] + moved))
        hits += (~(distances < least)).sum(axis=0)
        squares += (distances**2).sum(axis=0)
        tried += len(distances)
    p_values = hits / tried
    if tried <= tosses:  # all swaps there are: p is exact
        return [float(p) for p in p_values]
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = 2 * np.exp(-np.minimum(observed**2 / (2 * squares / tried), 700))
    return [
        float(min(p, bound)) if hit == 1 else float(p) for p, bound, hit in zip(p_values, bounds, hits, strict=True)
    ]
