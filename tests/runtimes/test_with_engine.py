"""Real containers whose engine, image or mounts fail under them. What they cannot do is tested in tests/docker."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.runtimes import contain
from harness.runtimes.contain import PYTHON, Box, Container, Limits
from harness.runtimes.engine import connect
from harness.runtimes.leftovers import clean

LIMITS = Limits(memory=256 << 20, cpus=1.0, pids=64)


@pytest.fixture
def job(engine, tmp_path):
    """A folder to write to; no container of it may be left."""
    folder = tmp_path / "job"
    folder.mkdir()
    yield folder
    clean(engine, folder)


def start(client, image: str, folder: Path, code: str, read: tuple[Path, ...] = ()) -> Container:
    return Container(client, Box(image, read, (folder,), LIMITS), [PYTHON, "-c", code], folder / "worker.log")


def output(container: Container) -> list[bytes]:
    return [line for line in container.lines() if line is not None]


def test_output_and_ending(engine, image, job):
    code = "import sys; print('out'); print('err', file=sys.stderr); print('more', end=''); sys.exit(3)"
    container = start(engine, image, job, code)
    assert output(container) == [b"out", b"more"]
    assert container.wait().status == 3
    container.stop()
    container.stop()
    assert (job / "worker.log").read_text() == "err\n"
    assert (job / "worker.log").stat().st_uid == os.getuid()


def test_links_and_colons_in_what_is_mounted(engine, image, job, tmp_path):
    """Also a link inside of a folder that is mounted itself, as a checkpoint that lies beside its adapter may be."""
    weights, code = tmp_path / "a:b:rw", tmp_path / "code"
    weights.mkdir()
    code.mkdir()
    (weights / "file").write_text("weights")
    (code / "tiny").symlink_to(weights)
    for path in (tmp_path, weights, code):
        path.chmod(0o755)
    paths = [weights / "file", code / "tiny" / "file"]
    container = start(
        engine, image, job, f"for p in {[*map(str, paths)]}: print(open(p).read())", (weights, code, code / "tiny")
    )
    assert output(container) == [b"weights", b"weights"]
    container.stop()


def test_the_job_folder_inside_of_a_folder_that_is_read(engine, image, job):
    job.parent.chmod(0o755)
    code = f"""
import os
open({str(job / "mine")!r}, "w").write("x")
try:
    open({str(job.parent / "theirs")!r}, "w")
except OSError as error:
    print(error.strerror)
"""
    container = start(engine, image, job, code, (job.parent,))
    assert output(container) == [b"Read-only file system"]
    container.stop()
    assert (job / "mine").read_text() == "x"


def test_its_log_is_not_its_own(engine, image, job):
    code = f"""
import os
for deed in (os.unlink, lambda path: open(path, "w"), lambda path: os.rename(path, path + "2")):
    try:
        deed({str(job / "worker.log")!r})
        print("done")
    except OSError:
        print("refused")
"""
    container = start(engine, image, job, code)
    assert output(container) == [b"refused"] * 3
    container.stop()


def test_a_container_that_is_removed_from_outside(engine, image, job):
    container = start(engine, image, job, "print('up', flush=True); input()")
    lines = container.lines()
    assert next(line for line in lines if line) == b"up"
    engine.api.remove_container(container.name, force=True)
    assert all(line is None for line in lines)
    assert "removed from outside" in container.wait().problem
    container.stop()


def test_a_flood_of_output_does_not_hold_up_the_end(engine, image, job):
    container = start(engine, image, job, "while True: print('x' * 100)")
    assert next(line for line in container.lines() if line)
    time.sleep(0.5)
    began = time.monotonic()
    container.stop()
    assert time.monotonic() - began < 20


def test_an_image_that_is_gone(engine, image, job):
    with pytest.raises(UserError, match=r"[Nn]o such image.*tdbench images"):
        start(engine, "sha256:" + "0" * 64, job, "")
    assert not (job / "worker.log").is_symlink()


def test_a_limit_that_the_engine_refuses(engine, image, job):
    box = Box(image, (), (job,), replace(LIMITS, memory=1 << 10))
    with pytest.raises(UserError, match=r"did not start a container: .*memory"):
        Container(engine, box, [PYTHON], job / "worker.log")
    assert engine.api.containers(all=True, filters={"label": [f"tdbench.folder={job}"]}) == []
    assert job.stat().st_uid == os.getuid(), "what was lent for the start is taken back"


def test_an_image_without_our_python(engine, image, job):
    container = Container(engine, Box(image, (), (job,), LIMITS), ["/no/such/program"], job / "worker.log")
    assert output(container) == []
    assert container.wait().status > 0
    container.stop()
    assert "No such file" in (job / "worker.log").read_text()


class Relay:
    """A socket that leads to the engine's, until it dies."""

    def __init__(self, path: Path, engine: str) -> None:
        self.engine = engine
        self.open: list[socket.socket] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.engine)
                self.open += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def die(self) -> None:
        for each in (self.listener, *self.open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def test_an_engine_that_dies_under_a_worker(engine, image, job, tmp_path, monkeypatch):
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        pytest.skip("the engine is not at a socket of this machine")
    relay = Relay(tmp_path / "relay.sock", address.removeprefix("unix://"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'relay.sock'}")
    monkeypatch.setattr(contain, "GRACE", 1.0)
    container = start(connect(), image, job, "print('up', flush=True); input()")
    lines = container.lines()
    assert next(line for line in lines if line) == b"up"
    relay.die()
    assert all(line is None for line in lines)
    told = container.wait()
    assert "container engine did not say how a container ended" in told.problem
    container.stop()
    assert "did not remove a container" in (job / "worker.log").read_text()
    # Its standard input is closed with the connection, so it ends; the next start removes it.
    assert len(clean(engine, job)) == 1
