"""A job folder is the one place where a worker writes and the host reads and writes too, often as root: what a worker
leaves there must neither lead the host to other files nor stop it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.points import Job
from harness.store import Record
from tests.docker.jobs import Bench, deed, intruder_job

#: What the host reads or writes in a job folder.
FILES = ("points.jsonl", "batches.jsonl", "sessions.jsonl", "job.json", "job.json.part", "worker.log", "prompts.jsonl")
CONTENT = "of the host, without a newline at its end"


@pytest.fixture
def target() -> Iterator[Path]:
    """A file of the host that nobody but its owner should change."""
    folder = Path(tempfile.mkdtemp(prefix="tdbench-target-"))
    (folder / "file").write_text(CONTENT)
    yield folder / "file"
    shutil.rmtree(folder)


def tampering(bench: Bench, target: Path, by: str, then: str) -> Record:
    """A point that puts something else in the place of all those files."""
    folder = str(bench.store.job_folder(by))
    return deed("tamper", job=by, by=by, then=then, target=str(target), files=FILES, folder=folder)


def check(bench: Bench, target: Path) -> None:
    """The host's file is as it was, and what is left belongs to the caller."""
    assert target.read_text() == CONTENT
    for path in (bench.store.folder / "jobs").rglob("*"):
        assert path.is_file() or path.is_dir(), f"{path} is neither file nor folder"
        assert not path.is_symlink()
        assert path.stat().st_uid == os.getuid()


@pytest.mark.parametrize("by", ["link", "pipe", "folder", "garbage", "locked"])
def test_the_row_of_a_worker_that_tampered_and_died(bench: Bench, target: Path, by: str) -> None:
    """The host itself writes such a row; the other jobs go on, and so does the same command later."""
    bad, good = tampering(bench, target, by, "die"), deed("fine", job="good")
    jobs: list[Job] = [intruder_job([bad], name=by), intruder_job([good], name="good")]
    for _ in range(2):
        outcome = bench.run(*jobs)
        assert [row["point"] for row in outcome.failed] == [bad["fingerprint"]]
        assert CONTENT not in outcome.failed[0]["message"]
        assert bench.row(good)["status"] == "done"
        check(bench, target)


@pytest.mark.parametrize("by", ["link", "pipe"])
def test_reading_what_a_worker_left_that_goes_on(bench: Bench, target: Path, by: str) -> None:
    """A finished point whose files are not what they seem."""
    bad = tampering(bench, target, by, "go on")
    bench.run(intruder_job([bad], name=by))
    check(bench, target)
    assert CONTENT not in str([bench.store.rows(), bench.store.batches(), bench.store.sessions()])
