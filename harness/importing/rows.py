"""Imported generations as points of a run, in the same files as those of our own workers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from adapters.cards import all_cards
from harness import provenance
from harness.benchmarks import FACTS, all_benchmarks
from harness.errors import UserError
from harness.importing.agree import prompts_of, settle
from harness.importing.files import Generations, expand, read_generations, seeds_of
from harness.importing.request import ImportRequest
from harness.points import digest_of
from harness.selection import selected_points
from harness.store import Record, RunStore
from harness.worker.jsonl import append_line, json_lines, read_lines, write_json, write_text

ENGINE = "imported"
#: Where neither the user nor the run says what the texts were made for.
BENCHMARK = "imported"
#: Metrics of a benchmark that is not ours.
PAIR_METRICS = (
    *("bleu", "bleu_diffuseq", "rouge_l", "chrf", "dist_1", "distinct_2", "self_bleu_candidates", "div_4"),
    "unigram_entropy",
)
TEXT_METRICS = ("unigram_entropy", "distinct_1", "distinct_2", "rep_2", "self_bleu")
GIVEN_COST = "seconds and NFE are what the user gave at import, not measured here"


@dataclass(frozen=True)
class Import:
    """An import that is checked but not written.

    Attributes:
        request: what was asked for.
        files: one a seed.
        points: one a file.
        prompts: what the texts were written from, [] for unconditional text.
        facts: benchmark.json where the run has none of this benchmark, else {}.
        notes: for the screen.
    """

    request: ImportRequest
    files: list[Generations]
    points: list[Record]
    prompts: list[Record]
    facts: Record
    notes: list[str]


def imported_points(store: RunStore) -> list[Record]:
    """Imported points of a run and the choices among them; [] for a run that is not there yet. `bench` keeps them."""
    points = store.points() if _exists(store) else []
    return [point for point in points if point["engine"] == ENGINE]


def prepare_import(request: ImportRequest, store: RunStore) -> Import:
    """Read and check everything; writes nothing.

    Raises:
        UserError: for a bad file, files that do not belong together, or not to what the run has already.
    """
    paths, others = expand(request.files, request.format)
    seeds = seeds_of(paths, request.seeds)
    files = [read_generations(path, request.format) for path in paths]
    own, count = prompts_of(files, request), len(files[0].samples)
    if not own and len({len(file.samples) for file in files}) > 1:
        raise UserError("files without sources must have equal counts.")
    notes = [f"left out: {path.name}" for path in others]
    benchmark = _benchmark(request, store, bool(own))
    facts = store.benchmark_facts(benchmark) if _exists(store) else {}
    task = "seq2seq" if own or facts.get("pairs") else "unconditional"
    if facts and task not in facts["tasks"]:
        wanted = "--sources and --references" if task == "unconditional" else "another --benchmark or --run"
        known = ", ".join(facts["tasks"])
        raise UserError(f"'{benchmark}' of run '{store.run}' has the tasks {known}, not {task}: give {wanted}.")
    remarks: list[str] = []
    if facts and task == "seq2seq":
        where = f"benchmark '{benchmark}' of run '{store.run}'"
        prepared = read_lines(store.benchmark_data(benchmark) / "prompts.jsonl")
        own, remarks = settle(own, prepared, count, where)
    new = {} if facts else _facts(benchmark, task, own)
    data = (facts or new)["digest"][:16]
    base = _base(request, task, benchmark, data, own)
    if request.seconds is not None or request.nfe is not None:
        remarks = [*remarks, GIVEN_COST]
    points = [_point(request, base, file, seed, remarks) for file, seed in zip(files, seeds, strict=True)]
    return Import(request, files, points, own, new, [*notes, *remarks])


def write_import(found: Import, store: RunStore) -> None:
    """Write a checked import into its run, which the caller has locked. What is there already is left as it is; a row
    of the same model, steps, scheduler and seed with other texts is replaced.
    """
    if found.facts:
        _write_data(store.benchmark_data(found.points[0]["benchmark"]), found)
    folder = store.job_folder(found.points[0]["job"])
    folder.mkdir(parents=True, exist_ok=True)
    if found.prompts:
        write_text(folder / "prompts.jsonl", json_lines(found.prompts))
    stored = {line["point"] for line in read_lines(folder / "points.jsonl")}
    for point, file in zip(found.points, found.files, strict=True):
        if point["fingerprint"] not in stored:
            append_line(folder / "batches.jsonl", _batch(point, file, found.request))
            append_line(folder / "points.jsonl", _row(point))
    _write_plan(found, store)


def _exists(store: RunStore) -> bool:
    return (store.folder / "run.json").is_file()


def _benchmark(request: ImportRequest, store: RunStore, pairs: bool) -> str:
    """The benchmark named, else the only one of the run that the texts can be of, else `BENCHMARK`."""
    if request.benchmark:
        return request.benchmark
    names = dict.fromkeys(point["benchmark"] for point in (store.points() if _exists(store) else []))
    fitting = [name for name in names if not pairs or store.benchmark_facts(name).get("pairs")]
    if len(fitting) > 1:
        raise UserError(f"run '{store.run}' has the benchmarks {', '.join(fitting)}: name one with --benchmark.")
    return fitting[0] if fitting else BENCHMARK


def _facts(name: str, task: str, prompts: list[Record]) -> Record:
    """Facts of a benchmark that the run gets by this import: ours by its card, another by its name."""
    ours = all_benchmarks().get(name)
    known = {key: getattr(ours, key) for key in ("version", "label", "summary", "licence", "judge")} if ours else {}
    usual = PAIR_METRICS if task == "seq2seq" else TEXT_METRICS
    empty: Record = {"version": None, "label": name, "summary": "imported texts", "licence": None, "judge": None}
    count = len(prompts)
    return {
        "name": name,
        **empty,
        **known,
        "tasks": [task],
        "metrics": list(ours.metrics if ours and task in ours.tasks else usual),
        "tokens": "words",
        "pairs": task == "seq2seq",
        "references": sum(bool(prompt["references"]) for prompt in prompts),
        "prompts": count,
        "windows": 0,
        "inputs": ENGINE,
        "digest": digest_of(prompts),
    }


def _base(request: ImportRequest, task: str, benchmark: str, data: str, prompts: list[Record]) -> Record:
    """What all points of an import have in common. What nobody measured is None."""
    card = all_cards().get(request.model)
    unknown: Record = dict.fromkeys(
        ("runtime", "tokenizer", "estimator", "precision", "selection", "candidates", "length", "batch_size")
    )
    unknown |= dict.fromkeys(("device", "dtype", "warmup_steps", "warmup_count"))
    return {
        "model": request.model,
        "role": card.role if card else "model",
        "checkpoint": ENGINE,
        "checkpoint_kind": ENGINE,
        "engine": ENGINE,
        "benchmark": benchmark,
        "data": data,
        "kind": "generate",
        "task": task,
        "scheduler": request.scheduler,
        "steps": request.steps,
        "options": {},
        "trace": False,
        "job": f"{ENGINE}-{digest_of([benchmark, prompts])[:8]}",
        **unknown,
    }


def _point(request: ImportRequest, base: Record, file: Generations, seed: int, remarks: list[str]) -> Record:
    point = {**base, "seed": seed, "samples": len(file.samples)}
    texts = [sample.text for sample in file.samples]
    fingerprint = digest_of([point, texts, request.seconds, request.nfe])[:16]
    return {"fingerprint": fingerprint, **point, "notes": remarks}


def _batch(point: Record, file: Generations, request: ImportRequest) -> Record:
    """All texts of a file as one batch; the cost is what the user gave, or unknown."""
    nfe = request.nfe
    samples = [
        {"index": i, "text": sample.text, "tokens": None, "nfe": nfe, "generated_tokens": None}
        for i, sample in enumerate(file.samples)
    ]
    cost: Record = dict.fromkeys(("session", "network_seconds", "network_calls", "peak_memory_bytes"))
    cost |= {"seconds": request.seconds, "evaluations": None if nfe is None else nfe * len(samples)}
    head = {"point": point["fingerprint"], "batch": 0, "file": file.path.name, "sha256": _sha256(file.path)}
    return {**head, **cost, "samples": samples}


def _row(point: Record) -> Record:
    row: Record = dict.fromkeys(("session", "reason", "message", "same_as", "warmup_seconds"))
    return {"point": point["fingerprint"], "status": "done", **row, "notes": point["notes"]}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_data(folder: Path, found: Import) -> None:
    """The data of a benchmark that the run does not have, as far as the import gives any."""
    folder.mkdir(parents=True, exist_ok=True)
    references = [{"text": prompt["reference"]} for prompt in found.prompts if prompt["references"]]
    write_text(folder / "references.jsonl", json_lines(references))
    write_text(folder / "prompts.jsonl", json_lines(found.prompts))
    write_json(folder / FACTS, found.facts)


#: What makes two imported rows the same row.
_IDENTITY = ("model", "benchmark", "task", "scheduler", "steps", "seed")


def _write_plan(found: Import, store: RunStore) -> None:
    request, now = found.request, pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds")
    created: Record = {
        "command": provenance.command_line(),
        "created": now,
        "config": {"judge": request.judge},
        "environment": provenance.environment(),
        "notes": [],
        "benchmarks": [],
    }
    plan = dict(store.plan) if _exists(store) else {**created, "points": []}
    mine = {tuple(point[key] for key in _IDENTITY) for point in found.points}
    before = [p for p in plan["points"] if p["engine"] != ENGINE]
    imported = [p for p in imported_points(store) if not p["selection"]]
    imported = [p for p in imported if tuple(p[key] for key in _IDENTITY) not in mine] + found.points
    plan["points"] = [*before, *imported, *(selected_points(imported) if request.mbr else [])]
    plan["benchmarks"] = list(dict.fromkeys([*plan.get("benchmarks", ()), found.points[0]["benchmark"]]))
    plan["imports"] = [*plan.get("imports", ()), {"command": created["command"], "created": now}]
    store.write_plan(plan)
