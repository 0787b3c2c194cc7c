"""What each command of ``tdbench`` does, in terms of the stages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from adapters.cards import all_cards
from harness import doctor as machine
from harness import provenance
from harness.benchmarks import Benchmark, all_benchmarks, get_benchmark, prepare
from harness.config import BenchConfig, ReportConfig, ScoreConfig, build, folder
from harness.errors import UserError
from harness.execute import Outcome, Settings, execute
from harness.metrics import get_metric
from harness.plan import make_plan, run_name, threads
from harness.progress import Progress
from harness.store import RunStore
from harness.table import table
from harness.worker.jsonl import DISK_FULL

SUMMARY_COLUMNS = ["model", "scheduler", "steps", "status", "nfe_mean", "seconds_per_sequence", "tokens_per_second"]
#: How many of a benchmark's own metrics the printed table shows; the report shows all.
HEADLINE_METRICS = 5
LIKELIHOOD_COLUMNS = [
    "model",
    "estimator",
    "bound",
    "status",
    "bits_per_token",
    "bits_per_byte",
    "perplexity",
    "standard_error",
]


def bench(words: list[str]) -> int:
    """Plan, run, score, report. Exit code 0, 1 for failed points, 2 for a checkpoint that cannot be used."""
    config = build(BenchConfig, words)
    benchmark = get_benchmark(config.benchmark)
    # Every name and number is checked before anything is written.
    make_plan(config)
    for name in [] if config.metrics == ["default"] else config.metrics:
        get_metric(name)
    store = RunStore(folder(config.results) / run_name(config))
    _make_folder(folder(config.reports) / store.run)
    with store.locked():
        outcome = _generate(config, benchmark, store)
        scored = _score_or_say(store, config)
        page = _report(store, folder(config.reports))
    wanted = benchmark.metrics[:HEADLINE_METRICS] if config.metrics == ["default"] else config.metrics
    _print_summary(table(store), wanted)
    print(f"\nreport: {page}")
    return _exit_code(outcome) or int(not scored)


def _generate(config: BenchConfig, benchmark: Benchmark, store: RunStore) -> Outcome:
    data = prepare(
        benchmark,
        store.benchmark_data(benchmark.name),
        seed=config.data_seed,
        samples=max(config.samples, config.likelihood_samples),
        data=folder(config.data) if config.data else None,
        reference=folder(config.reference) if config.reference else None,
        normalize=config.normalize,
        length=config.window or config.length,
    )
    plan = make_plan(config, data)
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)
    store.write_plan(
        {
            "command": provenance.command_line(),
            "created": pd.Timestamp.now(tz="UTC").isoformat(timespec="seconds"),
            "config": dict(vars(config)),
            "environment": provenance.environment(),
            "notes": plan.notes,
            "points": plan.points,
        }
    )
    settings = Settings(threads(config), config.warmup_calls, config.time_limit)
    return execute(store, plan, settings, Progress())


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


def report(words: list[str]) -> int:
    """Write the report of a stored run."""
    config = build(ReportConfig, words)
    store = RunStore.open(folder(config.results), config.run)
    _make_folder(folder(config.reports) / store.run)
    print(f"report: {_report(store, folder(config.reports))}")
    return 0


def _make_folder(path: Path) -> None:
    """Make a folder for the report before hours are spent; raises `UserError` where that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write reports into {path}: {error.strerror}. Choose another with reports=.") from None


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


def _report(store: RunStore, reports: Path) -> Path:
    from harness.report import report_data, write_report  # brings matplotlib

    return write_report(report_data(store), reports / store.run)


def train(words: list[str]) -> int:
    """Train a small checkpoint."""
    from harness.training.config import TrainConfig
    from harness.training.trainer import train as run_training  # brings torch

    run_training(build(TrainConfig, words))
    return 0


def models() -> int:
    """List models, tab-separated."""
    print("model\trole\tcheckpoints\ttasks\tschedulers\tlikelihood")
    for card in all_cards().values():
        estimators = ",".join(card.estimators) or "-"
        columns = (
            card.name,
            card.role,
            ",".join(card.checkpoints),
            ",".join(card.tasks),
            ",".join(card.schedulers),
            estimators,
        )
        print("\t".join(columns))
    return 0


def benchmarks() -> int:
    """List benchmarks, tab-separated."""
    print("benchmark\tversion\ttasks\tlength\tmetrics\tsummary")
    for entry in all_benchmarks().values():
        metrics = ",".join(entry.metrics)
        print(f"{entry.name}\t{entry.version}\t{','.join(entry.tasks)}\t{entry.length}\t{metrics}\t{entry.summary}")
    return 0


def doctor() -> int:
    """Print what this machine can do. Exit code 1 when something needed is missing."""
    findings = machine.examine()
    for finding in findings:
        mark = {True: "ok", False: "MISSING", None: "note"}[finding.ok]
        print(f"{mark:<8} {finding.subject:<12} {finding.text}")
    return int(any(finding.ok is False for finding in findings))


def _print_summary(frame: pd.DataFrame, metrics: Sequence[str]) -> None:
    """The table a person reads after a run: generation with its main metrics, then likelihood."""
    generated = frame[frame["kind"] == "generate"]
    if len(generated):
        print(_plain(generated[SUMMARY_COLUMNS + [name for name in metrics if name in frame.columns]]))
    scored = frame[frame["kind"] == "likelihood"]
    if len(scored):
        print("\n" + _plain(scored.reindex(columns=LIKELIHOOD_COLUMNS)))


def _plain(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4g}")
