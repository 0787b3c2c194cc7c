"""Benchmarks: one YAML each below `benchmarks/`, and the data they give to a run (`harness.benchmark_files`)."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import yaml

from benchmarks.base import Source, SourceRequest
from harness.benchmark_files import contents, data_texts
from harness.config import folder as user_path
from harness.errors import UserError, unknown
from harness.worker.jsonl import write_json, write_text

FACTS = "benchmark.json"
#: Sequences and held-out texts where neither the user nor the benchmark names a count.
DEFAULT_COUNTS = {"samples": 256, "likelihood_samples": 128}
NORMALIZATIONS = ("text8", "none")
_FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as its YAML describes it.

    Attributes:
        name: what the user types.
        version: raised whenever the same settings would give other data.
        summary: one line.
        label: for plots and tables.
        licence: of the text.
        source: importable module with ``build(request: SourceRequest) -> Source``, and where it reads a corpus
            ``local_inputs(request: SourceRequest) -> list[Path]``: the user's files that the data depend on.
        tasks: accepted tasks.
        length: size of a window: words (toy), characters (text), or tokens to write where there are only prompts.
        metrics: default metrics.
        judge: default judge of generative perplexity: a folder below the project, a Hub name, or None.
        needs_data: whether the user brings the text.
        references: whether there is held-out text; without it nothing can be scored by likelihood.
        normalize: "text8" or "none", where the user does not say.
        counts: samples and likelihood_samples with which its figures are usually given.
        seeds: random seeds of sampling where the user names none.
        options: the source's own settings with their defaults.
        corpus: where the text is and how it is read (`benchmarks.corpora.settings`, `benchmarks.pairs.settings`); empty
            where it is not read.
    """

    name: str
    version: int
    summary: str
    label: str
    licence: str
    source: str
    tasks: tuple[str, ...]
    length: int
    metrics: tuple[str, ...]
    judge: str | None = None
    needs_data: bool = False
    references: bool = True
    normalize: str = "none"
    counts: dict[str, int] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    options: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=dict)

    def count(self, name: str, wanted: int | None) -> int:
        """How many samples or likelihood_samples: as many as are wanted, else the benchmark's own count."""
        return wanted or self.counts.get(name, DEFAULT_COUNTS[name])


class DataSettings(Protocol):
    """What a configuration says of data; see the help of `tdbench bench`."""

    benchmark_path: Any
    benchmark_options: Any
    data: Any
    reference: Any
    data_seed: int
    normalize: Any


@dataclass(frozen=True)
class BenchmarkData:
    """Prepared data of a benchmark.

    Attributes:
        folder: where the files are.
        digest: sha256 over their contents, 64 hex digits.
        references: held-out windows for likelihoods and references, or held-out pairs; at most the `samples` asked for.
        prompts: of the conditional tasks; the references cut, a prompt benchmark's own, or the sources of the pairs.
        windows: windows of the second held-out set, for the `data` control; for pairs, other true texts.
        facts: what benchmark.json says.
    """

    folder: Path
    digest: str
    references: int
    prompts: int
    windows: int
    facts: dict[str, Any]


def read_benchmark(path: Path) -> Benchmark:
    """Read one benchmark file; raises `UserError` for a key that is unknown or missing."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} is not a mapping of keys to values.")
    known = {f.name: f for f in fields(Benchmark)}
    missing = [f.name for f in known.values() if f.name not in data and {f.default, f.default_factory} == {MISSING}]
    if missing:
        raise UserError(f"{path} lacks {', '.join(map(repr, missing))}.")
    for key in data:
        if key not in known:
            raise unknown(f"key in {path}", str(key), known)
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Benchmark(**values)


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
    samples: int,
    seed: int = 0,
    data: Path | None = None,
    reference: Path | None = None,
    path: Path | None = None,
    options: Mapping[str, Any] | None = None,
    normalize: str | None = None,
    length: int | None = None,
) -> BenchmarkData:
    """Write the data of a benchmark into `folder`, or read back what is there when it was made from the same inputs.

    Args:
        benchmark: which one.
        folder: made where it is missing.
        samples: windows wanted in each held-out set; a short file gives fewer.
        seed: of generated text; held-out text does not depend on the seeds of sampling.
        data: the user's text file, for benchmarks that need one.
        reference: the user's held-out text file, or None.
        path: the user's file or folder of the benchmark's own format, read in place of its source; or None.
        options: settings of the source that differ from the benchmark's own.
        normalize: "text8" or "none", for text that is read; None for the benchmark's own.
        length: size of a window; None for the benchmark's own.

    Raises:
        UserError: for an unknown or wrong setting, a file that is missing, bad or too short, or that this benchmark
            does not take, and a source that cannot be reached.
    """
    _check_files(benchmark, data, reference, path)
    if normalize is not None and normalize not in NORMALIZATIONS:
        raise unknown("normalisation", str(normalize), NORMALIZATIONS)
    request = SourceRequest(
        seed=seed,
        samples=samples,
        length=length or benchmark.length,
        options=chosen_options(benchmark, options or {}),
        data=data,
        reference=reference,
        normalize=normalize or benchmark.normalize,
        name=benchmark.name,
        corpus=benchmark.corpus,
        path=path,
    )
    inputs = _inputs_digest(benchmark, request)
    kept = _read_back(folder, inputs)
    if kept is not None:
        return kept
    source: Source = importlib.import_module(benchmark.source).build(request)
    files = contents(source)
    facts = _facts(benchmark, request, source) | {"inputs": inputs, "digest": _digest(files), "files": sorted(files)}
    _write(folder, files, facts)
    return _data(folder, facts)


def prepare_as_set(
    benchmark: Benchmark, settings: DataSettings, place: Path, samples: int, length: int | None
) -> BenchmarkData:
    """`prepare` with what a command's configuration says of data."""
    files = {name: getattr(settings, name) for name in ("data", "reference", "benchmark_path")}
    given = {name: user_path(value) if value else None for name, value in files.items()}
    return prepare(
        benchmark,
        place,
        samples=samples,
        seed=settings.data_seed,
        data=given["data"],
        reference=given["reference"],
        path=given["benchmark_path"],
        options=settings.benchmark_options,
        normalize=settings.normalize,
        length=length,
    )


