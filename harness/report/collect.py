"""Reads a stored run for the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import pandas as pd

from adapters.cards import Card, CheckpointCard, all_cards
from harness.metrics.base import SampleValues
from harness.plan import model_names
from harness.report.data import ReportData
from harness.store import Record, RunStore
from harness.sums import bits_per_byte, summands
from harness.table import latest_scores, table
from harness.weights.wanted import wanted

#: Samples of each point that the report gets; it may keep fewer (`harness.report.samples`).
SAMPLES = 8


def report_data(store: RunStore) -> ReportData:
    """Everything the report shows of a finished or half-finished run."""
    plan = store.plan
    lines = store.batches()
    scores = [score for metrics in latest_scores(store.scores()).values() for score in metrics.values()]
    known = all_cards()
    return ReportData(
        run=store.run,
        command=plan["command"],
        created=plan["created"],
        table=table(store),
        samples={point: _first_samples(batches) for point, batches in lines.items()},
        environment=_environment(store, lines),
        sources={name: given for name in _benchmarks(store) if (given := _sources(store, name))},
        benchmarks={name: store.benchmark_facts(name) for name in _benchmarks(store)},
        scores=pd.DataFrame([{key: part for key, part in score.items() if key != "samples"} for score in scores]),
        values=sample_values(scores) | likelihood_values(lines),
        cards={name: card_summary(known[name]) for name in model_names(store.points()) if name in known},
        traces=store.traces(),
        convergence=store.convergence(),
        notes=plan.get("notes", ()),
        imports=[made["command"] for made in plan.get("imports", ())],
        sessions=_sessions(store, lines),
    )


def sample_values(scores: Iterable[Record]) -> dict[str, dict[str, SampleValues]]:
    """By point and metric, what a figure is made of. Lines without it (older ones), and those that nothing can be
    computed from here (a newer statistic, a damaged row), are left out.
    """
    values: dict[str, dict[str, SampleValues]] = {}
    for score in scores:
        stored = score.get("samples")
        if not stored:
            continue
        try:
            samples = SampleValues(stored["statistic"], stored["rows"])
            summands(samples)
        except (KeyError, TypeError, ValueError):
            continue
        values.setdefault(score["point"], {})[score["metric"]] = samples
    return values


def likelihood_values(lines: Mapping[str, list[Record]]) -> dict[str, dict[str, SampleValues]]:
    """By point of likelihoods, bits and bytes of each text, in the order of the held-out texts. Points whose texts are
    not the first so many (half-finished ones), or have figures that are not finite, are left out.
    """
    found: dict[str, dict[str, SampleValues]] = {}
    for point, batches in lines.items():
        texts = {text["index"]: text for line in batches for text in line.get("likelihoods", ())}
        values = bits_per_byte(texts[i] for i in range(len(texts)) if i in texts)
        if texts and len(values.rows) == len(texts) and all(math.isfinite(bits) for bits, _ in values.rows):
            found[point] = {"bits_per_byte": values}
    return found


def card_summary(card: Card) -> dict[str, Any]:
    """What a reader of the report wants to know of a model."""
    return {
        "title": card.title,
        "summary": card.summary,
        **{key: getattr(card.upstream, key) for key in ("repo", "commit", "licence", "paper")},
        "likelihood": card.likelihood,
        "schedulers": list(card.schedulers),
        "caveats": card.caveats,
        "role": card.role,
        "effort": card.effort,
        "published": card.published_results,
        "checkpoints": [_checkpoint(card, entry) for entry in card.checkpoints.values()],
        "code": card.code_sizes(),
    }


def _checkpoint(card: Card, entry: CheckpointCard) -> dict[str, Any]:
    size = wanted(card, entry).size_text if entry.kind == "published" else None
    return {"name": entry.name, "kind": entry.kind, "parameters": entry.parameters, "size": size, "is": entry.summary}


def _sessions(store: RunStore, lines: Mapping[str, list[Record]]) -> dict[str, list[str]]:
    """By fingerprint, the worker sessions that measured the point or failed at it."""
    found: dict[str, dict[str | None, None]] = {}
    for batches in lines.values():
        for line in batches:
            found.setdefault(line["point"], {})[line["session"]] = None
    for fingerprint, row in store.rows().items():
        found.setdefault(fingerprint, {})[row.get("session")] = None
    return {fingerprint: [session for session in mine if session] for fingerprint, mine in found.items()}


def _first_samples(batches: list[Record]) -> list[Record]:
    samples = [sample for line in batches for sample in line.get("samples", ())]
    return sorted(samples, key=lambda sample: int(sample["index"]))[:SAMPLES]


def _environment(store: RunStore, lines: Mapping[str, list[Record]]) -> dict[str, Any]:
    """The host's facts, what all workers add to them, and what each job has of its own: weights, other versions."""
    host, sessions = store.plan["environment"], store.sessions()
    jobs: dict[str, dict[str, Any]] = {}
    for point in store.points():
        for line in lines.get(point["fingerprint"], ()):
            if line["session"] is None:  # imported: no process of ours made it
                continue
            session = sessions.get(line["session"], {})
            facts = {k: v for k, v in session.get("environment", {}).items() if host.get(k) != v}
            facts |= {key: session.get(key) for key in ("checkpoint_sha256", "memory_kind")}
            jobs[point["job"]] = facts | ({"runtime": session["runtime"]} if "runtime" in session else {})
    first = next(iter(jobs.values()), {})
    shared = {key: value for key, value in first.items() if all(facts.get(key) == value for facts in jobs.values())}
    own = {job: {key: value for key, value in facts.items() if key not in shared} for job, facts in jobs.items()}
    return {**host, "worker": shared, "job": {job: facts for job, facts in own.items() if any(facts.values())}}


def _benchmarks(store: RunStore) -> list[str]:
    """Names of the run's benchmarks, in the order in which it names them."""
    return list(dict.fromkeys([*store.plan.get("benchmarks", ()), *(point["benchmark"] for point in store.points())]))


def _sources(store: RunStore, benchmark: str) -> list[dict[str, Any]]:
    """Source and true texts of the samples that are shown; [] where the benchmark has no pairs."""
    path = store.benchmark_data(benchmark) / "prompts.jsonl"
    first = islice(store.lines(path), SAMPLES)
    return [{key: line[key] for key in ("source", "references")} for line in first if "source" in line]
