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

from harness.store import Record
from tests.docker.jobs import Bench, deed, intruder_job

#: What the host reads or writes in a job folder.
FILES = (
    *("points.jsonl", "batches.jsonl", "sessions.jsonl", "traces.jsonl", "job.json", "job.json.part", "worker.log"),
    "prompts.jsonl",
)
#: What a worker puts in their place.
REPLACEMENTS = ("link", "pipe", "folder", "garbage", "locked")
CONTENT = "of the host, without a newline at its end"
#: How often the same command is given.
RUNS = 2


@pytest.fixture(scope="module")
def target() -> Iterator[Path]:
    """A file of the host that nobody but its owner should change."""
    folder = Path(tempfile.mkdtemp(prefix="tdbench-target-"))
    (folder / "file").write_text(CONTENT)
    yield folder / "file"
    shutil.rmtree(folder)


def tampering(bench: Bench, target: Path, by: str, then: str) -> Record:
    """A point, alone in its job, that puts something else in the place of all those files."""
    job = f"{by}-{then}".replace(" ", "-")
    folder = str(bench.store.job_folder(job))
    return deed("tamper", job=job, by=by, then=then, target=str(target), files=FILES, folder=folder)


@pytest.fixture(scope="module")
def failures(shared: Bench, target: Path) -> list[dict[str, Record]]:
    """What became of such points whose worker then died, by replacement, in each of the runs; a good job comes last.
    The host itself writes the row of a worker that died."""
    bad = {by: tampering(shared, target, by, "die") for by in REPLACEMENTS}
    good = deed("fine", job="good")
    jobs = [intruder_job([point], name=point["job"]) for point in (*bad.values(), good)]
    runs = []
    for _ in range(RUNS):
        failed = {row["point"]: row for row in shared.run(*jobs).failed}
        assert shared.row(good)["status"] == "done"
        runs.append({by: failed[point["fingerprint"]] for by, point in bad.items()})
    return runs


@pytest.mark.parametrize("by", REPLACEMENTS)
def test_a_worker_that_tampered_and_died(
    shared: Bench, target: Path, failures: list[dict[str, Record]], by: str
) -> None:
    for rows in failures:
        assert rows[by]["message"]
        assert CONTENT not in rows[by]["message"]
    check(shared.store.job_folder(f"{by}-die"), target)


@pytest.mark.parametrize("by", ["link", "pipe"])
def test_reading_what_a_worker_left_that_went_on(bench: Bench, target: Path, by: str) -> None:
    """A finished point whose files are not what they seem."""
    point = tampering(bench, target, by, "go on")
    bench.run(intruder_job([point], name=point["job"]))
    assert CONTENT not in str([bench.store.rows(), bench.store.batches(), bench.store.sessions()])
    check(bench.store.job_folder(point["job"]), target)


def check(folder: Path, target: Path) -> None:
    """The host's file is as it was, and what is left are plain files of the caller."""
    assert target.read_text() == CONTENT
    assert (folder / "job.json").is_file()
    for path in folder.rglob("*"):
        assert path.is_file(), f"{path} is no file"
        assert not path.is_symlink()
        assert path.stat().st_uid == os.getuid()
