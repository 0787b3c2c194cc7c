"""Pareto fronts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from harness.report.frontier import Pair, dominated_by, front


def dominates(a: Pair, b: Pair, better: str) -> bool:
    """The definition, for two points."""
    sign = 1 if better == "higher" else -1
    return a != b and a[0] <= b[0] and sign * a[1] >= sign * b[1]


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_agrees_with_the_definition_on_points_with_many_ties(better: str) -> None:
    rng = np.random.default_rng(3)
    for size, _ in itertools.product((1, 2, 7, 60), range(20)):
        pairs = [(float(x), float(y)) for x, y in rng.integers(0, 8, size=(size, 2))]
        found = dominated_by(pairs, better)
        for i, other in enumerate(found):
            assert (other is not None) == any(dominates(p, pairs[i], better) for p in pairs)
            if other is not None:
                assert dominates(pairs[other], pairs[i], better)
                assert found[other] is None, "a point of the front is named"


def test_front_goes_from_the_cheapest_to_the_best() -> None:
    pairs = [(64.0, 0.9), (4.0, 0.3), (16.0, 0.2), (16.0, 0.5), (128.0, 0.9)]
    assert front(pairs, "higher") == [1, 3, 0]
    assert dominated_by(pairs, "higher") == [None, None, 3, None, 0]
    assert front(pairs, "lower") == [1, 2]


def test_equal_points_do_not_dominate_each_other() -> None:
    assert dominated_by([(1.0, 2.0), (1.0, 2.0)], "higher") == [None, None]


def test_nothing_and_one_point() -> None:
    assert front([], "higher") == []
    assert front([(1.0, 1.0)], "lower") == [0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_figures_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        dominated_by([(1.0, bad)], "higher")
    with pytest.raises(ValueError, match="finite"):
        dominated_by([(bad, 1.0)], "higher")


def test_a_metric_without_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="'none'"):
        dominated_by([(1.0, 1.0)], "none")
