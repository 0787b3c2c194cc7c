"""Runs the jobs of a plan, one after the other: each holds its device alone."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from harness.plan import Plan, batch_count, work_of
from harness.points import Job
from harness.progress import Progress
from harness.runtimes.local import LocalWorker
from harness.store import Record, RunStore
from harness.worker.jsonl import append_line, read_lines, write_json

UNFINISHED = "failed"
#: Why a whole job cannot run: another process would say the same.
NOT_LOADED = ("bad_checkpoint", "bad_request")


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


def execute(store: RunStore, plan: Plan, settings: Settings, progress: Progress) -> Outcome:
    """Run every unfinished point. A failure is a row; the others go on.

    Args:
        store: the run folder, locked by the caller, with the plan written.
        plan: what to run.
        settings: how to run it.
        progress: where progress is shown.
    """
    outcome = Outcome()
    for job in plan.jobs:
        _write_job(store, job, settings)
    progress.start(sum(_left(store, job) for job in plan.jobs))
    for job in plan.jobs:
        _JobRunner(store, job, settings, progress, outcome).run()
    progress.close()
    return outcome


def _write_job(store: RunStore, job: Job, settings: Settings) -> None:
    folder = store.job_folder(job.name)
    folder.mkdir(parents=True, exist_ok=True)
    data = store.benchmark_data(job.benchmark).resolve()
    record = {
        "job": job.name,
        "adapter": job.adapter,
        "checkpoint_sha256": job.checkpoint_sha256,
        "load": {**job.load, "data": str(data)},
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


class _JobRunner:
    """One job: a worker process, and another whenever one dies with points left."""

    def __init__(self, store: RunStore, job: Job, settings: Settings, progress: Progress, outcome: Outcome) -> None:
        self.folder = store.job_folder(job.name)
        self.job = job
        self.settings = settings
        self.progress = progress
        self.outcome = outcome
        self.points = {point["fingerprint"]: point for point in job.points}
        self.failed: list[str] = []

    def run(self) -> None:
        while True:
            todo = [p["fingerprint"] for p in _unfinished(self.folder, self.job) if p["fingerprint"] not in self.failed]
            if not todo:
                return
            if not self._one_process(todo):
                return

    def _one_process(self, todo: list[str]) -> bool:
        """Run one worker to its end; True when another one should take the points that are left."""
        worker = LocalWorker(self.folder, self.failed)
        try:
            current, reason = self._follow(worker)
            status = worker.wait() if reason is None else 0
        finally:
            worker.stop()
        if reason in NOT_LOADED or (reason is None and status == 0):
            return False
        # A worker that dies before its first point would die again: all its points fail.
        victims = [current] if current else todo
        for fingerprint in victims:
            message = (
                f"stopped after {self.settings.time_limit:g} s"
                if reason == "time_limit"
                else _death(status, self.folder)
            )
            self._fail(fingerprint, reason or ("killed" if status < 0 else "exception"), message)
        return current is not None

    def _follow(self, worker: LocalWorker) -> tuple[str | None, str | None]:
        """Handle events until the worker ends: the point it was in, and why it must be stopped, if it must."""
        current: str | None = None
        began = time.monotonic()
        for event in worker.events():
            limit = self.settings.time_limit
            if current and limit and time.monotonic() - began > limit:
                return current, "time_limit"
            if event is None:
                continue
            kind = event["event"]
            if kind == "point":
                current, began = event["point"], time.monotonic()
                self.progress.point(self.points[event["point"]])
            elif kind == "batch":
                self.progress.advance(work_of(self.points[event["point"]]))
            elif kind == "row":
                current = None
                self._row(event["row"])
            elif kind == "not_loaded":
                for point in _unfinished(self.folder, self.job):
                    self._fail(point["fingerprint"], event["reason"], event["message"])
                return None, event["reason"]
        return current, None

    def _row(self, row: Record) -> None:
        self.progress.row(self.points[row["point"]], row)
        if row["status"] == "failed":
            self.failed.append(row["point"])
            self.outcome.failed.append(row)

    def _fail(self, fingerprint: str, reason: str, message: str) -> None:
        row: Record = {"point": fingerprint, "session": None, "status": "failed", "reason": reason, "message": message}
        row |= {"same_as": None, "warmup_seconds": None, "notes": self.job.notes}
        append_line(self.folder / "points.jsonl", row)
        self._row(row)


def _death(status: int, folder: Path) -> str:
    """Why a worker process ended, in one line."""
    if status < 0:
        name = signal.Signals(-status).name
        hint = ", most often because the machine ran out of memory" if name == "SIGKILL" else ""
        return f"the worker was ended by {name}{hint}"
    tail = (folder / "worker.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the worker ended with status {status}: {tail[-1] if tail else 'it printed nothing'}"
