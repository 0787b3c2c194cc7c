"""``tdbench compare``: two runs set against each other, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.compare.differs import differences
from harness.compare.finding import Finding
from harness.compare.paired_tests import Waiting, tested
from harness.compare.pairing import STATES, Pair, Unit, nearest, pair_up
from harness.compare.quality import Sides, Texts, evaluations_of, likelihood_of, memory_of, quality_of, texts_of
from harness.compare.request import Request, check_metrics
from harness.compare.result import Alone, Broken, Result, judged
from harness.compare.seconds import seconds_of
from harness.compare.sides import Side, rows_of_interest
from harness.report.data import Metric, Row

#: Of which B has the figure no more.
_NO_MORE = ("failed", "not_available")


def compare_runs(request: Request, results: Path) -> Result:
    """Compare two stored runs.

    Raises:
        UserError: for a run that is not there, or a metric that neither run has.
    """
    sides = Sides(Side.read(results, request.a), Side.read(results, request.b))
    a, b = rows_of_interest(sides.a), rows_of_interest(sides.b)
    pairing = pair_up(a, b, request)
    units = [(sides.name(unit), unit) for unit in pairing.units]
    metrics = list({metric.name: metric for side in (sides.b, sides.a) for metric in side.page.metrics}.values())
    findings, texts = _findings(sides, units, metrics)
    findings += seconds_of(sides, units, request.max_slowdown)
    if findings:
        known = {metric.name: metric.better for metric in metrics}
        check_metrics(request.metrics, known | {finding.what: finding.better for finding in findings})
    pairs = [pair for unit in pairing.units for pair in unit.pairs]
    return Result(
        request=request,
        a=sides.a.facts,
        b=sides.b.facts,
        points=len(pairs),
        findings=judged(findings, request),
        texts=texts,
        differs=differences(sides.a, sides.b, [*pairs, *pairing.unequal], request.by),
        broken=[_broken(sides, pair) for pair in pairing.unequal if pair.a.get("status") == "done"],
        mended=[sides.b.page.names.full(pair.b) for pair in pairing.unequal if pair.b.get("status") == "done"],
        only_a=_alone(sides.a, pairing.only_a, b, request),
        only_b=_alone(sides.b, pairing.only_b, a, request),
    )


def _findings(
    sides: Sides, units: Sequence[tuple[str, Unit]], metrics: Sequence[Metric]
) -> tuple[list[Finding], list[Texts]]:
    """Everything but seconds, and which texts are the same."""
    found: list[Finding | Waiting] = []
    texts: list[Texts] = []
    for name, unit in units:
        if unit.pairs[0].a.get("kind") == "generate":
            texts.append(texts_of(sides, unit, name))
            found += quality_of(sides, unit, metrics, texts[-1])
            found.append(evaluations_of(sides, unit, name))
        else:
            found.append(likelihood_of(sides, unit, name))
        found.append(memory_of(unit, name))
    return tested(found), texts


def _broken(sides: Sides, pair: Pair) -> Broken:
    status = str(pair.b.get("status"))
    why = " ".join(str(pair.b.get("message") or pair.b.get("reason") or "no message recorded").split())
    state = STATES.get(status, status)
    return Broken(sides.a.page.names.full(pair.a), state, why if status in _NO_MORE else "", status in _NO_MORE)


def _alone(side: Side, rows: Sequence[Row], others: Sequence[Row], request: Request) -> list[Alone]:
    return [Alone(side.page.names.full(row), nearest(row, others, request)) for row in rows]
