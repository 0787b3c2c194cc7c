"""Many comparisons at once must say what each of them says alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.metrics.base import SampleValues
from harness.paired import TOSSES, compare
from harness.paired_grid import compare_all, gives_a_figure, resampled_figures


def things(count: int, n: int, statistic: str, step: float = 0.03) -> list[SampleValues]:
    rng = np.random.default_rng(n)
    below = np.ones(n) if statistic == "mean" else rng.integers(3, 9, n).astype(float)
    drawn = [np.stack([rng.normal(1 + step * i, 0.2, n), below], axis=1) for i in range(count)]
    return [SampleValues(statistic, mine.tolist()) for mine in drawn]


@pytest.mark.parametrize("statistic", ["mean", "ratio", "exp_ratio"])
@pytest.mark.parametrize("n", [2, 9, 60, 300])
def test_each_comparison_is_that_of_the_pair_alone(statistic: str, n: int) -> None:
    values = things(5, n, statistic)
    pairs = [(0, 1), (3, 1), (4, 0), (2, 3)]
    for (i, j), together in zip(pairs, compare_all(values, pairs), strict=True):
        alone = compare(values[i], values[j])
        assert (together.a, together.b, together.pairs) == (alone.a, alone.b, alone.pairs)
        assert (together.difference, together.low, together.high) == (alone.difference, alone.low, alone.high)
        assert together.detectable == alone.detectable
        assert together.p is not None
        assert together.p == pytest.approx(alone.p, abs=0.05)
        if n <= 9:  # all swaps are tried
            assert together.p == pytest.approx(alone.p)


def test_p_is_not_held_up_by_the_number_of_tosses() -> None:
    """Thousands of pairs multiply p by thousands: a difference of many standard errors must outlive that."""
    (found,) = compare_all(things(2, 300, "mean", step=0.2), [(0, 1)])
    assert found.p is not None
    assert 0 < found.p < 1e-9 < 1 / (TOSSES + 1)


def test_the_bound_is_never_below_the_true_p() -> None:
    """All pairs differ the same way: the exact p is 2 / 2^n, and nothing may claim less."""
    for n in (14, 20, 40):
        same, more = (SampleValues("mean", [[x, 1.0]] * n) for x in (0.0, 1.0))
        (found,) = compare_all([same, more], [(0, 1)])
        assert found.p is not None
        assert found.p >= 2 / 2**n


def test_equal_values_are_no_difference() -> None:
    values = things(1, 50, "mean") * 2
    (found,) = compare_all(values, [(0, 1)])
    assert (found.difference, found.p) == (0.0, 1.0)


def test_fewer_than_two_samples_have_no_test() -> None:
    (found,) = compare_all(things(2, 1, "mean"), [(0, 1)])
    assert found.p is found.low is found.detectable is None


@pytest.mark.parametrize(
    "values",
    [
        [things(1, 5, "mean")[0], things(1, 6, "mean")[0]],
        [things(1, 5, "mean")[0], things(1, 5, "ratio")[0]],
        [things(1, 5, "mean")[0], SampleValues("mean", [[math.nan, 1.0]] * 5)],
        [things(1, 5, "mean")[0], SampleValues("mean", [[1.0, 0.0]] * 5)],
        [things(1, 5, "mean")[0], SampleValues("no_such", [[1.0, 1.0]] * 5)],
    ],
)
def test_what_cannot_be_compared_is_an_error(values: list[SampleValues]) -> None:
    with pytest.raises(ValueError, match=r"compar|finite|statistic"):
        compare_all(values, [(0, 1)])


def test_no_pairs_need_no_values() -> None:
    assert compare_all([], []) == []


@pytest.mark.parametrize(
    ("values", "known"),
    [
        (SampleValues("mean", [[1.0, 1.0]]), True),
        (SampleValues("mean", [[1.0, 0.0]]), False),
        (SampleValues("mean", [[math.inf, 1.0]]), False),
        (SampleValues("mean", []), False),
        (SampleValues("no_such", [[1.0, 1.0]]), False),
        (SampleValues("exp_ratio", [[1e9, 1.0]]), False),
    ],
)
def test_gives_a_figure(values: SampleValues, known: bool) -> None:
    assert gives_a_figure(values) is known


def test_things_are_resampled_together() -> None:
    """Two things that differ by the same in every sample differ by it in every resample."""
    first = things(1, 80, "mean")[0]
    second = SampleValues("mean", [[value + 1, one] for value, one in first.rows])
    drawn = resampled_figures([first, second])
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(np.ones(len(drawn)))
    assert drawn[:, 0].std() > 0
