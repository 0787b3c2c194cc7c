"""The figures of a run one by one: a record is one way of sampling, or one likelihood estimate, of one checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness import __version__, comparable
from harness.report.data import (
    LIKELIHOOD_FIGURES,
    Estimate,
    Row,
    as_text,
    estimate,
    is_done,
    metric_title,
    number,
    row_label,
)
from harness.report.entries import SAME, Entry
from harness.report.page import Page
from harness.report.places import Place

_COSTS = (
    *("nfe_mean", "seconds_per_sequence", "sequences_per_second", "tokens_per_second", "peak_memory_bytes"),
    *("parameters", "load_seconds", "first_call_seconds", "seconds_median"),
)
_PROTOCOL = ("options", "samples", "length", "batch_size", "precision", "dtype", "engine", "selection", "candidates")
_WHERE = ("run", "runtime", "device", "machine", "threads", "image_digest")


@dataclass(frozen=True)
class Record:
    """One record.

    Attributes:
        place: benchmark and task, or the likelihoods of a benchmark.
        model: name of the model.
        checkpoint: name of its weights.
        kind: of the checkpoint: "published", "tiny", "imported", ...
        role: "model", "baseline" or "control".
        name: how it was got, in a few words: scheduler and steps, or estimator.
        method: the same without the steps.
        steps: sampler steps; None where there are none.
        protocol: what the figures depend on.
        figures: by metric, its title and value.
        costs: by column of the table, mean over seeds; only what was measured.
        tags: what else a reader must know.
        fingerprints: of its rows.
        line: equal for records that differ in the steps alone.
    """

    place: Place
    model: str
    checkpoint: str
    kind: str
    role: str
    name: str
    method: str
    steps: int | None
    protocol: dict[str, Any]
    figures: dict[str, tuple[str, Estimate]]
    costs: dict[str, float]
    tags: dict[str, str]
    fingerprints: tuple[str, ...]
    line: str

    @cached_property
    def title(self) -> str:
        """Model, place and how it was got."""
        return f"{self.model}, {self.place.title}, {self.name}"

    @cached_property
    def params(self) -> dict[str, Any]:
        """What was run."""
        own = {"model": self.model, "checkpoint": self.checkpoint, "role": self.role, "benchmark": self.place.benchmark}
        return {**own, **self.protocol}

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All numbers: ``quality/METRIC`` with ``interval/METRIC_low`` and ``_high``, and ``cost/COLUMN``."""
        found = {}
        for metric, (_, value) in self.figures.items():
            ends = {"low": value.low, "high": value.high}
            found[f"quality/{metric}"] = value.value
            found |= {f"interval/{metric}_{end}": v for end, v in ends.items() if v is not None}
        return found | {f"cost/{column}": value for column, value in self.costs.items()}


def records_of(page: Page) -> list[Record]:
    """The records of all finished rows of a page, place after place."""
    return [record for place in page.places for record in _of_place(page, place)]


def _of_place(page: Page, place: Place) -> list[Record]:
    if place.kind == "generate":
        return [_sampled(place, entry) for entry in page.entries(place)]
    return [_scored(page, place, row) for row in place.rows if is_done(row)]


def _sampled(place: Place, entry: Entry) -> Record:
    row = entry.rows[0]
    control = entry.role == "control"
    steps = [] if entry.steps is None else [f"{entry.steps} steps"]
    protocol = {
        "task": place.task,
        "scheduler": row.get("scheduler"),
        "steps": entry.steps,
        "seeds": [seed for r in entry.rows if (seed := r.get("seed")) is not None],
        **{field: row.get(field) for field in _PROTOCOL},
        "judge": (row.get("gen_ppl_settings") or {}).get("judge"),
    }
    figures = {m.name: (m.title, e) for m in place.metrics if (e := entry.estimate(m.name))}
    method = "" if control else entry.method
    name = ", ".join([method or "control", *steps])
    return _record(place, entry.rows, name, method, entry.steps, protocol, figures)


def _scored(page: Page, place: Place, row: Row) -> Record:
    bound, method = as_text(row.get("bound")).replace("_", " "), page.names.method(row)
    protocol = {"estimator": row.get("estimator"), "bound": bound, **{field: row.get(field) for field in _PROTOCOL}}
    figures = {name: (metric_title(name), e) for name in LIKELIHOOD_FIGURES if (e := estimate(row, name))}
    return _record(place, [row], f"{method}, {bound}" if bound else method, method, None, protocol, figures)


def _record(
    place: Place,
    rows: Sequence[Row],
    name: str,
    method: str,
    steps: int | None,
    protocol: Mapping[str, Any],
    figures: dict[str, tuple[str, Estimate]],
) -> Record:
    row = rows[0]
    return Record(
        place=place,
        model=as_text(row.get("model")),
        checkpoint=as_text(row.get("checkpoint")),
        kind=row_label(row),
        role=as_text(row.get("role")) or "model",
        name=name,
        method=method,
        steps=steps,
        protocol={**{k: v for k, v in protocol.items() if v not in (None, "", {}, [])}, "tdbench": __version__},
        figures=figures,
        costs={column: mean for column in _COSTS if (mean := _mean(rows, column)) is not None},
        tags=_tags(place, rows),
        fingerprints=tuple(as_text(r.get("fingerprint")) for r in rows),
        line=digest([place.id, row.get("estimator"), *(row.get(field) for field in SAME if field != "steps")]),
    )


def _mean(rows: Sequence[Row], column: str) -> float | None:
    """Mean over seeds; None where any is unknown or, for imported texts, was not measured here."""
    known = [value for row in rows if (value := number(row.get(column))) is not None]
    return sum(known) / len(rows) if len(known) == len(rows) and not any(map(comparable.is_imported, rows)) else None


def _tags(place: Place, rows: Sequence[Row]) -> dict[str, str]:
    row = rows[0]
    notes = dict.fromkeys(note for r in rows for note in comparable.notes_of(r))
    tags = {
        "place": place.title,
        "checkpoint_kind": row_label(row),
        **{field: as_text(row.get(field)) for field in (*_WHERE, comparable.GROUP, comparable.REASON)},
        "notes": "; ".join(notes),
        "fingerprints": ",".join(as_text(r.get("fingerprint")) for r in rows),
    }
    return {key: value for key, value in tags.items() if value}


def digest(value: Any) -> str:
    """A short hash of anything JSON can hold, 16 hex digits; equal for equal content."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
