"""Benchmarks: one YAML each below `benchmarks/`, and the data they give to a run.

<folder>/train.txt         running training text
         heldout.txt       running held-out text, to watch a training by
         references.jsonl  {"text"}: held-out windows for likelihoods and as references
         prompts.jsonl     {"prefix", "suffix", "reference"}: the same windows, cut for the tasks, in the same order
         data.jsonl        {"text"}: a second held-out set, what the `data` control gives
         tokenizer.json    where the text has a tokenizer of its own
         benchmark.json    facts and digests, written last
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
import yaml

from benchmarks.base import TOKENIZER_FILE, Source, SourceRequest
from harness.errors import UserError, unknown
from harness.worker.jsonl import write_json, write_text

FACTS = "benchmark.json"
_FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as its YAML describes it.

    Attributes:
        name: what the user types.
        version: raised whenever the same settings would give other data.
        summary: one line.
        label: for plots and tables.
        source: importable module with ``build(request: SourceRequest) -> Source``.
        tasks: accepted tasks.
        length: tokens of a window.
        metrics: default metrics.
        judge: default judge of generative perplexity: a folder below the project, a Hub name, or None.
        needs_data: whether the user brings the text.
        options: the source's own settings.
    """

    name: str
    version: int
    summary: str
    label: str
    source: str
    tasks: tuple[str, ...]
    length: int
    metrics: tuple[str, ...]
    judge: str | None = None
    needs_data: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkData:
    """Prepared data of a benchmark.

    Attributes:
        folder: where the files are.
        digest: sha256 over their contents, 64 hex digits.
        references: held-out windows for likelihoods, references and prompts; at most the `samples` asked for.
        windows: windows of the second held-out set, for the `data` control.
        facts: what benchmark.json says.
    """

    folder: Path
    digest: str
    references: int
    windows: int
    facts: dict[str, Any]


