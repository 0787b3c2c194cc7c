"""A made-up run as large as a report is meant for: nine models, six step counts, three schedulers, with the values of
all samples, texts, and states on the way. Every figure is invented by formula: nothing here was measured.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from adapters.traces import MASK_TEXT, Trace, traced_steps
from harness import comparable
from harness.metrics.base import SampleValues
from harness.report import ReportData
from harness.report.data import rows_of
from harness.worker.trace import StoredTrace
from tests.harness.report_fixture import METRICS, WORDS, hash_of, synthetic_run

MODELS = tuple(f"model_{letter}" for letter in "abcdefghi")
STEPS = (4, 10, 20, 64, 256, 1024)
SCHEDULERS = ("ancestral", "confidence", "euler")

#: Sequences with states, and samples with values, of each point.
TRACED, VALUED = 4, 256


def big_run(models: tuple[str, ...] = MODELS, valued: int = VALUED) -> ReportData:
    """The run.

    Args:
        models: their names.
        valued: samples with values of each point.
    """
    data = synthetic_run(models, STEPS, SCHEDULERS, "published", samples=8)
    table = data.table.assign(samples=valued, samples_done=valued)
    rows = rows_of(table)
    done = [row for row in rows if row["kind"] == "generate" and row["status"] == "done"]
    states = {row["fingerprint"]: _trace(row) for row in done if row["role"] == "model"}
    return dataclasses.replace(
        data,
        run="big",
        table=table,
        values={row["fingerprint"]: _values(row, valued) for row in done},
        traces=states,
        convergence={point: _measured(point, trace) for point, trace in states.items()},
    )


def many_rows(count: int) -> ReportData:
    """A run of `count` rows without values and texts, as wide as any other."""
    row = synthetic_run(("radd",), (4,), ("ancestral",)).table.iloc[:1]
    table = pd.concat([row] * count, ignore_index=True)
    numbers = np.arange(count)
    shares = (numbers % 997) / 997
    table = table.assign(
        steps=numbers + 1,
        samples=8,
        samples_done=8,
        nfe_mean=numbers + 1.0,
        seconds_per_sequence=0.001 * (numbers + 1),
        fingerprint=[f"{number:016x}" for number in numbers],
        toy_valid_sentences=shares,
        toy_valid_sentences_low=shares * 0.97,
        toy_valid_sentences_high=shares * 1.03,
    )
    return ReportData(run="many", command="tdbench bench", created="2026-01-02", table=comparable.annotate(table))


def _values(row: dict[str, Any], count: int) -> dict[str, SampleValues]:
    """Values whose mean, or ratio, is near the row's figure; the same noise in all rows, as with equal seeds."""
    out = {}
    for name in METRICS:
        if row.get(name) is None:
            continue
        shared = np.random.default_rng(hash_of(name)).normal(0, 0.1, count)
        own = np.random.default_rng(hash_of(name, row["fingerprint"])).normal(0, 0.1, count)
        if name == "gen_ppl":
            nats = 64 * (math.log(row[name]) + shared + own)
            out[name] = SampleValues.quotient("exp_ratio", nats.round(3).tolist(), [64.0] * count)
        else:
            out[name] = SampleValues.mean((row[name] * (1 + shared + own)).round(4).tolist())
    return out


def _trace(row: dict[str, Any]) -> StoredTrace:
    """States in which masks become words, each position at a step of its own."""
    steps, length = int(row["steps"]), 64
    generator = np.random.default_rng(hash_of(row["fingerprint"], "trace"))
    words = generator.integers(0, len(WORDS), (TRACED, length))
    when = generator.uniform(0, 1, (TRACED, length))
    done = [0, *(step + 1 for step in sorted(traced_steps(steps)))]
    tokens = [
        [
            [int(w) if at <= d / steps else None for w, at in zip(*pair, strict=True)]
            for pair in zip(words, when, strict=True)
        ]
        for d in done
    ]
    texts = [[" ".join(MASK_TEXT if t is None else WORDS[t] for t in line) for line in state] for state in tokens]
    return StoredTrace(steps, Trace(done, tokens, texts), of_samples=False, seconds=0.5)


def _measured(point: str, stored: StoredTrace) -> dict[str, Any]:
    """A line of convergence.jsonl for these states."""
    trace, final = stored.trace, stored.trace.tokens[-1]
    states = []
    for done, state in zip(trace.done, trace.tokens, strict=True):
        share = sum(t is not None for line in state for t in line) / sum(map(len, final))
        ratio = math.exp(2.5 * (1 - share))
        states.append(
            {
                "done": done,
                "settled": _around(share),
                "same": _around(share),
                "masked": _around(1 - share),
                "ppl": _around(20 * ratio),
                "ratio": _around(ratio),
                "entropy": _around(2 + 1.8 * share) if share else None,
                "metric": _around(0.9 * share) if share else None,
            }
        )
    head = {"point": point, "version": 1, "steps": stored.steps, "sequences": TRACED, "of_samples": False}
    return {**head, "seconds": 0.5, "metric": "toy_valid_sentences", "reasons": {}, "states": states}


def _around(value: float) -> list[float]:
    return [round(value * factor, 4) for factor in (1, 0.96, 1.04)]
