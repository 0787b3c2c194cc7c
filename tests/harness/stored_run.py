"""Small run folders as a finished run leaves them, for tests of what reads several of them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.store import SCHEMA, RunStore
from harness.worker.jsonl import append_line, write_json
from tests.harness.conftest import make_point

CPU = {"cpu": "Invented CPU", "cpu_count": 4, "threads": 2, "torch": "2.0", "gpu": None}
SETTINGS = {"judge": "tests/judge", "judge_digest": "aa11"}
BATCH, SAMPLES = 4, 16


@dataclass(frozen=True)
class How:
    """How the points of a run turn out.

    Attributes:
        worse_by: taken from the share of valid words of each text, and added to its likelihood.
        jitter: how far the share of each text may lie from that, to either side.
        slower: factor on all seconds.
        texts: what its texts begin with; runs with the same have the same texts.
        settings: of the metrics.
        failed: steps whose points failed.
    """

    worse_by: float = 0.0
    jitter: float = 0.0
    slower: float = 1.0
    texts: str = "text"
    settings: Mapping[str, Any] = field(default_factory=lambda: SETTINGS)
    failed: Sequence[int] = ()


def stored_run(
    results: Path,
    name: str = "a",
    steps: Sequence[int] = (4, 16),
    seeds: Sequence[int] = (0, 1),
    *,
    machine: Mapping[str, Any] = CPU,
    points: Mapping[str, Any] | None = None,
    likelihood: bool = True,
    config: Mapping[str, Any] | None = None,
    **how: Any,
) -> RunStore:
    """A run of one model, its likelihood and a control.

    Args:
        results: folder of run folders.
        name: of the run, and of the session of its worker.
        steps: of its points.
        seeds: of its points.
        machine: environment of its worker.
        points: fields of every point.
        likelihood: whether a point of likelihood belongs to it.
        config: settings in run.json.
        how: fields of `How`.
    """
    store = RunStore(results / name)
    session = f"session-{name}"
    planned = [_point(n, seed, points or {}) for n in steps for seed in seeds]
    planned += [_point(n, 0, {"role": "control", "model": "data", **(points or {})}) for n in (0,)]
    if likelihood:
        planned.append(
            _point(0, 0, {"kind": "likelihood", "scheduler": None, "estimator": "exact", "steps": None, "task": None})
        )
    folder = store.job_folder("shaky-1")
    folder.mkdir(parents=True)
    _write_facts(store)
    write_json(store.folder / "run.json", _plan(name, planned, config or {}))
    worker = {"session": session, "checkpoint_sha256": "c" * 64, "load_seconds": 1.0, "parameters": 5}
    append_line(folder / "sessions.jsonl", {**worker, "memory_kind": "resident_set", "environment": dict(machine)})
    for point in planned:
        _write_point(store, point, session, How(**how))
    return store


def _plan(name: str, points: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "run": name,
        "command": f"tdbench bench run={name}",
        "created": "2026-01-02T03:04:05+00:00",
        "config": {"threads": None, "judge": None, "run": name, **config},
        "environment": {"python": "3.11", "cpu": "Invented CPU", "load_average": 0.5, "packages": {"torch": "2.0"}},
        "notes": [],
        "benchmarks": ["toy"],
        "points": list(points),
    }


def _point(steps: int, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    point = make_point("fine", steps, data="d1", tokenizer="words", precision="float64", seed=seed, samples=SAMPLES)
    point |= {"batch_size": BATCH, "options": {"temperature": 1.0}, "notes": [], "selection": None, "candidates": None}
    point |= changes
    parts = (point["model"], point["kind"], point["steps"], seed, point["data"], json.dumps(point["options"]))
    return point | {"fingerprint": "-".join(str(part).replace(" ", "") for part in parts)}


def _write_facts(store: RunStore) -> None:
    folder = store.benchmark_data("toy")
    folder.mkdir(parents=True)
    facts = {"name": "toy", "version": 1, "metrics": ["valid", "mauve"], "tokens": "words", "digest": "d1" * 20}
    write_json(folder / "benchmark.json", facts)


def _write_point(store: RunStore, point: Mapping[str, Any], session: str, how: How) -> None:
    folder = store.job_folder("shaky-1")
    row: dict[str, Any] = {"point": point["fingerprint"], "session": session, "status": "done", "warmup_seconds": [1.0]}
    row |= dict.fromkeys(("reason", "message", "same_as")) | {"notes": []}
    if point["steps"] in how.failed:
        append_line(
            folder / "points.jsonl", row | {"status": "failed", "reason": "out_of_memory", "message": "no room"}
        )
        return
    how = how if point["role"] == "model" else How(slower=how.slower, settings=how.settings)
    for number in range(SAMPLES // BATCH):
        noise = random.Random(f"{session} {point['fingerprint']} {number}").uniform(0.98, 1.02)
        line = {"point": point["fingerprint"], "batch": number, "session": session, "evaluations": 8}
        line |= {
            "seconds": 0.1 * (point["steps"] or 1) * how.slower * noise,
            "network_seconds": 0.1,
            "network_calls": 2,
        }
        line |= {"peak_memory_bytes": 1000, **_entries(point, number, how)}
        append_line(folder / "batches.jsonl", line)
    append_line(folder / "points.jsonl", row)
    if point["kind"] == "generate":
        for score in _scores(point, how):
            store.append_score(score)


def _entries(point: Mapping[str, Any], number: int, how: How) -> dict[str, Any]:
    indices = range(number * BATCH, (number + 1) * BATCH)
    if point["kind"] == "likelihood":
        sizes = {"tokens": 10, "bytes": 50, "chars": 50, "words": 10, "nfe": 1, "standard_error": 0.0}
        figures = [{"index": i, "nats": 20.0 + i % 3 + 10 * how.worse_by * (1 + i % 2), **sizes} for i in indices]
        return {"bound": "exact", "likelihoods": figures}
    text = f"{how.texts} of seed {point['seed']} in {point['steps']} steps"
    samples = [
        {"index": i, "tokens": [1], "text": f"{text}, {i}", "nfe": point["steps"], "generated_tokens": 8}
        for i in indices
    ]
    return {"samples": samples}


def _scores(point: Mapping[str, Any], how: How) -> list[dict[str, Any]]:
    """`valid`: with values of single texts; `mauve`: of the whole set."""
    draw = random.Random(f"{point['seed']} {point['steps']}")
    other = random.Random(f"{how.texts} {point['seed']} {point['steps']}")
    shares = [draw.uniform(0.5, 0.9) - how.worse_by + other.uniform(-how.jitter, how.jitter) for _ in range(SAMPLES)]
    rows = [[round(8 * max(0.0, share)), 8] for share in shares]
    value = sum(a for a, _ in rows) / sum(b for _, b in rows)
    head = {"point": point["fingerprint"], "version": 1, "settings": dict(how.settings), "samples_digest": "x"}
    common = {"unit": "share", "better": "higher", "reason": None, "detail": {}}
    valid = {"metric": "valid", "value": value, "low": value - 0.1, "high": value + 0.1}
    whole = {"metric": "mauve", "value": 0.9 - how.worse_by, "low": 0.89 - how.worse_by, "high": 0.91 - how.worse_by}
    return [
        {**head, **common, **valid, "samples": {"statistic": "ratio", "rows": rows}},
        {**head, **common, **whole, "samples": None},
    ]
