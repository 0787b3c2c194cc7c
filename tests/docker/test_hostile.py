"""Models that do harm: each is contained and becomes a failed row, and what comes after it goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.points import Job
from harness.store import Record
from tests.docker.intruder import BABBLE
from tests.docker.jobs import LIMITS, MIB, Bench, deed, intruder_job
from tests.docker.their_code import STEPS, write_checkout, write_checkpoint


@pytest.fixture(scope="module")
def patience(shared: Bench) -> float:
    """A time limit, seconds, within which this machine loads a model and computes a point, busy as it is."""
    began = time.monotonic()
    shared.run(intruder_job([deed("fine")]))
    return 3 + 2 * (time.monotonic() - began)


def test_a_fork_bomb_ends_at_the_limit_and_other_jobs_go_on(bench: Bench) -> None:
    bomb, after, other = deed("fork_bomb"), deed("fine"), deed("fine", job="other")
    before = len(psutil.pids())
    bench.run(intruder_job([bomb, after]), intruder_job([other], name="other"))
    row = bench.row(bomb)
    assert (row["status"], row["reason"]) == ("failed", "exception")
    assert "Resource temporarily unavailable" in row["message"]
    assert bench.row(after)["status"] == "done"
    assert bench.row(other)["status"] == "done"
    assert len(psutil.pids()) < before + LIMITS.pids // 2, "the children must be gone with their container"


def test_a_fork_bomb_in_the_code_of_the_authors(bench: Bench) -> None:
    """It goes off while their modules are imported, with nobody to catch the error; the host takes it for a worker
    that cannot start."""
    checkout = write_checkout(bench.folder / "nanoDD")
    (checkout / "dit.py").write_text("import os, time\nfor _ in range(1000):\n    os.fork() or time.sleep(100)\n")
    load = {
        "checkpoint": str(write_checkpoint(bench.folder / "weights")), "upstream": str(checkout), "tokenizer": "folder",
        "device": "cpu", "dtype": "float32", "options": {},
    }  # fmt: skip
    points = [replaced(deed("nanodd_d3pm", seed=seed, job="authors"), steps=STEPS) for seed in (0, 1)]
    other = deed("fine")
    bench.run(Job("authors", "toy", "adapters.nanodd.upstream", "", load, points, []), intruder_job([other]))
    for point in points:
        assert bench.row(point)["status"] == "failed"
        assert "Resource temporarily unavailable" in bench.row(point)["message"]
    assert bench.row(other)["status"] == "done"


def replaced(point: Record, **changes: object) -> Record:
    return {**point, **changes}


def test_a_memory_hog_is_out_of_memory_and_the_next_point_goes_on(bench: Bench) -> None:
    hog, after = deed("memory_hog"), deed("fine")
    bench.run(intruder_job([hog, after]), limits=replace(LIMITS, memory=700 * MIB))
    row = bench.row(hog)
    assert (row["status"], row["reason"]) == ("failed", "out_of_memory")
    assert "700 MiB" in row["message"]
    assert bench.row(after)["status"] == "done"


def test_temporary_files_count_as_memory(bench: Bench) -> None:
    """A limit of memory that /tmp could go round would be none."""
    point = deed("fill_tmp", fill_bytes=2000 * MIB)
    bench.run(intruder_job([point]), limits=replace(LIMITS, memory=700 * MIB, tmp=2000 * MIB))
    assert (bench.row(point)["status"], bench.row(point)["reason"]) == ("failed", "out_of_memory")


@pytest.mark.parametrize("name", ["hang", "pretend"])
def test_a_hanging_worker_is_stopped_at_the_limit(bench: Bench, patience: float, name: str) -> None:
    """Also one that is deaf to requests, and one that says all the time that it has just begun."""
    stuck, after = deed(name), deed("fine")
    bench.run(intruder_job([naming_itself(stuck), after]), time_limit=patience)
    row = bench.row(stuck)
    assert (row["status"], row["reason"]) == ("failed", "time_limit")
    assert f"stopped after {patience:g} s" in row["message"]
    assert bench.row(after)["status"] == "done"


def naming_itself(point: Record, **options: object) -> Record:
    """A point whose deed knows its name."""
    return replaced(point, options={**point["options"], "point": point["fingerprint"], **options})


def test_a_worker_that_hangs_while_it_loads(bench: Bench) -> None:
    points = [deed("fine"), deed("fine", seed=1)]
    bench.run(intruder_job(points, at_load="hang"), time_limit=3.0)
    for point in points:
        assert bench.row(point)["reason"] == "time_limit"
        assert "loading" in bench.row(point)["message"]


def test_a_flood_of_output_neither_hangs_nor_hides_what_comes_after(bench: Bench) -> None:
    """100 MB into each of both streams, half of it one line without an end."""
    flood, after = deed("flood", bytes=50 * MIB), deed("fine")
    bench.run(intruder_job([flood, after]))
    assert bench.row(flood)["status"] == "done"
    assert bench.row(after)["status"] == "done"


def test_lines_that_are_no_events_do_no_harm(bench: Bench) -> None:
    """What a worker prints is data of a stranger: whatever it is, each point gets its row."""
    points = [naming_itself(deed("babble", seed=line), line=line) for line in range(len(BABBLE))]
    after = deed("fine")
    bench.run(intruder_job([*points, after]))
    for point in points:
        assert bench.row(point)["status"] in ("done", "failed")
    assert bench.row(after)["status"] == "done"
    assert "no JSON at all" in bench.log(), "what is no event goes to the log"


def test_their_code_sees_no_file_that_a_link_in_it_names(bench: Bench, tmp_path: Path) -> None:
    """A repository may hold a link to a file of whoever clones it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("of the host")
    secret.chmod(0o644)
    checkout = write_checkout(bench.folder / "nanoDD")
    (checkout / "notes.txt").symlink_to(secret)
    (checkout / "dit.py").write_text("raise ValueError('seen: ' + open(__file__[:-6] + 'notes.txt').read())\n")
    load = {
        "checkpoint": str(write_checkpoint(bench.folder / "weights")), "upstream": str(checkout), "tokenizer": "folder",
        "device": "cpu", "dtype": "float32", "options": {},
    }  # fmt: skip
    point = replaced(deed("nanodd_d3pm", job="authors"), steps=STEPS)
    bench.run(Job("authors", "toy", "adapters.nanodd.upstream", "", load, [point], []))
    assert bench.row(point)["status"] == "failed"
    assert "of the host" not in bench.row(point)["message"]
