"""What each command of ``tdbench`` does, in terms of the stages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from adapters.cards import all_cards, get_card
from harness import doctor as machine
from harness import provenance
from harness.benchmarks import DEFAULT_COUNTS, Benchmark, BenchmarkData, all_benchmarks, prepare_as_set
from harness.compare.request import Request as CompareRequest
from harness.config import BenchConfig, ReportConfig, ScoreConfig, build, folder
from harness.dry_run import print_dry_run
from harness.errors import UserError
from harness.execute import Outcome, Settings, execute
from harness.export.request import ExportRequest
from harness.fetch import fetch_upstream, missing_packages, pip_line
from harness.importing import ImportRequest, imported_points, prepare_import, write_import
from harness.metrics import get_metric
from harness.plan import make_plan, run_name, threads
from harness.prepare import fetch_and_build, runtimes
from harness.progress import Progress
from harness.selection import select
from harness.store import RunStore
from harness.summary import HEADLINE_METRICS, print_summary
from harness.table import table
from harness.weights import fetch_command
from harness.worker.jsonl import DISK_FULL

if TYPE_CHECKING:
    from harness.report import ReportData  # brings matplotlib


def bench(words: list[str], dry_run: bool = False) -> int:
    """Plan, fetch and build what is missing, run, score, report.

    Args:
        words: ``key=value`` settings of `BenchConfig`.
        dry_run: only print what would be done; nothing is written, fetched or built.

    Returns:
        exit code 0, 1 for failed points, 2 for what a model refused.
    """
    config = build(BenchConfig, words)
    # Every name and number is checked before anything is written.
    plan = make_plan(config)
    benchmarks = plan.benchmarks
    named = _named_metrics(config.metrics)
    store = RunStore(folder(config.results) / run_name(config))
    if dry_run:
        _print_notes(plan.notes)
        print_dry_run(plan, store.run, words, config.image_base)
        return 0
    _make_folder(folder(config.reports) / store.run)
    with store.locked():
        fetch_and_build(plan, config)
        outcome = _generate(config, benchmarks, store)
        scored = _score_or_say(store, config)
        said = _report(store, folder(config.reports))
    print_summary(table(store), {b.name: named or b.metrics[:HEADLINE_METRICS] for b in benchmarks})
    print(f"\n{said}")
    return _exit_code(outcome) or int(not scored)


def _named_metrics(metrics: list[str]) -> list[str] | None:
    """The metrics a user names, None for those the benchmarks list. Raises `UserError` for an unknown one."""
    if metrics == ["default"]:
        return None
    for name in metrics:
        get_metric(name)
    return metrics


def _generate(config: BenchConfig, benchmarks: Sequence[Benchmark], store: RunStore) -> Outcome:
    data = {b.name: prepare_data(b, config, store.benchmark_data(b.name)) for b in benchmarks}
    plan = make_plan(config, data)
    notes = [*plan.notes, *(note for prepared in data.values() for note in prepared.facts.get("data_notes", ()))]
    _print_notes(notes)
    store.write_plan(
        {
            "command": provenance.command_line(),
            "created": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
            "config": dict(vars(config)),
            "environment": provenance.environment(),
            "notes": notes,
            "benchmarks": [benchmark.name for benchmark in benchmarks],
            "points": [*plan.points, *imported_points(store)],
        }
    )
    settings = Settings(threads(config), config.warmup_calls, config.time_limit)
    outcome = execute(store, plan, settings, Progress(), runtimes(config))
    select(store)
    return outcome


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def prepare_data(benchmark: Benchmark, config: BenchConfig, place: Path) -> BenchmarkData:
    """The data of a benchmark as a configuration asks for it, prepared in the folder `place`."""
    samples = max(benchmark.count(name, getattr(config, name)) for name in DEFAULT_COUNTS)
    return prepare_as_set(benchmark, config, place, samples, config.window or config.length)


def _exit_code(outcome: Outcome) -> int:
    refused = [row["message"] for row in outcome.failed if row["reason"] in ("bad_request", "bad_checkpoint")]
    for message in dict.fromkeys(refused):
        print(f"tdbench: {message}", file=sys.stderr)
    if refused:
        return 2
    if outcome.failed:
        print(f"tdbench: {len(outcome.failed)} points failed; the same command tries them again.", file=sys.stderr)
        return 1
    return 0


def score(words: list[str]) -> int:
    """Score a stored run."""
    config = build(ScoreConfig, words)
    store = RunStore.open(folder(config.results), config.run)
    with store.locked():
        _score(store, config.metrics, config.judge, config.force)
    return 0


def _score(store: RunStore, metrics: list[str], judge: str | None, force: bool) -> None:
    from harness.score import score as score_run  # brings torch and transformers, which `report` can do without

    score_run(
        store, None if metrics == ["default"] else metrics, judge or store.plan["config"]["judge"], force, sys.stderr
    )


def import_texts(request: ImportRequest) -> int:
    """Make rows from texts generated elsewhere, score the run, write its report."""
    named = _named_metrics(request.metrics)
    name = run_name(BenchConfig(run=request.run or f"imported-{request.benchmark or 'texts'}"))
    store = RunStore(folder(request.results) / name)
    found = prepare_import(request, store)
    _make_folder(folder(request.reports) / store.run)
    with store.locked():
        write_import(found, store)
        select(store)
        _score(store, request.metrics, request.judge, force=False)
        said = _report(store, folder(request.reports))
    _print_notes(found.notes)
    names = dict.fromkeys(point["benchmark"] for point in store.points())
    print_summary(table(store), {b: named or store.benchmark_facts(b)["metrics"][:HEADLINE_METRICS] for b in names})
    print(f"\n{said}")
    return 0


def report(words: list[str]) -> int:
    """Write the report of a stored run, or one of several.

    Returns:
        exit code 0, 1 when a run could not be read and the report is of the others.
    """
    from harness.report.data import Given  # brings pandas
    from harness.report.merge import runs_as_one

    config = build(ReportConfig, words)
    data, problems = runs_as_one(config, provenance.command_line())
    place = folder(config.reports) / data.run
    _make_folder(place)
    _print_notes(data.missing)
    given = Given(config.max_steps, config.max_seconds, (config.step_pair[0], config.step_pair[1]))
    print(_write(replace(data, given=given), place))
    return int(bool(problems))


def export(request: ExportRequest) -> int:
    """Write a stored run in the formats of other tools."""
    from harness.export.command import export as write_exports  # brings matplotlib

    return write_exports(request)


def compare(request: CompareRequest, results: Path, reports: Path, form: str | None, all_rows: bool) -> int:
    """Set two stored runs against each other; print what changed and write a page.

    Args:
        request: what is compared, and what counts as worse.
        results: folder that holds run folders.
        reports: folder that holds reports.
        form: "tsv", "json" or None for text.
        all_rows: of text, print every row.

    Returns:
        exit code 0, 1 when something is worse, 2 when nothing could be compared.
    """
    from harness.compare import text  # brings matplotlib, as the next two do
    from harness.compare.command import compare_runs
    from harness.compare.page import write_page

    result = compare_runs(request, results.expanduser())
    place = reports.expanduser() / f"compare-{result.a.run}-{result.b.run}"
    _make_folder(place, "--reports")
    page = write_page(result, place)
    print(text.printed(result, form, all_rows), end="")
    print(f"page: {page}", file=sys.stderr if form else sys.stdout)
    return result.code


def _make_folder(path: Path, setting: str = "reports=") -> None:
    """Make a folder for the report before hours are spent; raises `UserError` where that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write reports into {path}: {error.strerror}. Choose another with {setting}.") from None


