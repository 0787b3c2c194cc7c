"""A made-up finished run for tests of the report. Every figure is invented by formula: nothing here was measured."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd

from harness import comparable
from harness.report import ReportData

METRICS = {  # name: (unit, better)
    "gen_ppl": ("perplexity/judge token", "lower"),
    "unigram_entropy": ("nats/token", "none"),
    "toy_valid_sentences": ("share", "higher"),
    "distinct_2": ("share", "none"),
    "mauve": ("score", "higher"),
}
JUDGE = {
    "judge": "gpt2/tiny",
    "judge_digest": "ab" * 8,
    "window": 64,
    "bos": True,
    "aggregation": "token-weighted",
}
NOTE = "upstream code at another commit: <b>deadbee</b>"
TEXT = "the small cat that sees a green bird in every old garden sings to two dogs near my house ."
WORDS = TEXT.split()


def synthetic_run(
    models: tuple[str, ...] = ("nanodd", "radd"),
    steps: tuple[int, ...] = (4, 16, 64),
    schedulers: tuple[str, ...] = ("ancestral", "confidence"),
    kind: str = "tiny",
    samples: int = 6,
) -> ReportData:
    """A run with controls, one failed point, one scheduler that equals another, likelihood rows and samples."""
    rows = [_point(m, i, s, n, kind) for i, m in enumerate(models) for s in schedulers for n in steps]
    rows += [_control(name, ppl) for name, ppl in (("data", 9.1), ("unigram", 118.0), ("bigram", 21.5))]
    rows += [_likelihood(m, 0.62 + 0.02 * i, "upper_bound", kind) for i, m in enumerate(models)]
    rows += [_likelihood("bigram", 0.97, "exact", "none")]
    rows[1] |= {"status": "failed", "reason": "out_of_memory", "message": "needed 12 GiB, 8 GiB were free"}
    for column in [c for c in rows[1] if c in METRICS or c.endswith(("_low", "_high")) or "second" in c or "nfe" in c]:
        rows[1][column] = None
    rows.append(_same_as(models[-1], steps[0], schedulers[0], kind))
    done = [r for r in rows if r["kind"] == "generate" and r["status"] == "done"]
    return ReportData(
        run="synthetic",
        command=f"tdbench bench model={','.join(models)} steps=4,16,64 judge=some/folder run=synthetic",
        created="2026-01-02T03:04:05+00:00",
        table=comparable.annotate(pd.DataFrame(rows)),
        samples={r["fingerprint"]: [_sample(r, i) for i in range(samples)] for r in done},
        environment={
            "python": "3.11.9",
            "torch": "2.13.0",
            "cpu": "Invented CPU, 2 cores",
            "gpu": None,
            "git": {"dirty": True},
        },
        benchmarks={
            "toy": {
                "name": "toy",
                "version": 1,
                "metrics": ["toy_valid_sentences", "gen_ppl", "unigram_entropy", "distinct_2", "mauve"],
                "entropy_rate_nats_per_token": 1.816,
                "windowing": "cut without regard to sentences",
                "licence": None,
            }
        },
        scores=_scores(rows, METRICS),
        cards={
            m: {"title": m.upper(), "upstream": {"licence": "MIT", "commit": "0" * 40}, "caveats": ["invented"]}
            for m in models
        },
    )


def _base(model: str, role: str, weights: str, **more: Any) -> dict[str, Any]:
    row = {
        "model": model,
        "role": role,
        "checkpoint": "none" if role == "control" else weights,
        "checkpoint_kind": "none" if role == "control" else weights,
        "engine": "native",
        "runtime": "local",
        "benchmark": "toy",
        "data": "0123456789abcdef",
        "tokenizer": "file 01234567",
        "seed": 0,
        "batch_size": 64,
        "device": "cpu",
        "dtype": "float32",
        "status": "done",
        "job": f"{model}-job",
        "reason": None,
        "message": None,
        "same_as": None,
        "notes": [],
    }
    row |= more
    row["fingerprint"] = f"{abs(hash_of(model, row.get('scheduler'), row.get('steps'), row.get('estimator'))):016x}"
    return row


def hash_of(*parts: Any) -> int:
    """A small stable hash (Python's own differs between processes)."""
    value = 7
    for character in "|".join(map(str, parts)):
        value = (value * 131 + ord(character)) % (1 << 60)
    return value


def _point(model: str, number: int, scheduler: str, steps: int, kind: str) -> dict[str, Any]:
    quality = 1 - math.exp(-steps / (18 + 5 * number)) * (0.95 if scheduler == "ancestral" else 0.9)
    row = _base(
        model,
        "model",
        kind,
        kind="generate",
        task="unconditional",
        scheduler=scheduler,
        steps=steps,
        options={"temperature": 1.0, "sampling_dtype": "float64"},
        precision="float64",
        samples=1024,
        samples_done=1024,
        length=64,
        nfe_mean=steps * 0.93,
        nfe_min=steps - 1,
        nfe_max=steps,
        seconds_median=0.021 * steps,
        seconds_q1=0.020 * steps,
        seconds_q3=0.023 * steps,
        batches=16,
        seconds_total=0.34 * steps,
        network_seconds_total=0.31 * steps,
        seconds_per_sequence=0.00033 * steps * (1 + 0.15 * number),
        tokens_per_second=190_000 / steps,
        sequences_per_second=3_000 / steps,
        load_seconds=0.8,
        first_call_seconds=0.05,
        warmup_seconds=0.061,
        peak_memory_bytes=310_000_000,
        parameters=370_000,
    )
    return row | _figures(
        10 + 60 * (1 - quality) * (0.8 if scheduler == "confidence" else 1), 3.6 + 0.2 * quality, 0.9 * quality
    )


def _figures(ppl: float, entropy: float, valid: float) -> dict[str, Any]:
    values = {"gen_ppl": ppl, "unigram_entropy": entropy, "toy_valid_sentences": valid, "distinct_2": 0.4 + valid / 3}
    out: dict[str, Any] = {"mauve": None, "mauve_low": None, "mauve_high": None}
    out["mauve_reason"] = "MAUVE needs at least 1,000 samples a side, there are 256 references"
    for name, value in values.items():
        out |= {name: value, f"{name}_low": value * 0.97, f"{name}_high": value * 1.03, f"{name}_reason": None}
        out[f"{name}_settings"] = {"version": 1, **(JUDGE if name == "gen_ppl" else {"bootstrap": 1000})}
    return out


def differing_run() -> ReportData:
    """The same with what must not be ranked with the rest: float16 draws in radd's confidence rows, which the authors'
    engine made and which bear a note.
    """
    data = synthetic_run()
    table = data.table.copy()
    mine = (table["model"] == "radd") & (table["scheduler"] == "confidence")
    table.loc[mine, "precision"] = "float16"
    table.loc[mine, "engine"] = "upstream"
    table["notes"] = [[NOTE] if it else [] for it in mine]
    return dataclasses.replace(data, table=comparable.annotate(table))


def _control(name: str, ppl: float) -> dict[str, Any]:
    more = {
        "kind": "generate",
        "task": "unconditional",
        "scheduler": "control",
        "steps": None,
        "samples": 1024,
        "samples_done": 1024,
    }
    row = _base(name, "control", "none", **more, options={}, length=64, nfe_mean=0.0, seconds_per_sequence=1e-5)
    return row | _figures(ppl, 3.95, {"data": 0.999, "bigram": 0.21}.get(name, 0.001))


def _likelihood(model: str, bits: float, bound: str, kind: str) -> dict[str, Any]:
    nats = bits * 5.1 * math.log(2)
    role = "control" if kind == "none" else "model"
    more = {
        "kind": "likelihood",
        "task": None,
        "scheduler": None,
        "steps": None,
        "estimator": "dce" if bound != "exact" else "exact",
    }
    figures = {
        "nats_per_token": nats,
        "bits_per_token": bits * 5.1,
        "bits_per_byte": bits,
        "perplexity": math.exp(nats),
    }
    row = _base(model, role, kind, **more, options={"draws": 16}, samples=128, samples_done=128, nfe_mean=16.0)
    row["length"] = 64
    sizes = {
        "tokens": 8192,
        "bytes": 41_800,
        "chars": 41_800,
        "words": 8192,
        "nats": nats * 8192,
        "bits_per_char": bits,
    }
    error = 0.0 if bound == "exact" else 0.008
    interval = {f"{name}_low": value * 0.99 for name, value in figures.items()}
    interval |= {f"{name}_high": value * 1.01 for name, value in figures.items()}
    return row | figures | sizes | interval | {"bound": bound, "standard_error": error, "seconds_per_sequence": 0.01}


def _same_as(model: str, steps: int, other: str, kind: str) -> dict[str, Any]:
    more = {
        "kind": "generate",
        "task": "unconditional",
        "scheduler": "euler",
        "steps": steps,
        "options": {},
        "samples": 1024,
    }
    return _base(model, "model", kind, **more) | {"status": "same_as", "same_as": other}


def _sample(row: dict[str, Any], index: int) -> dict[str, Any]:
    generator = np.random.default_rng(hash_of(row["fingerprint"], index))
    words = [WORDS[i] for i in generator.integers(0, len(WORDS), 64)]
    if (row["steps"] or 99) < 10:
        words[5:13] = words[20:24] * 2
        words[30] = "\u2588"
    return {"index": index, "text": " ".join(words), "nfe": row["steps"]}


def _scores(rows: list[dict[str, Any]], metrics: dict[str, tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "point": row["fingerprint"],
            "metric": name,
            "version": "1",
            "settings": JUDGE if name == "gen_ppl" else {"bootstrap": 1000},
            "value": row[name],
            "low": row[f"{name}_low"],
            "high": row[f"{name}_high"],
            "unit": unit,
            "better": better,
            "reason": row.get(f"{name}_reason"),
            "detail": {"n": 1024},
        }
        for row in rows
        if row["kind"] == "generate" and row["status"] == "done"
        for name, (unit, better) in metrics.items()
    )


# --- pairs -----------------------------------------------------------------------------------------------------------

PAIR_METRICS = {
    "paraphrase_success": ("share", "higher"),
    "paraphrase_copy": ("share", "lower"),
    "bleu": ("BLEU, 0..100", "higher"),
    "div_4": ("share", "none"),
}
PAIRS = [
    {"source": "the old king saw a small garden .", "references": ["a small garden was seen by the old king ."]},
    {
        "source": "anna gave the tall boy three red apples near the river .",
        "references": [
            "three red apples were given to the tall boy by anna near the river .",
            "near the river anna gave three red apples to the tall boy .",
        ],
    },
    {"source": "some dogs sleep .", "references": ["some hounds sleep .", "some hounds are asleep ."]},
]
SEEDS = (0, 1, 2)
NOT_A_CHOICE = "one text for each prompt: candidates come from several seeds, in a row of their own"


def pair_run() -> ReportData:
    """A run on pairs: a model with three seeds and the choice among them, the same imported, a baseline, controls."""
    rows = _pair_rows()
    samples = {row["fingerprint"]: [_pair_sample(row, i) for i in range(len(PAIRS))] for row in rows}
    return ReportData(
        run="pairs",
        command="tdbench bench benchmark=toy_paraphrase steps=4,16 run=pairs",
        created="2026-01-02T03:04:05+00:00",
        table=comparable.annotate(pd.DataFrame(rows)),
        samples=samples,
        sources={"toy_paraphrase": PAIRS},
        environment={"cpu": "Invented CPU, 2 cores"},
        benchmarks={"toy_paraphrase": {"name": "toy_paraphrase", "metrics": list(PAIR_METRICS), "pairs": True}},
        scores=_scores(rows, PAIR_METRICS),
        cards={"diffuseq": {"title": "DiffuSeq"}},
        imports=["tdbench import some/folder --format diffuseq --model bridge_gap --steps 20"],
    )


def both_run() -> ReportData:
    """A run of both benchmarks, with likelihoods of one."""
    text, pairs = synthetic_run(), pair_run()
    return dataclasses.replace(
        text,
        run="both",
        table=comparable.annotate(pd.concat([text.table, pairs.table], ignore_index=True)),
        samples={**text.samples, **pairs.samples},
        sources=pairs.sources,
        benchmarks={**text.benchmarks, **pairs.benchmarks},
        scores=pd.concat([text.scores, pairs.scores], ignore_index=True),
        cards={**text.cards, **pairs.cards},
        imports=pairs.imports,
    )


def _pair_rows() -> list[dict[str, Any]]:
    rows = [
        _pair_row("diffuseq", scheduler, n, seed) for scheduler in ("ddpm", "ddim") for n in (4, 16) for seed in SEEDS
    ]
    rows += [_chosen(_pair_row("diffuseq", s, n, None), len(SEEDS)) for s in ("ddpm", "ddim") for n in (4, 16)]
    rows += [_imported(_pair_row("bridge_gap", None, 20, seed)) for seed in SEEDS]
    rows.append(_chosen(_imported(_pair_row("bridge_gap", None, 20, None)), len(SEEDS)))
    rows.append({**_pair_row("gpt2", "autoregressive", 48, 0), "role": "baseline", "precision": "float64"})
    for name, share, bleu in (("copy", 0.0, 41.0), ("data", 0.98, 52.0), ("shuffled", 0.03, 12.0)):
        row = _pair_row(name, "control", 1, 0) | {"role": "control", "checkpoint_kind": "none"}
        row |= {"steps": 0, "nfe_mean": 0.0, "checkpoint": "none"}
        rows.append(row | _pair_figures(share, 1.0 if name == "copy" else 0.0, bleu, None))
    for row in rows:
        parts = (row[key] for key in ("model", "engine", "scheduler", "steps", "seed", "selection"))
        row["fingerprint"] = f"{hash_of(*parts):016x}"
    return rows


def _pair_row(model: str, scheduler: str | None, steps: int, seed: int | None) -> dict[str, Any]:
    row = _point(model, 0, scheduler or "", steps, "tiny")
    row = {key: value for key, value in row.items() if not key.startswith(tuple(METRICS))}
    quality = 1 - math.exp(-steps / (14 if scheduler == "ddim" else 9)) + 0.01 * (seed or 0)
    row |= {"benchmark": "toy_paraphrase", "task": "seq2seq", "data": "fedcba9876543210", "length": 48, "options": {}}
    row |= {"scheduler": scheduler, "seed": seed, "precision": None, "selection": None, "candidates": None}
    return row | _pair_figures(0.8 * quality, 0.02, 45 * quality, None)


def _pair_figures(success: float, copies: float, bleu: float, div: float | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    figures = {"paraphrase_success": success, "paraphrase_copy": copies, "bleu": bleu, "div_4": div}
    for name, value in figures.items():
        ends = (None, None) if value is None else (value * 0.95, value * 1.05)
        out |= {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1], f"{name}_settings": {"version": 1}}
        out[f"{name}_reason"] = NOT_A_CHOICE if value is None else None
    return out


def _chosen(row: dict[str, Any], count: int) -> dict[str, Any]:
    """A choice among `count` seeds: better texts at the cost of all."""
    costs = ("nfe_mean", "nfe_min", "nfe_max", "seconds_per_sequence", "seconds_total")
    row |= {key: None if row[key] is None else row[key] * count for key in costs}
    row |= dict.fromkeys(("load_seconds", "first_call_seconds", "warmup_seconds"))
    row |= {"seed": None, "selection": "mbr", "candidates": count}
    return row | _pair_figures(row["paraphrase_success"] * 1.1, 0.05, row["bleu"] * 1.15, 0.61)


def _imported(row: dict[str, Any]) -> dict[str, Any]:
    unknown = (
        *("runtime", "tokenizer", "length", "batch_size", "device", "dtype", "options", "tokens_per_second"),
        *("nfe_mean", "nfe_min", "nfe_max", "peak_memory_bytes", "parameters", "load_seconds", "seconds_total"),
        *("seconds_per_sequence", "sequences_per_second", "first_call_seconds", "warmup_seconds"),
        *("network_seconds_total", "seconds_median", "seconds_q1", "seconds_q3"),
    )
    return row | dict.fromkeys(unknown) | dict.fromkeys(("engine", "checkpoint", "checkpoint_kind"), "imported")


def _pair_sample(row: dict[str, Any], index: int) -> dict[str, Any]:
    def text(seed: int) -> str:
        words = PAIRS[index]["references"][0].split()
        generator = np.random.default_rng(hash_of(row["model"], row["scheduler"], row["steps"], seed, index))
        wrong = generator.random(len(words)) > (row["steps"] or 99) / 20
        return " ".join("the" if bad else word for word, bad in zip(words, wrong, strict=True))

    sample: dict[str, Any] = {"index": index, "text": text(row["seed"] or 0), "nfe": row["nfe_mean"]}
    if row["role"] == "control":
        sample["text"] = PAIRS[index]["source"]
    if row["selection"]:
        candidates = [text(seed) for seed in SEEDS]
        sample |= {"text": candidates[1], "candidates": candidates, "chosen": 1}
    if index == 1 and row["model"] == "diffuseq":
        sample["left_off"] = 2
    return sample
