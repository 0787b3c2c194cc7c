"""Runs the jobs of a plan, one after the other: each holds its device alone."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UserError
from harness.plan import Plan, batch_count, work_of
from harness.points import Job
from harness.progress import Progress
from harness.runtimes.base import Ending, Runtime, Worker
from harness.runtimes.local import LocalRuntime
from harness.store import Record, RunStore
from harness.worker.jsonl import append_line, read_lines, write_json

UNFINISHED = "failed"
#: Bytes of a log that may stand in a row.
LONGEST_MESSAGE = 2000


@dataclass
class Outcome:
    """What happened in one invocation.

    Attributes:
        failed: rows of failed points.
    """

    failed: list[Record] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """How jobs are run.

    Attributes:
        threads: CPU threads of a worker.
        warmup_calls: most warm-up calls a point.
        time_limit: seconds a point may take, None for no limit.
    """

    threads: int
    warmup_calls: int
    time_limit: float | None


def execute(
    store: RunStore,
    plan: Plan,
    settings: Settings,
    progress: Progress,
    runtime_for: Callable[[Job], Runtime] | None = None,
) -> Outcome:
    """Run every unfinished point. A failure is a row; the others go on.

    Args:
        store: the run folder, locked by the caller, with the plan written.
        plan: what to run.
        settings: how to run it.
        progress: where progress is shown.
        runtime_for: where a job runs; None: all are local.

    Raises:
        KeyboardInterrupt: also where this process is asked to end (SIGTERM) or its terminal is gone (SIGHUP); no worker
            is left then.
    """
    outcome = Outcome()
    runtimes = {job.name: runtime_for(job) if runtime_for else LocalRuntime() for job in plan.jobs}
    for job in plan.jobs:
        _write_job(store, job, settings, runtimes[job.name])
    progress.start(sum(_left(store, job) for job in plan.jobs))
    with _ending_is_an_interrupt():
        for job in plan.jobs:
            _JobRunner(store, job, settings, progress, outcome, runtimes[job.name]).run()
    progress.close()
    return outcome


@contextmanager
def _ending_is_an_interrupt() -> Iterator[None]:
    """Be ended as by Ctrl-C, which stops the worker, by signals that would end this process on the spot."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # An ignored one (nohup) stays ignored.
    usual = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in usual:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in usual:
            signal.signal(number, signal.SIG_DFL)


def _write_job(store: RunStore, job: Job, settings: Settings, runtime: Runtime) -> None:
    folder = store.job_folder(job.name)
    folder.mkdir(parents=True, exist_ok=True)
    runtime.claim(folder)
    data = store.benchmark_data(job.benchmark).resolve()
    record = {
        "job": job.name,
        "adapter": job.adapter,
        "checkpoint_sha256": job.checkpoint_sha256,
        "load": runtime.inside({**job.load, "data": str(data)}),
        "runtime": runtime.facts,
        "inputs": {"references": str(data / "references.jsonl"), "prompts": str(data / "prompts.jsonl")},
        "threads": settings.threads,
        "warmup_calls": settings.warmup_calls,
        "points": job.points,
        "notes": job.notes,
    }
    write_json(folder / "job.json", record)


def _unfinished(folder: Path, job: Job) -> list[Record]:
    latest = {row["point"]: row["status"] for row in read_lines(folder / "points.jsonl")}
    return [point for point in job.points if latest.get(point["fingerprint"], UNFINISHED) == UNFINISHED]


def _left(store: RunStore, job: Job) -> int:
    """Work units still to do."""
    return sum(batch_count(point) * work_of(point) for point in _unfinished(store.job_folder(job.name), job))


@dataclass(frozen=True)
class _Stop:
    """Why a worker is stopped before it ends by itself.

    Attributes:
        reason: typed, as in a row.
        message: one line.
    """

    reason: str
    message: str


