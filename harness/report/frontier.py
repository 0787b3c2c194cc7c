"""Pareto fronts of cost against quality."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: (cost, quality) of one point.
Pair = tuple[float, float]


def dominated_by(pairs: Sequence[Pair], better: str) -> list[int | None]:
    """For each point, the one that dominates it: costs no more and is as good or better, and not equal in both.

    Of several the one that is on the front and best within the cost of the point; equal points do not dominate each
    other.

    Args:
        pairs: cost (less is better) and quality of each point.
        better: "higher" or "lower" quality.

    Returns:
        Indices into `pairs`, None for the points of the front.

    Raises:
        ValueError: for figures that are not finite, or another direction.
    """
    if better not in ("higher", "lower"):
        raise ValueError(f"quality that is better {better!r} has no front")
    if not all(math.isfinite(x) and math.isfinite(y) for x, y in pairs):
        raise ValueError("a front is made of finite figures")
    sign = -1 if better == "higher" else 1
    keys = [(cost, sign * quality) for cost, quality in pairs]
    found: list[int | None] = [None] * len(pairs)
    best: int | None = None
    for i in sorted(range(len(pairs)), key=keys.__getitem__):
        if best is None or keys[i][1] < keys[best][1]:
            best = i
        elif keys[i] != keys[best]:
            found[i] = best
    return found


def front(pairs: Sequence[Pair], better: str) -> list[int]:
    """Indices of the points that none dominates, cheapest first."""
    none = dominated_by(pairs, better)
    return sorted((i for i, other in enumerate(none) if other is None), key=lambda i: pairs[i])
