"""The sections of a report: rows are put apart by benchmark and by task, and likelihoods have sections of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import comparable
from harness.report.data import Metric, ReportData, Row, group_by, key_of


@dataclass(frozen=True)
class Place:
    """What one section tells of.

    Attributes:
        kind: "generate" or "likelihood".
        benchmark: its name, None where the rows do not say.
        task: of generation; None for likelihoods as this version plans them.
        alone: whether the run has no other place of its kind, so that nothing needs to name this one.
        rows: its rows, finished or not, a choice among seeds after the rows of these seeds; none where the run has
            nothing of this kind.
        metrics: those of its rows, in the order in which the benchmark lists them.
        facts: of the benchmark.
        twin: 1, or a further number where the id would be another place's.
    """

    kind: str
    benchmark: str | None
    task: str | None
    alone: bool
    rows: list[Row]
    metrics: list[Metric]
    facts: Mapping[str, Any]
    twin: int = 1

    @property
    def title(self) -> str:
        """Benchmark and task, or "likelihood"."""
        return f"{self.benchmark or 'unknown benchmark'} \u00b7 {self._what}"

    @property
    def id(self) -> str:
        """For links and file names: letters, digits, "_", and "-" between benchmark and task."""
        return f"{slug(self.benchmark)}-{slug(self._what)}{f'-{self.twin}' if self.twin > 1 else ''}"

    @property
    def _what(self) -> str:
        return (self.kind == "generate" and self.task) or self.kind

    @property
    def suffix(self) -> str:
        """What makes an id on the page the place's own; "" where it is alone."""
        return "" if self.alone else f"-{self.id}"


def places_of(data: ReportData, rows: Sequence[Row], metrics: Sequence[Metric]) -> list[Place]:
    """The places of a run, benchmark after benchmark, each with its tasks and then its likelihoods.

    A run of one benchmark and one task has two, whether it has rows of both kinds or not.
    """
    found = group_by((row for row in rows if row.get("kind") in ("generate", "likelihood")), comparable.place)
    generated = [key for key in found if key[0] == "generate"]
    alone = len(generated) <= 1 and len({benchmark for _, benchmark, _ in found}) <= 1
    if alone:
        benchmark = next((key[1] for key in found), None)
        keys = [*(generated or [("generate", benchmark, None)]), ("likelihood", benchmark, None)]
    else:
        benchmarks = list(dict.fromkeys([*data.benchmarks, *(benchmark for _, benchmark, _ in found)]))
        keys = sorted(found, key=lambda key: (benchmarks.index(key[1]), key[0] == "likelihood"))
    places = [_place(key, alone, found.get(key, []), metrics, data.benchmarks.get(str(key[1]), {})) for key in keys]
    return [replace(p, twin=1 + sum(other.id == p.id for other in places[:i])) for i, p in enumerate(places)]


def _place(
    key: tuple[Any, Any, Any], alone: bool, rows: list[Row], metrics: Sequence[Metric], facts: Mapping[str, Any]
) -> Place:
    kind, benchmark, task = key
    listed = {name: i for i, name in enumerate(facts.get("metrics", ()))}
    mine = sorted((m for m in metrics if _has(rows, m.name)), key=lambda m: listed.get(m.name, len(listed)))
    together = [row for same in group_by(rows, _but_for_the_seed).values() for row in same]
    return Place(kind, benchmark, task, alone, together, mine, facts)


def _but_for_the_seed(row: Row) -> str:
    """Equal for rows that differ in nothing but the seed, and for the choice among their texts, which follows them."""
    fields = ("model", "checkpoint", "engine", "scheduler", "estimator", "steps", "options", "batch_size", "length")
    return key_of(row, fields)


def _has(rows: Sequence[Row], metric: str) -> bool:
    """Whether any row has the metric, or the reason why not."""
    return any(row.get(column) is not None for row in rows for column in (metric, f"{metric}_reason"))


def slug(text: Any) -> str:
    """`text` as a part of ids and file names."""
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in str(text))
