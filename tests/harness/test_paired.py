"""Paired comparisons against scipy, sacrebleu, all swaps counted by hand, and simulation."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from harness import paired
from harness.metrics import ScoreInput, get_metric
from harness.metrics.base import SampleValues
from harness.paired import ALPHA, Comparison, compare, compare_by_keys, figure_of, holm, paired_values
from harness.sums import STATISTICS

Rows = list[list[float]]


def means(values: Any) -> SampleValues:
    return SampleValues.mean([float(value) for value in values])


def mean_difference(x: Any, y: Any, axis: int = 0) -> Any:
    return np.mean(y, axis=axis) - np.mean(x, axis=axis)


def draw(statistic: str, rng: np.random.Generator, n: int, shift: float = 0.0) -> Rows:
    """Rows of a statistic, skewed and of unequal weight; `shift` raises the figure."""
    if statistic == "mean":
        return [[value, 1] for value in rng.exponential(1.0, n) + shift]
    if statistic in ("ratio", "exp_ratio"):
        weights = rng.integers(5, 40, n)
        return [[(rate + shift) * weight, weight] for rate, weight in zip(rng.gamma(4, 0.5, n), weights, strict=True)]
    lengths, chance = rng.integers(4, 15, n), np.clip(rng.beta(6, 4, n) + shift, 0, 1)
    totals = np.stack([lengths - order for order in range(4)], axis=1)
    matches = rng.binomial(totals, chance[:, None] ** np.arange(1, 5))
    rows: Rows = np.column_stack([lengths, lengths, matches, totals]).astype(float).tolist()
    return rows


# --- known answers ----------------------------------------------------------------------------------------------------


def test_few_pairs_have_scipys_exact_p() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 5, 9, 12):
        x, y = rng.normal(0, 1, n), rng.normal(0.5, 1, n)
        exact = scipy.stats.permutation_test(
            (x, y), mean_difference, permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        assert compare(means(x), means(y)).p == pytest.approx(exact.pvalue, abs=1e-12)


def test_many_pairs_have_scipys_p_but_for_the_tosses() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, 80)
    for shift in (0.1, 0.2, 0.35):
        y = x + rng.normal(shift, 1, 80)
        theirs = scipy.stats.permutation_test(
            (x, y), mean_difference, permutation_type="samples", n_resamples=9999, vectorized=True, rng=0
        )
        ours = compare(means(x), means(y)).p
        assert ours is not None
        assert ours == pytest.approx(theirs.pvalue, abs=4 * math.sqrt(2 * ours * (1 - ours) / 9999))


@pytest.mark.parametrize("statistic", list(STATISTICS))
def test_p_counts_all_swaps_of_any_statistic(statistic: str) -> None:
    rng, n, k = np.random.default_rng(2), 8, STATISTICS[statistic].columns
    a, b = (np.cumsum(rng.integers(1, 5, (n, k)), axis=1)[:, ::-1].astype(float) for _ in range(2))
    figure = STATISTICS[statistic]
    found = []
    for swap in itertools.product([False, True], repeat=n):
        first, second = np.where(np.array(swap)[:, None], b, a), np.where(np.array(swap)[:, None], a, b)
        found.append(abs(figure(second.sum(axis=0)) - figure(first.sum(axis=0))))
    share = np.mean(np.array(found) >= found[0] - 1e-12)
    result = compare(SampleValues(statistic, a.tolist()), SampleValues(statistic, b.tolist()))
    assert result.p == pytest.approx(float(share), abs=1e-12)
    assert 0 < share < 1
    assert result.difference == pytest.approx(float(figure(b.sum(axis=0)) - figure(a.sum(axis=0))))


def test_interval_is_scipys_but_for_the_draws() -> None:
    rng = np.random.default_rng(3)
    x = rng.exponential(1, 300)
    y = x * rng.uniform(0.8, 1.5, 300)
    theirs = scipy.stats.bootstrap(
        (x, y), mean_difference, paired=True, vectorized=True, method="percentile", n_resamples=20_000, rng=0
    )
    ours = compare(means(x), means(y))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.06 * width)
    assert ours.detectable == pytest.approx((1.959964 + 0.841621) * theirs.standard_error, rel=0.08)


def test_pairs_show_what_two_sets_would_not() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(0, 10, 100)
    result = compare(means(x), means(x + rng.normal(0.5, 1, 100)))
    assert result.p is not None
    assert result.p < 0.001
    assert result.low is not None
    assert result.low > 0
    apart = compare(means(x), means(rng.permutation(x + rng.normal(0.5, 1, 100))))
    assert apart.p is not None
    assert apart.p > 0.05


# --- sacrebleu --------------------------------------------------------------------------------------------------------


def translations(seed: int, kept: float) -> tuple[list[str], list[str]]:
    """Texts in which each word of the truth is kept with a chance, and the truth."""
    rng = random.Random(seed)
    truth = [[rng.choice("abcdefghij") * 2 for _ in range(rng.randint(3, 14))] for _ in range(60)]
    noise = random.Random(seed * 1000 + round(kept * 100))
    texts = [[word if noise.random() < kept else "zz" for word in words] for words in truth]
    return [" ".join(words) for words in texts], [" ".join(words) for words in truth]


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU(force=True)), ("chrf", CHRF())])
def test_sacrebleus_paired_test_says_the_same(name: str, metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "1")
    worse, truth = translations(1, 0.80)
    for kept in (0.81, 0.83, 0.92):
        better, _ = translations(1, kept)
        systems = [("worse", worse), ("better", better)]
        _, found = PairedTest(systems, {name: metric}, [truth], "ar", n_samples=4000)()
        theirs = next(results for key, results in found.items() if key != "System")
        scores = [
            get_metric(name).score(ScoreInput(texts, paired_references=[[t] for t in truth], task="seq2seq")).samples
            for texts in (worse, better)
        ]
        assert scores[0] is not None
        assert scores[1] is not None
        ours = compare(scores[0], scores[1])
        assert (ours.a, ours.b) == pytest.approx((theirs[0].score, theirs[1].score), abs=1e-9)
        assert ours.p == pytest.approx(theirs[1].p_value, abs=0.035)
        assert ours.difference == pytest.approx(theirs[1].score - theirs[0].score, abs=1e-9)


# --- simulation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", ["mean", "exp_ratio", "bleu"])
def test_one_in_twenty_is_called_different_where_none_is(statistic: str) -> None:
    rng, trials = np.random.default_rng(5), 400
    hits = 0
    for trial in range(trials):
        a, b = (SampleValues(statistic, draw(statistic, rng, 40)) for _ in range(2))
        hits += (compare(a, b, seed=trial, tosses=199).p or 0) <= ALPHA
    assert abs(hits / trials - ALPHA) < 3.3 * math.sqrt(ALPHA * (1 - ALPHA) / trials)


def test_holm_keeps_the_error_of_a_family() -> None:
    rng, families, size = np.random.default_rng(6), 200, 6
    wrong = unadjusted = 0
    for family in range(families):
        pairs = [(means(rng.exponential(1, 20)), means(rng.exponential(1, 20))) for _ in range(size)]
        ps = [compare(a, b, seed=family, tosses=999).p or 0 for a, b in pairs]
        wrong += min(holm(ps)) <= ALPHA
        unadjusted += min(ps) <= ALPHA
    assert wrong / families < ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / families)
    assert unadjusted / families > 0.15  # without Holm the family would err this often


@pytest.mark.parametrize("statistic", ["mean", "exp_ratio", "bleu"])
def test_a_difference_that_is_detectable_is_found_four_times_in_five(statistic: str) -> None:
    rng, n, figure = np.random.default_rng(7), 150, STATISTICS[statistic]

    def sample(shift: float) -> Comparison:
        a, b = draw(statistic, rng, n), draw(statistic, rng, n, shift)
        return compare(SampleValues(statistic, a), SampleValues(statistic, b), tosses=199)

    def true_figure(shift: float) -> float:
        return float(figure(np.sum(draw(statistic, rng, 200_000, shift), axis=0)))

    shift = 0.1
    for _ in range(4):  # to where the true difference is the one that samples with it call detectable
        promised = float(np.mean([sample(shift).detectable for _ in range(40)]))
        shift *= promised / (true_figure(shift) - true_figure(0.0))
    found = [sample(shift).p or 0 for _ in range(400)]
    assert np.mean(np.array(found) <= ALPHA) == pytest.approx(0.8, abs=0.07)


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    rng, hits = np.random.default_rng(8), 0
    for trial in range(400):
        a, b = draw("exp_ratio", rng, 100), draw("exp_ratio", rng, 100)
        result = compare(SampleValues("exp_ratio", a), SampleValues("exp_ratio", b), seed=trial, tosses=19)
        assert result.low is not None
        assert result.high is not None
        hits += result.low <= 0 <= result.high
    assert 0.91 <= hits / 400 <= 0.98


# --- edges ------------------------------------------------------------------------------------------------------------


def test_equal_values_are_no_difference() -> None:
    values = means([0.1, 0.7, 0.7, 0.2] * 20)
    assert compare(values, values) == Comparison(0.425, 0.425, 0.0, 0.0, 0.0, 1.0, 80, None)
    constant = means([1.0] * 30)
    assert compare(constant, constant).p == 1.0


def test_rounding_is_no_difference() -> None:
    x = np.random.default_rng(9).uniform(1e5, 2e5, 50)
    order = np.random.default_rng(10).permutation(50)
    assert compare(means(x), means(x[order])).p == 1.0  # the same sum in another order


def test_the_direction_plays_no_part_in_p() -> None:
    rng = np.random.default_rng(11)
    a, b = means(rng.normal(0, 1, 50)), means(rng.normal(0.4, 1, 50))
    there, back = compare(a, b), compare(b, a)
    assert there.p == back.p
    assert there.difference == -back.difference
    assert there.low == pytest.approx(-(back.high or 0))
    assert there.detectable == back.detectable


def test_a_difference_the_same_in_all_pairs() -> None:
    result = compare(means(range(50)), means(range(1, 51)))
    assert (result.low, result.high, result.p) == (1.0, 1.0, 1e-4)
    assert result.detectable is None  # no spread: nothing can be said of how small a difference would be seen


@pytest.mark.parametrize(("differing", "told"), [(5, False), (6, True)])
def test_too_few_pairs_that_differ_tell_nothing_of_what_is_detectable(differing: int, told: bool) -> None:
    """Even if all of five point the same way, p is 2 / 2^5 = 0.0625."""
    a, b = [0.0] * 100, [1.0] * differing + [0.0] * (100 - differing)
    result = compare(means(a), means(b))
    assert (result.detectable is not None) == told
    assert result.p is not None
    assert (result.p < ALPHA) == told


def test_same_seed_same_answer() -> None:
    rng = np.random.default_rng(12)
    a, b = means(rng.normal(0, 1, 60)), means(rng.normal(0.3, 1, 60))
    first = compare(a, b, seed=1)
    paired._weights.cache_clear()
    assert compare(a, b, seed=1) == first
    other = compare(a, b, seed=2)
    assert (other.low, other.p) != (first.low, first.p)
    assert other.difference == first.difference


def test_tosses_are_fair_and_sum_what_they_swap() -> None:
    coins = paired._coins(21, 0, 4000)
    assert coins.shape == (3, 4001)
    swapped = np.unpackbits(coins, axis=0, bitorder="little", count=21).T
    assert not swapped[0].any()
    assert swapped[1:].mean(axis=0) == pytest.approx([0.5] * 21, abs=0.04)
    rows = np.random.default_rng(13).normal(size=(21, 3))
    assert paired._tossed(rows, 0, 4000) == pytest.approx(swapped @ rows)


@pytest.mark.parametrize("n", [2, 8, 9, 13])
def test_few_pairs_are_swapped_in_every_way_once(n: int) -> None:
    swapped = np.unpackbits(paired._coins(n, 0, 9999), axis=0, bitorder="little", count=n)
    assert len({tuple(way) for way in swapped.T.tolist()}) == swapped.shape[1] == 2**n


def test_blocks_of_resamples_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(13).normal(size=(60, 3))
    whole = paired.resampled_sums(rows, 0)
    assert whole == pytest.approx(paired._weights(60, 0) @ rows)
    assert (paired._weights(60, 0).sum(axis=1) == 60).all()
    monkeypatch.setattr(paired, "_BLOCK_CELLS", 1000)
    assert paired.resampled_sums(rows, 0) == pytest.approx(whole)


def test_p_is_never_0() -> None:
    result = compare(means([0.0] * 100), means([1.0 + i / 1e3 for i in range(100)]), tosses=99)
    assert result.p == 0.01


def test_one_pair_says_nothing() -> None:
    assert compare(means([1.0]), means([3.0])) == Comparison(1.0, 3.0, 2.0, None, None, None, 1, None)
    assert figure_of(means([2.0])) == (2.0, None, None)


def test_figure_with_its_interval() -> None:
    values = np.random.default_rng(14).exponential(2, 400)
    value, low, high = figure_of(means(values))
    assert value == pytest.approx(values.mean())
    assert low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.05)
    assert high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.05)


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: compare(means([1.0, 2.0]), means([1.0])), "not comparable in pairs"),
    (lambda: compare(means([1.0]), SampleValues("ratio", [[1.0, 1]])), "not comparable in pairs"),
    (lambda: compare(means([]), means([])), "no samples"),
    (lambda: compare(means([1.0, math.nan]), means([1.0, 1.0])), "row 1 is not finite"),
    (lambda: compare(means([1.0, 1.0]), SampleValues("mean", [[0, 0], [0, 0]])), "no finite figure but nan"),
    (lambda: figure_of(SampleValues("exp_ratio", [[1e4, 1], [1e4, 1]])), "no finite figure but inf"),
    (lambda: figure_of(SampleValues("other", [[1.0]])), "unknown statistic"),
    (lambda: holm([0.1, math.nan]), "not all are in 0..1"),
    (lambda: holm([1.2]), "not all are in 0..1"),
    (lambda: paired_values([1], means([1.0, 2.0]), [1], means([1.0])), "argument 2 is longer"),
    (lambda: paired_values([1, 1], means([1.0, 2.0]), [1], means([1.0])), "two samples have the same key"),
]


@pytest.mark.parametrize(("attempt", "problem"), BAD)
def test_bad_input(attempt: Callable[[], Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        attempt()


def test_resamples_and_swaps_without_a_figure() -> None:
    # Three of four samples have no denominator, so some resamples and swaps have no figure.
    a = SampleValues("ratio", [[2.0, 1], [0, 0], [0, 0], [0, 0]])
    b = SampleValues("ratio", [[0, 0], [0, 0], [0, 0], [5.0, 1]])
    result = compare(a, b)
    assert result.difference == 3.0
    assert result.p == 1.0
    assert (result.low, result.high) == (3.0, 3.0)


# --- Holm and keys ----------------------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_pairs_are_what_both_have() -> None:
    a, b = means([1.0, 2.0, 3.0, 4.0]), means([40.0, 10.0, 30.0])
    first, second = paired_values([(0, 1), (0, 2), (1, 0), (1, 1)], a, [(1, 1), (0, 1), (2, 0)], b)
    assert first == means([1.0, 4.0])
    assert second == means([10.0, 40.0])


def test_comparison_of_what_both_have() -> None:
    rng = np.random.default_rng(15)
    x, y = rng.normal(0, 1, 50), rng.normal(0.3, 1, 50)
    plain = compare(means(x), means(y))
    assert compare_by_keys(range(50), means(x), list(range(50))[::-1], means(y[::-1])) == plain
    assert compare_by_keys(range(50), means(x), range(50, 100), means(y)) is None


def test_no_figure_over_what_both_have() -> None:
    a = SampleValues("ratio", [[1.0, 2], [0, 0], [0, 0]])
    b = SampleValues("ratio", [[1.0, 2], [3.0, 2], [1.0, 2]])
    assert compare_by_keys([0, 1, 2], a, [1, 2, 3], b) is None
    assert compare_by_keys([0, 1, 2], a, [0, 1, 2], b) is not None