class _JobRunner:
    """One job: a worker process, and another whenever one dies with points left."""

    def __init__(
        self, store: RunStore, job: Job, settings: Settings, progress: Progress, outcome: Outcome, runtime: Runtime
    ) -> None:
        self.folder = store.job_folder(job.name)
        self.job = job
        self.settings = settings
        self.progress = progress
        self.outcome = outcome
        self.runtime = runtime
        self.points = {point["fingerprint"]: point for point in job.points}
        self.failed: list[str] = []
        self.current: str | None = None

    def run(self) -> None:
        while todo := self._todo():
            if not self._one_process(todo):
                return

    def _todo(self) -> list[str]:
        """Points that are neither finished nor failed in this run."""
        found = (point["fingerprint"] for point in _unfinished(self.folder, self.job))
        return [fingerprint for fingerprint in found if fingerprint not in self.failed]

    def _one_process(self, todo: list[str]) -> bool:
        """Run one worker to its end; True when another one should take the points that are left."""
        try:
            worker = self.runtime.start(self.folder, self.failed)
        except UserError as error:
            self._fail(todo, "bad_request", str(error))
            return False
        try:
            stopped = self._follow(worker)
            ending = None if stopped else worker.wait()
        finally:
            worker.stop()
        # Only now: while a worker lives, what stands in its folder is its own.
        left = self._todo()
        if not left:
            return False
        why = stopped or _death(ending or Ending(0), self.folder)
        if self.current in left:
            self._fail([self.current], why.reason, why.message)
            return True
        # A worker that dies before its first point would die again: all its points fail.
        if left == todo:
            self._fail(left, why.reason, why.message)
        return left != todo

    def _follow(self, worker: Worker) -> _Stop | None:
        """Handle events until the worker ends; why it must be stopped, if it must."""
        self.current = None
        seen = set()
        began = time.monotonic()
        limit = self.settings.time_limit
        for event in worker.events():
            if limit and time.monotonic() - began > limit:
                what = "" if self.current else "loading: "
                return _Stop("time_limit", f"{what}stopped after {limit:g} s")
            if event is None:
                continue
            if event["event"] == "not_loaded":
                return _Stop(event["reason"], event["message"])
            point = _subject(event)
            if point not in self.points:
                continue
            # Each beginning and end counts once, however often it is told.
            if event["event"] in ("point", "row") and (event["event"], point) not in seen:
                seen.add((event["event"], point))
                began = time.monotonic()
            self._show(event)
        return None

    def _show(self, event: Record) -> None:
        kind = event["event"]
        if kind == "point":
            self.current = event["point"]
            self.progress.point(self.points[event["point"]])
        elif kind == "batch":
            self.progress.advance(work_of(self.points[event["point"]]))
        elif kind == "row":
            self.current = None
            self._row(event["row"])

    def _row(self, row: Record) -> None:
        self.progress.row(self.points[row["point"]], row)
        if row["status"] == "failed":
            self.failed.append(row["point"])
            self.outcome.failed.append(row)

    def _fail(self, fingerprints: Sequence[str], reason: str, message: str) -> None:
        for fingerprint in fingerprints:
            row: Record = {"point": fingerprint, "session": None, "status": "failed", "reason": reason}
            row |= {"message": message, "same_as": None, "warmup_seconds": None, "notes": self.job.notes}
            append_line(self.folder / "points.jsonl", row)
            self._row(row)


def _subject(event: Record) -> str | None:
    """The point that an event is about."""
    holder: Record = event["row"] if event["event"] == "row" else event
    return holder.get("point")


def _death(ending: Ending, folder: Path) -> _Stop:
    """Why a worker ended, in one line."""
    if ending.out_of_memory:
        return _Stop("out_of_memory", ending.out_of_memory)
    if ending.problem:
        return _Stop("exception", ending.problem)
    if ending.status < 0:
        name = signal.Signals(-ending.status).name
        hint = ", most often because the machine ran out of memory" if name == "SIGKILL" else ""
        return _Stop("killed", f"the worker was ended by {name}{hint}")
    return _Stop("exception", f"the worker ended with status {ending.status}: {_last_line(folder / 'worker.log')}")


def _last_line(log: Path) -> str:
    """The last line of a log, the end of it where it is long."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - LONGEST_MESSAGE))
        lines = file.read().decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
