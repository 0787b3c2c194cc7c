"""Seconds of two runs: ratio, interval and test over the batches, and only where both ran in the same conditions.

All figures are geometric means of seconds a sequence over full batches, so that one slow batch cannot carry a ratio.
The batches of a point are few, so the test is made for all points of a model together: batches change sides within
their point (stratified permutation, Good 2005, chapter 3), and the interval resamples them within it.

Batches of one run share what the machine was like that hour. Two runs of the same on the same machine may differ by
more than their batches show; that is what an accepted slowdown is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from harness import comparable, stats
from harness.compare.finding import Finding
from harness.compare.pairing import Unit
from harness.compare.quality import Sides, differing
from harness.compare.sides import Side
from harness.errors import counted
from harness.paired import TOSSES
from harness.report.data import Row

Floats = npt.NDArray[np.float64]

#: Fewer batches a side say nothing about how much they vary.
LEAST_BATCHES = 3
TITLE = "seconds a sequence"


def seconds_of(sides: Sides, units: Sequence[tuple[str, Unit]], max_slowdown: float | None) -> list[Finding]:
    """A finding for each unit, which is tested only by the rule of `max_slowdown`, and a tested one for each model.

    Args:
        sides: the two runs.
        units: finished in both, with their names.
        max_slowdown: a point is worse when every batch of B takes longer than this many times any batch of A.
    """
    timed = [(name, unit) for name, unit in units if _is_timed(unit)]
    points = [_point(sides, name, unit, max_slowdown) for name, unit in timed]
    found = [finding for finding, _, _ in points]
    tested = [(unit, a, b) for (_, unit), (finding, a, b) in zip(timed, points, strict=True) if finding.low is not None]
    by_model = group_by_model(tested)
    return [_model(model, strata) for model, strata in by_model.items()] + found


def group_by_model(tested: Sequence[tuple[Unit, Floats, Floats]]) -> dict[str, list[tuple[Floats, Floats]]]:
    """Logarithms of the seconds of each point, by model; generation and likelihood apart."""
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for unit, a, b in tested:
        row = unit.pairs[0].a
        name = f"{row.get('model')}{' likelihood' if row.get('kind') == 'likelihood' else ''}"
        found.setdefault(name, []).append((a, b))
    return found


def _is_timed(unit: Unit) -> bool:
    """Controls run no network, choices among stored texts cost what their candidates did, imports were not timed."""
    rows = [*unit.a, *unit.b]
    return not any(row.get("role") == "control" or row.get("selection") or comparable.is_imported(row) for row in rows)


def _point(sides: Sides, name: str, unit: Unit, max_slowdown: float | None) -> tuple[Finding, Floats, Floats]:
    """The finding of one unit, and the logarithms of its seconds in A and in B."""
    a, b = _logs(sides.a, unit.a), _logs(sides.b, unit.b)
    role = str(unit.pairs[0].a.get("role") or "model")
    blank = Finding(name, "seconds", TITLE, "lower", role, "seconds", count=_count(a, b))
    if not len(a) or not len(b):
        return replace(blank, note="no measured batch in " + ("A" if not len(a) else "B")), a, b
    blank = replace(blank, a=float(np.exp(a.mean())), b=float(np.exp(b.mean())))
    unlike = differing(unit.pairs[0], comparable.TIME, strict=True)
    if unlike:
        return replace(blank, note=f"not the same conditions: {'; '.join(unlike)}"), a, b
    if min(len(a), len(b)) < LEAST_BATCHES:
        note = f"fewer than {LEAST_BATCHES} full batches on a side"
        return replace(blank, verdict="not tested", note=note), a, b
    low, high = _interval([(a, b)])
    made = replace(blank, low=low, high=high, verdict="not tested", note="tested with all points of the model")
    if max_slowdown is not None and b.min() - np.log(max_slowdown) > a.max():
        note = f"every batch of B takes longer than {max_slowdown:g} times any batch of A"
        made = replace(made, verdict="worse", note=note)
    return made, a, b


def _count(a: Floats, b: Floats) -> str:
    return f"{counted(len(a), 'batch').replace('batchs', 'batches')} against {len(b)}"


def _logs(side: Side, rows: Sequence[Row]) -> Floats:
    """Logarithms of the seconds a sequence of the full batches; of all where none is full."""
    found: list[float] = []
    for row in rows:
        sizes = [(line["seconds"], _size(line)) for line in side.lines(row) if line["seconds"]]
        full = [pair for pair in sizes if pair[1] == row.get("batch_size")] or sizes
        found += [seconds / size for seconds, size in full if size]
    return np.log(np.asarray(found, dtype=np.float64))


def _size(line: dict[str, list[object]]) -> int:
    return len(line.get("samples", line.get("likelihoods", ())))


def _model(model: str, strata: Sequence[tuple[Floats, Floats]]) -> Finding:
    """All points of a model as one: the geometric mean of their ratios."""
    ratio = _distance(strata)
    low, high = _interval(strata)
    a = np.mean([first.mean() for first, _ in strata])
    batches = sum(len(first) for first, _ in strata), sum(len(second) for _, second in strata)
    return Finding(
        point=f"{model}, {counted(len(strata), 'point')} together",
        what="seconds",
        title=TITLE,
        better="lower",
        form="seconds",
        a=float(np.exp(a)),
        b=float(np.exp(a + ratio)),
        low=low,
        high=high,
        p=_permutation(strata, ratio),
        count=f"{batches[0]} batches against {batches[1]}",
        verdict="noise",
    )


def _distance(strata: Sequence[tuple[Floats, Floats]]) -> float:
    """Mean over points of the difference of mean logarithms."""
    return float(np.mean([b.mean() - a.mean() for a, b in strata]))


def _interval(strata: Sequence[tuple[Floats, Floats]], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the ratio b / a: bootstrap of the batches within their point and side."""
    rng = np.random.default_rng(seed)

    def means(values: Floats) -> Floats:
        return values[rng.integers(0, len(values), size=(stats.RESAMPLES, len(values)))].mean(axis=1)

    distances = np.mean([means(b) - means(a) for a, b in strata], axis=0)
    low, high = np.quantile(distances, [(1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2])
    return float(np.exp(low)), float(np.exp(high))


def _permutation(strata: Sequence[tuple[Floats, Floats]], observed: float, seed: int = 0) -> float:
    """Two-sided p of the stratified permutation test, (hits + 1) / (tosses + 1)."""
    rng = np.random.default_rng([seed, 1])
    moved = np.zeros(TOSSES)
    for a, b in strata:
        both = np.concatenate([a, b])
        shuffled = rng.permuted(np.broadcast_to(both, (TOSSES, len(both))), axis=1)
        moved += (shuffled[:, len(a) :].mean(axis=1) - shuffled[:, : len(a)].mean(axis=1)) / len(strata)
    hits = int((np.abs(moved) >= abs(observed) * (1 - 1e-9)).sum())
    return (hits + 1) / (TOSSES + 1)