def _score_or_say(store: RunStore, config: BenchConfig) -> bool:
    """Score; on a full disk say so and return False, so that the report of what there is still gets written."""
    try:
        _score(store, config.metrics, config.judge, force=False)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        print(f"tdbench: scores could not be stored: {error.strerror}.", file=sys.stderr)
        return False
    return True


def _report(store: RunStore, reports: Path) -> str:
    from harness.report import report_data  # brings matplotlib

    return _write(report_data(store), reports / store.run)


def _write(data: ReportData, place: Path) -> str:
    """Write a report; what it says, and where it is."""
    from harness.report import verdict  # brings matplotlib
    from harness.report.page import Page
    from harness.report.render import write_page

    page = Page(data)
    written = write_page(page, place)
    said = [f"- {line}" for line in verdict.lines(verdict.build(page), every=False)]
    return "\n".join([*said, "", f"report: {written}"])


def train(words: list[str]) -> int:
    """Train a small checkpoint."""
    from harness.training.config import TrainConfig
    from harness.training.trainer import train as run_training  # brings torch

    run_training(build(TrainConfig, words))
    return 0


def fetch(name: str | None, dry_run: bool, offline: bool, source: str | None, to: str | None) -> int:
    """Get a published checkpoint, or say what that would take."""
    if to:
        raise UserError("--to is for --upstream: weights go into the cache. TDBENCH_CACHE=FOLDER chooses another.")
    return fetch_command(name, dry_run, offline, source)


