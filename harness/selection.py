"""MBR selection: one text for each source out of the texts of several seeds, after they are stored.

Minimum Bayes risk as DiffuSeq's evaluation does it (scripts/eval_seq2seq.py): of the candidates the one whose summed
BLEU against the others is the highest. It costs no network evaluation of its own, but the row bears what all
candidates cost.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from harness import stats
from harness.metrics.sentence_bleu import counted, sentence_bleu
from harness.points import digest_of
from harness.store import Record, RunStore
from harness.worker.jsonl import append_line

MBR = "mbr"
#: Raised whenever the same candidates would give another choice.
VERSION = 1
#: What of a point tells candidates apart or says nothing of how they were made.
_OWN = ("fingerprint", "seed", "notes", "trace")


def mbr_choice(candidates: Sequence[str]) -> int:
    """Index of the candidate with the highest sum of BLEU(candidate, other) over all others, the first of equals.

    BLEU is `harness.metrics.sentence_bleu` up to order 4; the row sums are numpy's, so that near ties fall as in the
    authors' code.
    """
    texts = [counted(text) for text in candidates]
    scores = np.zeros((len(texts), len(texts)))
    for i, hypothesis in enumerate(texts):
        for j, reference in enumerate(texts):
            if i != j:
                scores[i, j] = sentence_bleu(hypothesis, [reference])
    return int(np.argmax(scores.sum(axis=-1)))


def selected_points(points: Sequence[Record]) -> list[Record]:
    """One more point for each group of seq2seq points that differ in nothing but the seed.

    Controls are left out: a choice among random texts says nothing. The new point has no seed; `of` holds the
    fingerprints it chooses from, `candidates` their number.
    """
    groups: dict[str, list[Record]] = {}
    for point in points:
        if point["kind"] == "generate" and point["task"] == "seq2seq" and point["role"] != "control":
            alike = {key: value for key, value in point.items() if key not in _OWN}
            groups.setdefault(json.dumps(alike, sort_keys=True, default=str), []).append(point)
    return [_selected(group) for group in groups.values() if len(group) > 1]


def _selected(group: list[Record]) -> Record:
    of = [point["fingerprint"] for point in group]
    base = {**group[0], "seed": None, "selection": MBR, "candidates": len(of), "of": of, "notes": [], "trace": False}
    base["fingerprint"] = digest_of([MBR, VERSION, of])[:16]
    base["job"] = f"{group[0]['job']}-{MBR}"
    return base


def select(store: RunStore, progress: TextIO = sys.stderr) -> None:
    """Make every selected point of the plan that is not done yet; a point whose candidates are not all there gets a
    row that says which are missing, and is tried again by the next call.

    Args:
        store: the run, locked by the caller.
        progress: where progress is shown.
    """
    rows = store.rows()
    todo = [point for point in store.points() if point.get("selection") == MBR and not _done(store, point, rows)]
    bar = tqdm(todo, file=progress, desc="MBR", disable=not progress.isatty(), leave=False)
    for point in bar:
        row = _row_of(point, rows)
        if row is None:
            _choose(store, point)
            row = _row(point, "done")
        if row != rows.get(point["fingerprint"]):
            append_line(_folder(store, point) / "points.jsonl", row)


def _done(store: RunStore, point: Record, rows: dict[str, Record]) -> bool:
    return (
        rows.get(point["fingerprint"], {}).get("status") == "done"
        and len(store.samples(point["fingerprint"])) == point["samples"]
    )


def _row_of(point: Record, rows: dict[str, Record]) -> Record | None:
    """The row of a point that cannot be chosen for; None where all its candidates are there."""
    found = [rows.get(source, {}) for source in point["of"]]
    states = [row.get("status", "pending") for row in found]
    if set(states) == {"done"}:
        return None
    if set(states) == {"same_as"}:
        twin = digest_of([MBR, VERSION, [row["same_as"] for row in found]])[:16]
        return _row(point, "same_as", message="the same algorithm as its twin on this checkpoint", same_as=twin)
    if set(states) == {"not_available"}:
        return _row(point, "not_available", "not_available", found[0]["message"])
    missing = len(states) - states.count("done")
    kinds = ", ".join(sorted({state for state in states if state != "done"}))
    message = f"{missing} of {len(states)} candidates are not there ({kinds}); the same command tries again"
    return _row(point, "failed", "missing_candidates", message)


def _row(
    point: Record, status: str, reason: str | None = None, message: str | None = None, same_as: str | None = None
) -> Record:
    notes = [f"chosen among {point['candidates']} candidates: evaluations and seconds are those of all of them"]
    head: Record = {"point": point["fingerprint"], "session": None, "status": status, "reason": reason}
    return head | {"message": message, "same_as": same_as, "warmup_seconds": None, "notes": notes}


def _choose(store: RunStore, point: Record) -> None:
    """Choose and append, one line for each batch of the candidates that is not stored yet."""
    stored = store.batches()
    batches = [{line["batch"]: line for line in stored[source]} for source in point["of"]]
    kept = {line["batch"] for line in stored.get(point["fingerprint"], ())}
    for batch in sorted(set(batches[0]) - kept):
        line = _chosen_batch([found[batch] for found in batches])
        append_line(_folder(store, point) / "batches.jsonl", {"point": point["fingerprint"], "batch": batch, **line})


def _folder(store: RunStore, point: Record) -> Any:
    folder = store.job_folder(point["job"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _chosen_batch(lines: list[Record]) -> Record:
    """One batch out of the same batch of every seed; what it cost is the sum, memory the largest."""
    memory = [line["peak_memory_bytes"] for line in lines]
    return {
        "session": lines[-1]["session"],
        "seconds": stats.total(line["seconds"] for line in lines),
        "network_seconds": stats.total(line["network_seconds"] for line in lines),
        "network_calls": stats.total(line.get("network_calls") for line in lines),
        "peak_memory_bytes": None if None in memory else max(memory),
        "evaluations": stats.total(line.get("evaluations") for line in lines),
        "samples": [_chosen_sample(list(found)) for found in zip(*(line["samples"] for line in lines), strict=True)],
    }


def _chosen_sample(samples: list[Record]) -> Record:
    """The chosen sample of one source, with all candidates and their evaluations."""
    texts = [sample["text"] for sample in samples]
    chosen = mbr_choice(texts)
    return {**samples[chosen], "nfe": stats.total(s["nfe"] for s in samples), "candidates": texts, "chosen": chosen}
