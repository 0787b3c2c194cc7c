"""Whose the files are that a container wrote: always the caller's, who can read, change and remove them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.harness_process import start
from tests.docker.jobs import Bench, Containers, deed, intruder_job

#: A user that no machine has.
SOMEBODY = 54321


def owners(folder: Path) -> set[tuple[int, int]]:
    found = [folder, *folder.rglob("*")]
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in found}


def test_files_belong_to_the_caller(bench: Bench) -> None:
    point = deed("tamper", by="locked", then="go on", files=["locked"], folder=str(bench.store.job_folder("intruder")))
    bench.run(intruder_job([point]))
    folder = bench.store.job_folder("intruder")
    assert bench.row(point)["status"] == "done"
    assert owners(bench.store.folder) == {(os.getuid(), os.getgid())}
    assert stat.S_IMODE((folder / "locked").stat().st_mode) & stat.S_IRUSR, (
        "a file that its owner cannot read is of no use"
    )


@pytest.fixture
def somebodys(image: str, containers: Containers) -> Iterator[Bench]:
    """A run folder of another user than root."""
    folder = Path(tempfile.mkdtemp(prefix="tdbench-somebody-"))
    bench = Bench(folder, image)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
    yield bench
    assert containers.of(folder) == []
    shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_caller_who_is_not_root(somebodys: Bench) -> None:
    """With no right but to the engine's socket, and to read the Python that this test runs in."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    if not os.path.exists(socket):
        pytest.skip(f"the engine is not at a socket of this machine: {socket}")
    become = [f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", f"--groups={os.stat(socket).st_gid}"]
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    points = [deed("who"), deed("tamper", by="locked", then="go on", files=["locked"], folder=job_folder(somebodys))]
    harness = start(somebodys, points, before=["setpriv", *become], env={**os.environ, "HOME": str(somebodys.folder)})
    _, errors = harness.communicate(timeout=60)
    assert harness.returncode == 0, errors
    assert [somebodys.row(point)["status"] for point in points] == ["done", "done"]
    assert set(somebodys.found(points[0])) == {SOMEBODY}, "inside it is the caller, without the group of the engine"
    assert owners(somebodys.store.folder) == {(SOMEBODY, SOMEBODY)}


def job_folder(bench: Bench) -> str:
    return str(bench.store.job_folder("intruder"))