def fetch_code(model: str | None, source: str | None, to: str | None) -> int:
    """Get the authors' code of a model, and say what this Python still lacks to run it."""
    if model is None:
        raise UserError("whose code? tdbench fetch --upstream MODEL")
    place = fetch_upstream(model, source, to)
    print(f"use it with: engine=upstream{f' upstream.path={place}' if to else ''}")
    lacking = missing_packages(get_card(model))
    if lacking:
        print(f"their code also needs {', '.join(lacking)}: {pip_line(lacking)}")
    return 0


def images(
    names: Sequence[str], base: str | None, variant: str | None, network: bool, dry_run: bool, context: Path | None
) -> int:
    """Build the container images that are not there yet."""
    from harness.images import images_command

    return images_command(names, base, variant, network, dry_run, context)


def convert(source: str, to: Path, minutes: float, memory: float | None) -> int:
    """Copy a checkpoint with its pickles turned into safetensors, inside a container."""
    from harness.convert import convert_command  # brings torch

    return convert_command(source, to, minutes, memory)


def parity(model: str, words: list[str], record: Path | None) -> int:
    """Compare the engines of a model. Exit code 0 where they agree, 1 where not."""
    from harness.parity import parity as compare_engines

    return compare_engines(model, words, record)


def models() -> int:
    """List models, tab-separated."""
    print("model\trole\tengines\tcheckpoints\ttasks\tschedulers\tlikelihood")
    for card in all_cards().values():
        estimators = ",".join(card.estimators) or "-"
        columns = (
            card.name,
            card.role,
            ",".join(card.engines),
            ",".join(card.checkpoints),
            ",".join(card.tasks),
            ",".join(card.schedulers),
            estimators,
        )
        print("\t".join(columns))
    return 0


def benchmarks() -> int:
    """List benchmarks, tab-separated."""
    print("benchmark\tversion\ttasks\tlength\tmetrics\tlicence\tsummary")
    for entry in all_benchmarks().values():
        metrics = ",".join(entry.metrics)
        columns = (
            entry.name,
            entry.version,
            ",".join(entry.tasks),
            entry.length,
            metrics,
            entry.licence,
            entry.summary,
        )
        print("\t".join(map(str, columns)))
    return 0


def doctor() -> int:
    """Print what this machine can do. Exit code 1 when something needed is missing."""
    findings = machine.examine()
    for finding in findings:
        mark = {True: "ok", False: "MISSING", None: "note"}[finding.ok]
        print(f"{mark:<8} {finding.subject:<12} {finding.text}")
    return int(any(finding.ok is False for finding in findings))
