from __future__ import annotations

import math

import numpy as np
import pytest

from harness import stats


def test_mean_interval_holds_the_true_mean_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        interval = stats.bootstrap_mean(rng.exponential(2.0, size=60), seed=trial, resamples=400)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 2.0 <= interval.high
    assert 0.88 <= hits / 300 <= 0.98


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    low, high = stats.bootstrap_mean(values)
    assert low is not None
    assert high is not None
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(2000), rel=0.1)


def test_same_seed_same_interval_other_seed_another() -> None:
    values = [1.0, 5.0, 2.0, 8.0, 3.0]
    assert stats.bootstrap_mean(values, seed=3) == stats.bootstrap_mean(values, seed=3)
    assert stats.bootstrap_mean(values, seed=3) != stats.bootstrap_mean(values, seed=4)


def test_blocks_cover_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "_BLOCK_CELLS", 64)
    blocks = list(stats._resampled_sums(np.ones((10, 2)), 100, 0))
    assert sum(len(block) for block in blocks) == 100
    assert all((block == 10).all() for block in blocks)


def test_ratio_pairs_numerator_and_denominator() -> None:
    # Each sample has the ratio 3 exactly, whatever its weight: drawn as pairs, the ratio cannot vary.
    low, high = stats.bootstrap_ratio([3.0, 30.0, 300.0], [1.0, 10.0, 100.0])
    assert (low, high) == (pytest.approx(3.0), pytest.approx(3.0))


def test_ratio_leaves_out_resamples_of_nothing() -> None:
    low, high = stats.bootstrap_ratio([0.0, 2.0], [0.0, 1.0])
    assert (low, high) == (2.0, 2.0)
    assert stats.bootstrap_ratio([0.0, 0.0], [0.0, 0.0]) == stats.UNKNOWN


def test_several_ratios_share_their_resamples() -> None:
    above, once, twice = [1.0, 4.0, 2.0, 9.0], [1.0, 2.0, 2.0, 3.0], [2.0, 4.0, 4.0, 6.0]
    first, second = stats.bootstrap_ratios(above, [once, twice])
    assert first == stats.bootstrap_ratio(above, once)
    assert second == pytest.approx([value / 2 for value in first if value is not None])
    assert stats.bootstrap_ratios([1.0], [[1.0], [2.0]]) == [stats.UNKNOWN, stats.UNKNOWN]
    with pytest.raises(ValueError, match="4 numerators for 1"):
        stats.bootstrap_ratios(above, [once, [1.0]])


def test_ratio_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="2 numerators for 1"):
        stats.bootstrap_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize("values", [[], [4.0]])
def test_too_few_samples_have_no_interval(values: list[float]) -> None:
    assert stats.bootstrap_mean(values) == stats.Interval(None, None)


def test_interval_goes_through_a_rising_function() -> None:
    assert stats.Interval(0.0, 1.0).map(math.exp) == (1.0, math.e)
    assert stats.UNKNOWN.map(math.exp) == stats.UNKNOWN


def test_jackknife_by_hand() -> None:
    # Texts "a b", "a c", "a a": types {a, b, c}, 6 tokens. Without each: 2/4, 2/4, 3/4.
    low, high = stats.jackknife_distinct(3, 6, own_types=[1, 1, 0], own_tokens=[2, 2, 2])
    mean = (0.5 + 0.5 + 0.75) / 3
    error = math.sqrt(2 / 3 * (2 * (0.5 - mean) ** 2 + (0.75 - mean) ** 2))
    assert low == pytest.approx(0.5 - 1.96 * error)
    assert high == pytest.approx(0.5 + 1.96 * error)


def test_jackknife_needs_two_samples_with_something_left() -> None:
    assert stats.jackknife_distinct(2, 3, [2], [3]) == stats.UNKNOWN
    assert stats.jackknife_distinct(2, 3, [2, 0], [3, 0]) == stats.UNKNOWN


def test_quartiles() -> None:
    assert stats.quartiles([4.0, 1.0, 3.0, 2.0]) == (1.75, 2.5, 3.25)
    assert stats.quartiles([7.0]) == (7.0, 7.0, 7.0)
    with pytest.raises(ValueError, match="no values"):
        stats.quartiles([])