def read_benchmark(path: Path) -> Benchmark:
    """Read one benchmark file; raises `UserError` for a key that is unknown or missing."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise UserError(f"{path} is not a mapping of keys to values.")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    try:
        return Benchmark(**values)
    except TypeError as error:
        raise UserError(f"{path}: {error}") from None


@cache
def all_benchmarks() -> dict[str, Benchmark]:
    """Every benchmark by name."""
    found = (read_benchmark(path) for path in sorted(_FOLDER.glob("*/*.yaml")))
    return {benchmark.name: benchmark for benchmark in found}


def get_benchmark(name: str) -> Benchmark:
    """One benchmark; raises `UserError` with the nearest name for an unknown one."""
    known = all_benchmarks()
    if name not in known:
        raise unknown("benchmark", name, known)
    return known[name]


def prepare(
    benchmark: Benchmark,
    folder: Path,
    *,
    seed: int = 0,
    samples: int,
    data: Path | None = None,
    reference: Path | None = None,
    normalize: str = "text8",
    length: int | None = None,
) -> BenchmarkData:
    """Write the data of a benchmark into `folder`, or read back what is there when it was made from the same inputs.

    Args:
        benchmark: which one.
        folder: made where it is missing.
        seed: of generated text; held-out text does not depend on the seeds of sampling.
        samples: windows wanted in each held-out set; a short file gives fewer.
        data: the user's text file, for benchmarks that need one.
        reference: the user's held-out text file, or None.
        normalize: "text8" or "none", for the user's text.
        length: tokens of a window; None for the benchmark's own.

    Raises:
        UserError: for a file that is missing, empty, not UTF-8 or too short, or that this benchmark does not take.
    """
    _check_files(benchmark, data, reference)
    request = SourceRequest(seed, samples, length or benchmark.length, benchmark.options, data, reference, normalize)
    inputs = _inputs_digest(benchmark, request)
    kept = _read_back(folder, inputs)
    if kept is not None:
        return kept
    source: Source = importlib.import_module(benchmark.source).build(request)
    files = _contents(source)
    facts = _facts(benchmark, request, source) | {"inputs": inputs, "digest": _digest(files), "files": sorted(files)}
    _write(folder, files, facts)
    return _data(folder, facts)


def _check_files(benchmark: Benchmark, data: Path | None, reference: Path | None) -> None:
    if benchmark.needs_data and data is None:
        raise UserError(f"the benchmark '{benchmark.name}' needs a text file: DATA=FILE (data=FILE).")
    given = [name for name, path in (("DATA", data), ("REFERENCE", reference)) if path is not None]
    if given and not benchmark.needs_data:
        takers = ", ".join(b.name for b in all_benchmarks().values() if b.needs_data)
        raise UserError(f"the benchmark '{benchmark.name}' makes its own text: no {given[0]}. For a file: {takers}.")


def _contents(source: Source) -> dict[str, str]:
    """Every data file by name."""
    files = {
        "train.txt": source.train,
        "heldout.txt": source.heldout,
        "references.jsonl": _lines({"text": window.text} for window in source.references),
        "prompts.jsonl": _lines(
            {"prefix": window.prefix, "suffix": window.suffix, "reference": window.text} for window in source.references
        ),
        "data.jsonl": _lines({"text": window.text} for window in source.data),
    }
    if isinstance(source.tokenizer, tokenizers.Tokenizer):
        files[TOKENIZER_FILE] = source.tokenizer.to_str(pretty=True)
    return files


def _lines(records: Iterable[dict[str, str]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _facts(benchmark: Benchmark, request: SourceRequest, source: Source) -> dict[str, Any]:
    return {
        "name": benchmark.name,
        "version": benchmark.version,
        "label": benchmark.label,
        "summary": benchmark.summary,
        "tasks": list(benchmark.tasks),
        "metrics": list(benchmark.metrics),
        "judge": benchmark.judge,
        "length": request.length,
        "seed": request.seed,
        "tokens": source.tokens,
        "tokenizer": source.tokenizer if isinstance(source.tokenizer, str) else "folder",
        "references": len(source.references),
        "windows": len(source.data),
        **source.facts,
    }


def _inputs_digest(benchmark: Benchmark, request: SourceRequest) -> str:
    """sha256 over everything that can change the data: settings, the source's own files, the user's files."""
    module = importlib.util.find_spec(benchmark.source)
    if module is None or module.origin is None:
        raise UserError(f"benchmark '{benchmark.name}': there is no module '{benchmark.source}'.")
    own = [path for path in sorted(Path(module.origin).parent.iterdir()) if path.suffix in (".py", ".txt", ".yaml")]
    given = [path for path in (request.data, request.reference) if path is not None and path.is_file()]
    settings = [benchmark.name, benchmark.version, request.seed, request.samples, request.length, request.normalize]
    total = hashlib.sha256(json.dumps([*settings, request.options, request.reference is None], sort_keys=True).encode())
    for path in [*own, *given]:
        with open(path, "rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _digest(files: dict[str, str]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(name.encode() + b"\0" + hashlib.sha256(files[name].encode("utf-8")).digest())
    return total.hexdigest()


def _read_back(folder: Path, inputs: str) -> BenchmarkData | None:
    """What is in the folder, None where it is missing, made from other inputs, or damaged."""
    if not (folder / FACTS).is_file():
        return None
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if facts.get("inputs") != inputs:
        return None
    paths = [folder / name for name in facts["files"]]
    if not all(path.is_file() for path in paths):
        return None
    files = {path.name: path.read_bytes().decode("utf-8", errors="replace") for path in paths}
    return _data(folder, facts) if _digest(files) == facts["digest"] else None


def _write(folder: Path, files: dict[str, str], facts: dict[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The facts vouch for the other files, so they go first and come back last.
        (folder / FACTS).unlink(missing_ok=True)
        for name, text in files.items():
            write_text(folder / name, text)
        write_json(folder / FACTS, facts)
    except OSError as error:
        raise UserError(f"cannot write benchmark data into {folder}: {error.strerror}.") from None


def _data(folder: Path, facts: dict[str, Any]) -> BenchmarkData:
    return BenchmarkData(folder, facts["digest"], facts["references"], facts["windows"], facts)
