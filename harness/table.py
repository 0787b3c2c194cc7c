"""The results table: one row a point, whatever its state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from harness import comparable, stats
from harness.plan import batch_count
from harness.store import Record, RunStore

#: Columns of every table, in reading order; metric columns follow.
COLUMNS = [
    "model", "role", "checkpoint", "checkpoint_kind", "engine", "benchmark", "data", "tokenizer",
    "kind", "task", "scheduler", "steps", "estimator",
    "options", "precision",
    "seed", "selection", "candidates", "samples", "batch_size", "length",
    "status", "reason", "message", "same_as", "notes", "samples_done",
    "nfe_mean", "nfe_min", "nfe_max", "seconds_median", "seconds_q1", "seconds_q3", "batches", "seconds_total",
    "network_seconds_total", "seconds_per_sequence", "tokens_per_second", "sequences_per_second", "load_seconds",
    "first_call_seconds", "warmup_seconds", "peak_memory_bytes", "parameters", "runtime", "image", "image_id",
    "image_digest", "device", "machine", "threads", "dtype", "comparable_group", "not_comparable_because",
    "fingerprint", "job",
]  # fmt: skip

#: What the note of a likelihood begins with that is better than any model's can be.
#: A bootstrap interval of fewer texts is too narrow to call anything wrong by.
LEAST_TEXTS = 30
BELOW_SOURCE = "below the entropy of the source"


def table(store: RunStore) -> pd.DataFrame:
    """One row a planned point of a finished or half-finished run.

    Unknown figures are missing, never 0. `status` is done, failed, not_available, same_as, partial (killed inside), or
    pending (not begun). Metrics are columns ``NAME``, ``NAME_low``, ``NAME_high``, ``NAME_reason`` and
    ``NAME_settings`` (version, judge and whatever else the figure depends on). What may be ranked together stands in
    ``comparable_group`` and ``not_comparable_because`` (`harness.comparable`).
    """
    floors = {name: _source_entropy(store, name) for name in {point["benchmark"] for point in store.points()}}
    rows, batches, sessions = store.rows(), store.batches(), store.sessions()
    scores = latest_scores(store.scores())
    records = []
    for point in store.points():
        fingerprint = point["fingerprint"]
        row, lines = rows.get(fingerprint), batches.get(fingerprint, [])
        record = {**point, **_state(point, row, lines)}
        if lines and not (row and row["status"] == "same_as"):
            record |= _cost(point, lines) | _session(lines, sessions)
            record["notes"] = [*record["notes"], *_left_off(lines), *_prompt_kept(lines)]
            if point["kind"] == "likelihood":
                record |= _likelihood(lines)
                record["notes"] = [*record["notes"], *_below(floors[point["benchmark"]], lines)]
        record |= _metric_columns(scores.get(fingerprint, {}))
        records.append(record)
    frame = comparable.annotate(pd.DataFrame(records))
    extra = [column for column in frame.columns if column not in COLUMNS]
    hidden = {"trace", "warmup_steps", "warmup_count", "of"}
    return frame.reindex(columns=[*COLUMNS, *(column for column in extra if column not in hidden)])


def latest_scores(scores: list[Record]) -> dict[str, dict[str, Record]]:
    """The newest score of each metric, by point and metric name."""
    latest: dict[str, dict[str, Record]] = {}
    for score in scores:
        latest.setdefault(score["point"], {})[score["metric"]] = score
    return latest


def _state(point: Record, row: Record | None, lines: list[Record]) -> Record:
    # Imported texts are one batch of unknown size.
    expected = batch_count(point) if point["batch_size"] is not None else 1
    if row is None or (row["status"] == "done" and len(lines) < expected):
        return {"status": "partial" if lines else "pending", "notes": point.get("notes", [])}
    warmup = row["warmup_seconds"]
    return {
        **{key: row[key] for key in ("status", "reason", "message", "same_as", "notes")},
        "first_call_seconds": warmup[0] if warmup else None,
        "warmup_seconds": sum(warmup) if warmup else None,
    }


def _cost(point: Record, lines: list[Record]) -> Record:
    """Time, memory and evaluations over the batches of a point; None for what was not measured (imported texts)."""
    entries = [entry for line in lines for entry in _entries(line)]
    memory = [line["peak_memory_bytes"] for line in lines if line["peak_memory_bytes"] is not None]
    return {
        "samples_done": len(entries),
        **_evaluations([entry["nfe"] for entry in entries]),
        "batches": len(lines),
        **_seconds(point, lines, entries),
        "network_seconds_total": stats.total(line["network_seconds"] for line in lines),
        "peak_memory_bytes": max(memory) if memory else None,
    }


def _evaluations(nfe: list[int | None]) -> Record:
    known = [value for value in nfe if value is not None]
    if len(known) < len(nfe):
        return dict.fromkeys(("nfe_mean", "nfe_min", "nfe_max"))
    return {"nfe_mean": float(np.mean(known)), "nfe_min": min(known), "nfe_max": max(known)}


def _seconds(point: Record, lines: list[Record], entries: list[Record]) -> Record:
    """Seconds of full batches, of all batches, and what that makes a sequence and a token."""
    seconds = stats.total(line["seconds"] for line in lines)
    if seconds is None:
        return {}
    # A last, smaller batch takes less time: the median speaks of full batches, the totals of everything.
    full = [line["seconds"] for line in lines if len(_entries(line)) == point["batch_size"]] or [
        line["seconds"] for line in lines
    ]
    spread = stats.quartiles(full)
    generated = stats.total(e["generated_tokens"] for e in entries) if point["kind"] == "generate" else None
    return {
        "seconds_median": spread.median,
        "seconds_q1": spread.q1,
        "seconds_q3": spread.q3,
        "seconds_total": seconds,
        "seconds_per_sequence": seconds / len(entries),
        "tokens_per_second": generated / seconds if generated else None,
        "sequences_per_second": len(entries) / seconds,
    }


def _left_off(lines: list[Record]) -> list[str]:
    """A note where the model had no room for the whole of some prompts."""
    entries = [entry for line in lines for entry in _entries(line)]
    cut = [entry["left_off"] for entry in entries if entry.get("left_off")]
    if not cut:
        return []
    return [
        f"{len(cut)} of {len(entries)} given texts were cut: the model has no room for up to {max(cut)} tokens of them"
    ]


def _prompt_kept(lines: list[Record]) -> list[str]:
    """A note where prompts were soft and the model did not write all of their tokens."""
    shares = [entry.get("prompt_kept") for line in lines for entry in _entries(line)]
    known = [share for share in shares if share is not None]
    if not known or min(known) == 1:
        return []
    mean = math.fsum(known) / len(known)
    return [f"of the given tokens {mean:.1%} came out by themselves (mean over {len(known)} texts; prompts are soft)"]


def _entries(line: Record) -> list[Record]:
    """Samples or likelihoods of a batch line."""
    entries: list[Record] = line["samples"] if "samples" in line else line["likelihoods"]
    return entries


def _session(lines: list[Record], sessions: dict[str, Record]) -> Record:
    session = sessions.get(lines[-1]["session"], {})
    machine, runtime = session.get("environment", {}), session.get("runtime") or {}
    return {
        **{key: session.get(key) for key in ("load_seconds", "parameters")},
        **{key: runtime.get(key) for key in ("image", "image_id", "image_digest")},
        "machine": machine.get("gpu") or _processor(machine),
        "threads": machine.get("threads"),
    }


def _processor(machine: Record) -> str | None:
    """The processor with how many the machine has of it: names of processors are shared by small machines and large."""
    name, count = machine.get("cpu"), machine.get("cpu_count")
    return f"{name}, {count} CPUs" if name and count else name


#: Column of bits per ... <- what is counted of a text. All get their intervals from the same resamples.
_BITS_PER = {"token": "tokens", "byte": "bytes", "char": "chars"}


def _likelihood(lines: list[Record]) -> Record:
    """Corpus figures of a likelihood point: sums over texts, then one division."""
    figures = [figure for line in lines for figure in line["likelihoods"]]
    total: dict[str, Any] = {key: sum(f[key] for f in figures) for key in ("tokens", "bytes", "chars", "words")}
    nats = math.fsum(f["nats"] for f in figures)
    errors = [f["standard_error"] for f in figures]
    error = None if None in errors else math.sqrt(math.fsum(e * e for e in errors)) / total["tokens"]
    sizes = [[f[counted] for f in figures] for counted in _BITS_PER.values()]
    intervals = stats.bootstrap_ratios([f["nats"] / math.log(2) for f in figures], sizes)
    per_token = intervals[0].map(lambda bits: bits * math.log(2))
    record = {
        **total,
        "nats": nats,
        **_with_interval("nats_per_token", nats / total["tokens"], per_token),
        **_with_interval("perplexity", math.exp(nats / total["tokens"]), per_token.map(math.exp)),
        "bound": lines[0]["bound"],
        "standard_error": error,
    }
    parts = [f.get("terms", {}) for f in figures]
    for name in dict.fromkeys(name for part in parts for name in part):
        record[f"{name}_nats_per_token"] = math.fsum(part.get(name, 0.0) for part in parts) / total["tokens"]
    for (unit, counted), interval in zip(_BITS_PER.items(), intervals, strict=True):
        record |= _with_interval(f"bits_per_{unit}", nats / total[counted] / math.log(2), interval)
    return record


def _with_interval(name: str, value: float, interval: stats.Interval) -> Record:
    return {name: value, f"{name}_low": interval.low, f"{name}_high": interval.high}


#: What a benchmark calls its tokens -> what is counted of a scored text.
_UNITS = {"words": "words", "text8": "chars"}


def _source_entropy(store: RunStore, benchmark: str) -> tuple[float, str] | None:
    """The entropy of a benchmark's source, nats a unit, and that unit; None where it is not known."""
    facts = store.benchmark_facts(benchmark)
    nats, unit = facts.get("entropy_rate_nats_per_token"), _UNITS.get(facts.get("tokens", ""))
    return None if nats is None or unit is None else (float(nats), unit)


def _below(floor: tuple[float, str] | None, lines: list[Record]) -> list[str]:
    """A note where the figure lies below the entropy of the source by more than its 95 % interval (of some texts)."""
    if floor is None:
        return []
    entropy, unit = floor
    figures = [figure for line in lines for figure in line["likelihoods"]]
    if len(figures) < LEAST_TEXTS:
        return []
    high = stats.bootstrap_ratio([f["nats"] for f in figures], [f[unit] for f in figures]).high
    if high is None or high >= entropy:
        return []
    shown = f"at most {high:.4g} nats a {unit.removesuffix('s')} (95 %) against {entropy:.4g}"
    return [f"{BELOW_SOURCE}, which no model can be: something is wrong ({shown})"]


def _metric_columns(scores: dict[str, Record]) -> Record:
    columns: Record = {}
    for name, score in scores.items():
        columns |= {name: score["value"], f"{name}_low": score["low"], f"{name}_high": score["high"]}
        columns[f"{name}_reason"] = score["reason"]
        columns[f"{name}_settings"] = {"version": score.get("version"), **(score.get("settings") or {})}
    return columns
