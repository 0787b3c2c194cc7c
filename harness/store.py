"""The folder of a run: what each stage writes and the next one reads.

    results/<run>/run.json                     plan and configuration of the latest invocation
    results/<run>/data/<benchmark>/            prepared data
    results/<run>/jobs/<job>/job.json          what the worker is told
                             batches.jsonl     append-only: one line a measured batch
                             points.jsonl      append-only: one line a finished or failed point, the last one wins
                             traces.jsonl      append-only: one line a traced point (`harness.worker.trace`)
                             sessions.jsonl    append-only: one line a worker process
                             worker.log        whatever the worker printed
                             prompts.jsonl     of imported points: what their texts were written from
    results/<run>/scores.jsonl                 append-only: one line a metric of a point
    results/<run>/convergence.jsonl            append-only: one line a traced point, what was measured of its states

Every line is written whole or ignored, so a run can be killed at any moment and continued.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from harness.errors import BusyError, UserError
from harness.worker import trace
from harness.worker.jsonl import append_line, iter_lines, loads, read_lines, write_json

SCHEMA = 1

Record = dict[str, Any]


@dataclass(frozen=True)
class RunStore:
    """One run folder.

    Attributes:
        folder: results/<run>.
    """

    folder: Path
    _parsed: Record = field(default_factory=dict, repr=False, compare=False)

    @property
    def run(self) -> str:
        return self.folder.name

    @classmethod
    def open(cls, results: Path, run: str) -> Self:
        """An existing run, by its name or (with a '/' in it) its folder; raises `UserError` naming those that exist."""
        store = cls(Path(run).expanduser() if "/" in run else results / run)
        if not (store.folder / "run.json").is_file():
            if "/" in run:
                raise UserError(f"no run in the folder {run}: it holds no run.json.")
            known = sorted(path.parent.name for path in results.glob("*/run.json"))
            raise UserError(
                f"no run '{run}' in {results}. There is: {', '.join(known) or 'none yet; start one with bench'}."
            )
        return store

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            BusyError: when another process holds it.
            UserError: when the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(self.folder / ".lock", "w")  # noqa: SIM115 (closed below, after the lock is released)
        except OSError as error:
            raise UserError(
                f"cannot write results into {self.folder}: {error.strerror}. Choose another with results=."
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    f"run '{self.run}' is in use by another process. Wait for it, or name another run with run=."
                ) from None
            yield

    # --- plan -------------------------------------------------------------------------------------------------------

    def write_plan(self, plan: Record) -> None:
        """Write run.json atomically."""
        self.__dict__.pop("plan", None)
        write_json(self.folder / "run.json", {"schema": SCHEMA, "run": self.run, **plan})

    @cached_property
    def plan(self) -> Record:
        """run.json as the latest invocation wrote it."""
        plan: Record = loads((self.folder / "run.json").read_text(encoding="utf-8"))
        if plan["schema"] != SCHEMA:
            raise UserError(
                f"run '{self.run}' has schema {plan['schema']}, this version {SCHEMA}: report and compare read it, "
                "it cannot be continued. Begin another with run=."
            )
        return plan

    def points(self) -> list[Record]:
        """The planned points, in order."""
        points: list[Record] = self.plan["points"]
        return points

    def benchmark_data(self, benchmark: str) -> Path:
        """Folder of the prepared data of a benchmark."""
        return self.folder / "data" / benchmark

    def benchmark_facts(self, benchmark: str) -> Record:
        """benchmark.json of a benchmark, {} while it is not prepared."""
        path = self.benchmark_data(benchmark) / "benchmark.json"
        facts: Record = loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return facts

    def job_folder(self, job: str) -> Path:
        return self.folder / "jobs" / job

    # --- what the workers wrote -------------------------------------------------------------------------------------

    def rows(self) -> dict[str, Record]:
        """The latest row of each point, by fingerprint."""
        return {row["point"]: row for row in self._job_lines("points.jsonl")}

    def sessions(self) -> dict[str, Record]:
        """Worker sessions by id."""
        return {line["session"]: line for line in self._job_lines("sessions.jsonl")}

    def batches(self) -> dict[str, list[Record]]:
        """Measured batches of each point, ordered, without repeats. Read again only when the files have grown."""
        sizes = tuple(path.stat().st_size for path in self._job_files("batches.jsonl") if path.exists())
        if self._parsed.get("sizes") != sizes:
            self._parsed.update(sizes=sizes, batches=self._read_batches())
        batches: dict[str, list[Record]] = self._parsed["batches"]
        return batches

    def _read_batches(self) -> dict[str, list[Record]]:
        found: dict[str, dict[int, Record]] = {}
        for line in self._job_lines("batches.jsonl"):
            found.setdefault(line["point"], {})[line["batch"]] = line
        return {point: [lines[i] for i in sorted(lines)] for point, lines in found.items()}

    def samples(self, fingerprint: str) -> list[Record]:
        """Samples of one generate point, ordered by index; [] where none are there yet."""
        return [sample for line in self.batches().get(fingerprint, []) for sample in line.get("samples", [])]

    def prompts(self, point: Record) -> list[Record]:
        """Prompt of each sample of a conditional point: of an imported one its own, else the benchmark's."""
        own = self.job_folder(point["job"]) / "prompts.jsonl"
        return read_lines(own if own.is_file() else self.benchmark_data(point["benchmark"]) / "prompts.jsonl")

    def traces(self) -> dict[str, trace.StoredTrace]:
        """The intermediate states of each traced point, those included that earlier versions kept beside a batch."""
        steps = {point["fingerprint"]: point["steps"] for point in self.points()}
        old = {
            point: trace.of_batch(line["trace"], steps[point])
            for point, lines in self.batches().items()
            for line in lines
            if line.get("trace") and point in steps
        }
        return old | {line["point"]: trace.unpacked(line) for line in self._job_lines(trace.FILE)}

    def _job_files(self, name: str) -> list[Path]:
        return [self.job_folder(job) / name for job in dict.fromkeys(point["job"] for point in self.points())]

    def _job_lines(self, name: str) -> Iterator[Record]:
        for path in self._job_files(name):
            yield from self.lines(path)

    def lines(self, path: Path) -> Iterator[Record]:
        """The records of a file of this run."""
        return iter_lines(path)

    # --- scores -----------------------------------------------------------------------------------------------------

    def append_score(self, score: Record) -> None:
        append_line(self.folder / "scores.jsonl", score)

    def scores(self) -> list[Record]:
        """Every score line, oldest first. Read again only when the file has grown."""
        path = self.folder / "scores.jsonl"
        size = path.stat().st_size if path.exists() else None
        if "scores" not in self._parsed or self._parsed["scores_size"] != size:
            self._parsed.update(scores_size=size, scores=list(self.lines(path)))
        return list(self._parsed["scores"])

    # --- what was measured of traces ---------------------------------------------------------------------------------

    def append_convergence(self, record: Record) -> None:
        append_line(self.folder / "convergence.jsonl", record)

    def convergence(self) -> dict[str, Record]:
        """The newest line of each traced point, by fingerprint (`harness.convergence`)."""
        return {line["point"]: line for line in self.lines(self.folder / "convergence.jsonl")}
