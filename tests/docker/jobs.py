"""Jobs for containers, and what became of them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.execute import Outcome, Settings, execute
from harness.points import Job
from harness.progress import Progress
from harness.runtimes.contain import Limits
from harness.runtimes.docker import DockerRuntime
from harness.runtimes.leftovers import FOLDER, KIND
from harness.store import Record, RunStore
from tests.harness.conftest import make_point

MIB = 1 << 20
#: Of containers in tests: torch itself takes about 300 MiB.
LIMITS = Limits(memory=1024 * MIB, cpus=2.0, pids=128, tmp=32 * MIB)
INTRUDER = "tests.docker.intruder"


@dataclass(frozen=True)
class Containers:
    """What the engine has of ours."""

    engine: Any

    def of(self, folder: Path) -> list[str]:
        """Names of the containers, running or not, that could write below a folder."""
        found = self.engine.containers.list(all=True, filters={"label": KIND})
        return [c.name for c in found if Path(c.labels.get(FOLDER, "")).is_relative_to(folder)]


def deed(name: str, seed: int = 0, job: str = "intruder", **options: Any) -> Record:
    """A point in which the intruder does one of its deeds, once in the warm-up and once for its only sample."""
    return make_point(
        name, steps=1, job=job, seed=seed, samples=1, batch_size=1, warmup_count=1, runtime="docker", options=options
    )


def intruder_job(points: list[Record], name: str = "intruder", checkpoint: Path | None = None, **options: Any) -> Job:
    """A job of the intruder, which is loaded with the options."""
    weights = str(checkpoint) if checkpoint else None
    fields = {"checkpoint": weights, "device": "cpu", "dtype": "float32", "tokenizer": "folder", "options": options}
    return Job(name, "toy", INTRUDER, "", fields, points, [])


class Bench:
    """A run folder, and jobs in containers.

    Args:
        folder: of the test.
        image: id of the image.
    """

    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder
        self.image = image
        self.store = RunStore(folder / "results" / "r")
        self.shown = ""
        data = self.store.benchmark_data("toy")
        data.mkdir(parents=True, exist_ok=True)
        (data / "references.jsonl").write_text('{"text": "a text ."}\n')
        (data / "prompts.jsonl").write_text("")

    def runtime(self, limits: Limits = LIMITS) -> DockerRuntime:
        return DockerRuntime(self.image, {"image": "test"}, limits, "cpu")

    def run(self, *jobs: Job, limits: Limits = LIMITS, time_limit: float | None = 90.0, local: bool = False) -> Outcome:
        """Run jobs as `tdbench bench` does."""
        points = [point for job in jobs for point in job.points]
        self.store.write_plan({"points": points, "config": {}, "command": "test"})
        shown = io.StringIO()
        plan = SimpleNamespace(jobs=list(jobs))
        runtime_for = None if local else lambda job: self.runtime(limits)
        with self.store.locked():
            outcome = execute(self.store, plan, Settings(1, 1, time_limit), Progress(shown), runtime_for)
        self.shown = shown.getvalue()
        return outcome

    def row(self, point: Record) -> Record:
        return self.store.rows()[point["fingerprint"]]

    def found(self, point: Record) -> Any:
        """What the intruder found."""
        return json.loads(self.store.samples(point["fingerprint"])[0]["text"])

    def log(self, job: str = "intruder") -> str:
        return (self.store.job_folder(job) / "worker.log").read_text(errors="replace")