def chosen_options(benchmark: Benchmark, given: Mapping[str, Any]) -> dict[str, Any]:
    """The benchmark's options with the user's in their place.

    Raises:
        UserError: for an option it does not have, or a value of another type (null stands for "all" where numbers are
            limits).
    """
    for name, value in given.items():
        if name not in benchmark.options:
            raise unknown(f"option of benchmark {benchmark.name}", str(name), benchmark.options)
        problem = _wrong_value(benchmark.options[name], value)
        if problem:
            raise UserError(f"benchmark.options.{name} of {benchmark.name} must be {problem}, got '{value}'.")
    return {**benchmark.options, **given}


def _wrong_value(default: Any, value: Any) -> str | None:
    """What a value should be to stand in the place of `default`; None where it may."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if default is None or isinstance(default, int):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        return None if whole or value is None else "a whole number, 1 or more"
    if isinstance(default, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number else "a number"
    return None if isinstance(value, str) else "a word"


def _check_files(benchmark: Benchmark, data: Path | None, reference: Path | None, path: Path | None) -> None:
    if benchmark.needs_data and data is None:
        raise UserError(f"the benchmark '{benchmark.name}' needs a text file: DATA=FILE (data=FILE).")
    given = [name for name, file in (("DATA", data), ("REFERENCE", reference)) if file is not None]
    if given and benchmark.corpus:
        raise UserError(f"the benchmark '{benchmark.name}' has files of its own: no {given[0]}, but benchmark.path=.")
    if given and not benchmark.needs_data:
        takers = ", ".join(b.name for b in all_benchmarks().values() if b.needs_data)
        raise UserError(f"the benchmark '{benchmark.name}' makes its own text: no {given[0]}. For a file: {takers}.")
    if path is not None and not benchmark.corpus:
        takers = ", ".join(b.name for b in all_benchmarks().values() if b.corpus)
        raise UserError(f"the benchmark '{benchmark.name}' takes no benchmark.path=. These do: {takers}.")
    if path is not None and not path.exists():
        raise UserError(f"benchmark.path={path}: there is no such file or folder.")


def _facts(benchmark: Benchmark, request: SourceRequest, source: Source) -> dict[str, Any]:
    return {
        "name": benchmark.name,
        "version": benchmark.version,
        "label": benchmark.label,
        "summary": benchmark.summary,
        "licence": benchmark.licence,
        "tasks": list(benchmark.tasks),
        "metrics": list(benchmark.metrics),
        "judge": benchmark.judge,
        "length": request.length,
        "seed": request.seed,
        "tokens": source.tokens,
        "tokenizer": source.tokenizer if isinstance(source.tokenizer, str) else "folder",
        "pairs": bool(source.pairs),
        "references": len(source.references) + len(source.pairs),
        "prompts": len(source.references) + len(source.prompts) + len(source.pairs),
        "windows": len(data_texts(source)),
        **source.facts,
    }


def _inputs_digest(benchmark: Benchmark, request: SourceRequest) -> str:
    """sha256 over everything that can change the data: settings, the source's own files, the user's files."""
    spec = importlib.util.find_spec(benchmark.source)
    if spec is None or spec.origin is None:
        raise UserError(f"benchmark '{benchmark.name}': there is no module '{benchmark.source}'.")
    own = [path for path in sorted(Path(spec.origin).parent.iterdir()) if path.suffix in (".py", ".txt", ".yaml")]
    given = [path for path in (request.data, request.reference) if path is not None and path.is_file()]
    if request.path is not None:
        given += importlib.import_module(benchmark.source).local_inputs(request)
    settings = [benchmark.name, benchmark.version, request.seed, request.samples, request.length, request.normalize]
    present = [request.reference is None, request.path is None]
    total = hashlib.sha256(json.dumps([*settings, request.options, *present], sort_keys=True).encode())
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
    return BenchmarkData(folder, facts["digest"], facts["references"], facts["prompts"], facts["windows"], facts)
