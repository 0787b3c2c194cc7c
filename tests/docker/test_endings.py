"""The harness ends while its worker runs: no container stays, and the same command goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.runtimes.leftovers import clean
from harness.worker.jsonl import read_lines
from tests.docker.harness_process import ROOT, start
from tests.docker.jobs import Bench, Containers, deed, intruder_job

#: Batches of a point that is interrupted.
BATCHES = 300


def waited(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def loaded(bench: Bench) -> bool:
    """Whether the model is loaded, and so its first deed about to begin."""
    return (bench.store.job_folder("intruder") / "sessions.jsonl").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_harness_asked_to_end_takes_its_container_with_it(bench: Bench, containers: Containers, number: int) -> None:
    """However deaf the worker is."""
    harness = start(bench, [deed("hang")])
    assert waited(lambda: loaded(bench))
    assert len(containers.of(bench.folder)) == 1
    harness.send_signal(number)
    assert harness.wait(20) != 0
    assert containers.of(bench.folder) == []
    assert bench.store.rows() == {}, "a point that was interrupted has no row"


def test_after_a_kill_the_next_doctor_leaves_no_container(bench: Bench, containers: Containers) -> None:
    harness = start(bench, [deed("hang")])
    assert waited(lambda: loaded(bench))
    assert _doctor_says(bench) == [], "the container of a living harness is nobody's leftover"
    assert len(containers.of(bench.folder)) == 1
    harness.kill()
    harness.wait()
    time.sleep(1.0)
    assert len(containers.of(bench.folder)) == 1, "a deaf worker outlives its harness; else nothing is shown here"
    assert len(_doctor_says(bench)) == 1
    assert containers.of(bench.folder) == []


def _doctor_says(bench: Bench) -> list[str]:
    """Lines of `tdbench doctor` about containers of this test."""
    command = [sys.executable, "-m", "harness.cli", "doctor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return [line for line in done.stdout.splitlines() if str(bench.folder) in line]


def test_a_worker_whose_harness_was_killed_ends_by_itself(bench: Bench, containers: Containers, engine) -> None:
    harness = start(bench, [{**deed("steady"), "samples": BATCHES}])
    batches = bench.store.job_folder("intruder") / "batches.jsonl"
    assert waited(lambda: batches.exists() and len(read_lines(batches)) > 5)
    assert harness.poll() is None
    assert len(containers.of(bench.folder)) == 1
    harness.kill()
    harness.wait()

    def running() -> list:
        return [name for name in containers.of(bench.folder) if engine.containers.get(name).status == "running"]

    assert waited(lambda: not running(), 5)
    assert len(read_lines(batches)) < BATCHES
    clean(engine)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_computes_nothing_twice(bench: Bench, number: int) -> None:
    """Also after a kill with the container still there, which the next run removes."""
    first, second = deed("fine"), {**deed("steady"), "samples": BATCHES}
    batches = bench.store.job_folder("intruder") / "batches.jsonl"
    harness = start(bench, [first, second])
    assert waited(lambda: batches.exists() and len(read_lines(batches)) > 20)
    harness.send_signal(number)
    harness.wait(20)
    assert len(read_lines(batches)) < BATCHES, "too late, nothing was left to do"
    second["samples"] = most = len(read_lines(batches)) + 20
    bench.run(intruder_job([first, second]))
    lines = [json.loads(line) for line in batches.read_bytes().splitlines()]
    keys = [(line["point"], line["batch"]) for line in lines]
    assert len(keys) == len(set(keys))
    assert sum(point == second["fingerprint"] for point, _ in keys) == most
    assert bench.row(first)["status"] == bench.row(second)["status"] == "done"
    assert len({line["session"] for line in lines if line["point"] == first["fingerprint"]}) == 1


@pytest.fixture
def target() -> Iterator[Path]:
    """A file of the host that nobody but its owner should change."""
    folder = Path(tempfile.mkdtemp(prefix="tdbench-target-"))
    (folder / "file").write_text("of the host")
    yield folder / "file"
    shutil.rmtree(folder)


def test_a_worker_that_outlived_its_harness_cannot_trap_the_next_one(bench: Bench, target: Path) -> None:
    """It goes on putting links where the next run of the same command writes first."""
    point = deed(
        "replant",
        by="link",
        target=str(target),
        files=["job.json.part", "points.jsonl", "worker.log"],
        folder=str(bench.store.job_folder("intruder")),
    )
    harness = start(bench, [point])
    link = bench.store.job_folder("intruder") / "job.json.part"
    assert waited(lambda: os.path.islink(link))
    harness.kill()
    harness.wait()
    bench.run(intruder_job([point]), time_limit=5.0)
    assert target.read_text() == "of the host"
