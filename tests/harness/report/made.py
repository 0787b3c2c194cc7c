"""A made-up run in which every sample's value is given: nothing here was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness import comparable
from harness.metrics.base import SampleValues
from harness.paired import figure_of
from harness.report import ReportData
from harness.report.data import Given

#: A row, and its metrics: the values of its samples, or a figure without any.
Made = tuple[dict[str, Any], Mapping[str, SampleValues | float]]
METRIC = "toy_valid_sentences"
BETTER = {"toy_valid_sentences": "higher", "gen_ppl": "lower", "unigram_entropy": "none", "mauve": "higher"}


def row(model: str, scheduler: str, steps: int | None, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A finished row that took a millisecond a step."""
    role = more.get("role", "model")
    name = f"{model}-{scheduler}-{steps}-{seed}-{more.get('machine', '')}-{more.get('selection') or ''}"
    made = {
        **{"model": model, "role": role, "checkpoint": "tiny", "checkpoint_kind": "none", "engine": "native"},
        **{"benchmark": "toy", "data": "d", "kind": "generate", "task": "unconditional", "status": "done"},
        **{"scheduler": scheduler, "steps": steps, "seed": seed, "batch_size": 64, "device": "cpu", "dtype": "float32"},
        **{"machine": "Invented CPU", "nfe_mean": float(steps or 0), "seconds_per_sequence": 0.001 * (steps or 0)},
        **{"length": 64, "tokenizer": "t", "precision": "float64", "fingerprint": name, "notes": []},
    }
    return made | more


def run_of(
    rows: Sequence[Made],
    given: Given | None = None,
    metrics: Sequence[str] = (METRIC, "gen_ppl", "unigram_entropy"),
) -> ReportData:
    """A run of rows, each with its metrics: the values of its samples, or a figure without any."""
    table: list[dict[str, Any]] = []
    values: dict[str, dict[str, SampleValues]] = {}
    for made, figures in rows:
        known = {name: v for name, v in figures.items() if isinstance(v, SampleValues)}
        counts = {len(v.rows) for v in known.values()} or {made.get("samples", 64)}
        line: dict[str, Any] = {"samples": max(counts), "samples_done": max(counts), **made}
        for name, value in figures.items():
            found = figure_of(value) if isinstance(value, SampleValues) else (value, None, None)
            line |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
        table.append(line)
        values[line["fingerprint"]] = known
    scores = [{"point": "x", "metric": name, "better": BETTER.get(name, "none"), "version": "1"} for name in metrics]
    return ReportData(
        run="made",
        command="tdbench bench",
        created="2026-01-02T03:04:05+00:00",
        table=comparable.annotate(pd.DataFrame(table)) if table else pd.DataFrame(),
        benchmarks={"toy": {"name": "toy", "metrics": list(metrics)}},
        scores=pd.DataFrame(scores),
        values=values,
        given=given or Given(),
    )


def shares(share: float, samples: int = 200, seed: int = 0) -> SampleValues:
    """Samples of which exactly that share succeed, in random order."""
    hits = np.zeros(samples)
    hits[: round(share * samples)] = 1
    np.random.default_rng(seed).shuffle(hits)
    return SampleValues("mean", [[float(hit), 1.0] for hit in hits])


def normal(mean: float, samples: int = 200, seed: int = 0, spread: float = 0.1) -> SampleValues:
    """Samples that scatter around a mean."""
    drawn = np.random.default_rng(seed).normal(mean, spread, samples)
    return SampleValues("mean", [[float(value), 1.0] for value in drawn])


def perplexity(mean: float, samples: int = 200, seed: int = 0) -> SampleValues:
    """Judge's nats of samples of ten tokens."""
    nats = 10 * np.random.default_rng(seed).normal(np.log(mean), 0.05, samples)
    return SampleValues("exp_ratio", [[float(value), 10.0] for value in nats])


def swept(figures: Mapping[tuple[str, str, int], float], samples: int = 200, **more: Any) -> list[Made]:
    """Rows by model, scheduler and steps, each with a share of valid sentences; all independent of each other."""
    return [
        (row(model, scheduler, steps, **more), {METRIC: shares(share, samples, seed)})
        for seed, ((model, scheduler, steps), share) in enumerate(figures.items())
    ]


def control(name: str, share: float, samples: int = 200, seed: int = 99, **figures: SampleValues) -> Made:
    """A control's row."""
    values: dict[str, SampleValues | float] = {METRIC: shares(share, samples, seed), **figures}
    return row(name, "control", None, role="control", seconds_per_sequence=1e-6, nfe_mean=0.0), values
