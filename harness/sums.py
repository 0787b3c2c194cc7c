"""Figures from sums over samples: from sums [..., k] to figures [...], for many sums at once.

`harness.metrics.base.SampleValues` holds what is summed. A figure that the sums do not give (nothing to divide by) is
not a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.metrics.base import SampleValues

Floats = npt.NDArray[np.float64]

#: Sums of counts that come to less are 0 but for rounding (counts may be means over a few seeds).
_NO_MATCH = 1e-6
#: Orders of n-grams: words of BLEU, characters of chrF2; recall weighs BETA times precision (sacrebleu's defaults).
_WORDS, _CHARACTERS, _BETA = 4, 6, 2


class Statistic(NamedTuple):
    """A figure as a function of sums; `columns` is their number k."""

    columns: int
    function: Callable[[Floats], Floats]

    def __call__(self, sums: Floats) -> Floats:
        return self.function(sums)


def _quotient(above: Floats, below: Floats, otherwise: float = np.nan) -> Floats:
    return np.divide(above, below, out=np.full_like(above, otherwise), where=below > 0)


def _ratio(sums: Floats) -> Floats:
    """Columns: numerator, denominator. For a mean: value, 1 for each sample that counts."""
    return _quotient(sums[..., 0], sums[..., 1])


def _exp_ratio(sums: Floats) -> Floats:
    """Columns: numerator, denominator; the exponential of their ratio."""
    with np.errstate(over="ignore"):
        return np.exp(_ratio(sums))


def _bleu(sums: Floats, smooth: bool) -> Floats:
    """Corpus BLEU, 0..100 (Papineni et al. 2002). Columns as sacrebleu's: length, that of the reference, matches of
    orders 1 to 4, n-grams of orders 1 to 4.

    Args:
        sums: [..., 10].
        smooth: whether the j-th order without a match counts as 2^-j of one (sacrebleu's "exp"); else BLEU is 0 there.
    """
    matches, totals = sums[..., 2 : 2 + _WORDS], sums[..., 2 + _WORDS :]
    missed = matches < _NO_MATCH
    halves = 0.5 ** np.cumsum(missed, axis=-1)
    precisions = _quotient(np.where(missed, halves, matches) if smooth else matches, totals, 0.0)
    # sums[..., 0] is 0 only where nothing was written, and then nothing matches.
    penalty = np.exp(np.minimum(0.0, 1 - _quotient(sums[..., 1], sums[..., 0], np.inf)))
    with np.errstate(divide="ignore"):
        mean = np.exp(np.log(precisions).mean(axis=-1))
    return np.where(missed.all(axis=-1), 0.0, 100 * penalty * mean)


def _chrf(sums: Floats) -> Floats:
    """chrF2, 0..100 (Popovic 2015). Columns as sacrebleu's: for each order 1 to 6 the n-grams written, those of the
    reference, matches. Precision and recall are averaged over the orders that both texts have.
    """
    written, true, matches = np.moveaxis(sums.reshape(*sums.shape[:-1], _CHARACTERS, 3), -1, 0)
    known = (written > 0) & (true > 0)
    orders = known.sum(axis=-1).astype(np.float64)
    precision = _quotient(np.where(known, _quotient(matches, written, 0.0), 0.0).sum(axis=-1), orders, 0.0)
    recall = _quotient(np.where(known, _quotient(matches, true, 0.0), 0.0).sum(axis=-1), orders, 0.0)
    return 100 * _quotient((1 + _BETA**2) * precision * recall, _BETA**2 * precision + recall, 0.0)


#: By the name that `SampleValues` bear.
STATISTICS: Mapping[str, Statistic] = {
    "mean": Statistic(2, _ratio),
    "ratio": Statistic(2, _ratio),
    "exp_ratio": Statistic(2, _exp_ratio),
    "bleu": Statistic(2 + 2 * _WORDS, partial(_bleu, smooth=True)),
    "bleu_unsmoothed": Statistic(2 + 2 * _WORDS, partial(_bleu, smooth=False)),
    "chrf": Statistic(3 * _CHARACTERS, _chrf),
}


def total(values: SampleValues) -> float:
    """The figure of all samples together; not a number, or infinite, where they give none.

    Raises:
        ValueError: as `summands`.
    """
    rows = summands(values)
    return float(STATISTICS[values.statistic](rows.sum(axis=0)))


def bits_per_byte(texts: Iterable[Mapping[str, Any]]) -> SampleValues:
    """Bits by bytes of texts with ``nats`` and ``bytes``, one row a text."""
    return SampleValues("ratio", [[text["nats"] / math.log(2), float(text["bytes"])] for text in texts])


def summands(values: SampleValues) -> Floats:
    """The rows [n, k] as an array.

    Raises:
        ValueError: for an unknown statistic, no rows, rows of another width, or numbers that are not finite.
    """
    if values.statistic not in STATISTICS:
        raise ValueError(f"unknown statistic {values.statistic!r}, known: {', '.join(STATISTICS)}")
    columns = STATISTICS[values.statistic].columns
    rows = np.asarray(values.rows, dtype=np.float64)
    if not rows.size:
        raise ValueError("no samples to compare")
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(f"rows of {values.statistic} are [n, {columns}], these are {list(rows.shape)}")
    if not np.isfinite(rows).all():
        raise ValueError(f"row {int((~np.isfinite(rows)).any(axis=1).argmax())} is not finite")
    return rows
