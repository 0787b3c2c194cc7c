"""What a worker sees and can touch from inside its container: a model of somebody else looks around and reports."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.docker.jobs import LIMITS, MIB, Bench, deed, intruder_job

ROOT = Path(__file__).parents[2]
#: Folders of the system that a program might write to.
SYSTEM = ("/", "/etc", "/opt", "/opt/tdbench/bin", "/root", "/usr/bin", "/usr/local", "/var", "/run", "/home", "/srv")
#: Devices of every container: they give nothing of the host's.
DEVICES = {
    "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
    "urandom", "zero",
}  # fmt: skip
#: File systems of the kernel's own making, and the layers of the image.
KERNEL = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"}
#: What the engine itself mounts: the image, the names of a machine without a network, the first process.
ENGINE = {
    "/",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/sbin/docker-init",
    "/usr/sbin/docker-init",
    "/dev/init",
}
#: How the kernel refuses.
REFUSED = ("EROFS", "EACCES", "EPERM")


@dataclass(frozen=True)
class World:
    """Where the intruder was sent, and what it reported."""

    found: dict[str, Any]
    addresses: list[str]
    code: list[str]
    checkpoint: Path
    data: Path
    job: Path
    connections: int


@pytest.fixture(scope="module")
def outside() -> Iterator[Path]:
    """A folder that everybody on the host may read and change, with a file."""
    folder = Path(tempfile.mkdtemp(prefix="tdbench-outside-"))
    folder.chmod(0o777)
    (folder / "secret.txt").write_text("of the host")
    (folder / "secret.txt").chmod(0o666)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """A server on all addresses of the host."""
    with socket.create_server(("", 0), backlog=64) as server:
        server.setblocking(False)
        yield server


def reached(server: socket.socket) -> int:
    """How many connections came in since the last call."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def host_addresses(port: int) -> list[str]:
    """Addresses of the host at which the host itself reaches the server: loopback, and others where it has them."""
    entries = [entry for entries in psutil.net_if_addrs().values() for entry in entries]
    found = sorted({entry.address for entry in entries if entry.family == socket.AF_INET})
    return [address for address in found if _is_reached(address, port)]


def _is_reached(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def world(shared: Bench, listener: socket.socket, outside: Path, tmp_path_factory) -> World:
    """One look around, with everything on the host as open as file permissions can make it."""
    port = listener.getsockname()[1]
    addresses = host_addresses(port)
    assert "127.0.0.1" in addresses, "a server that nobody reaches would show nothing"
    assert reached(listener) == len(addresses)
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    (checkpoint / "weights.bin").write_text("weights")
    data = shared.store.benchmark_data("toy")
    for path in (checkpoint, checkpoint / "weights.bin", data, data / "references.jsonl"):
        path.chmod(0o777)
    code = [str(ROOT / name) for name in ("harness", "adapters", "benchmarks", "tests")]
    job = shared.store.job_folder("intruder")
    engine = os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"
    point = deed(
        "look",
        port=port,
        addresses=[*addresses, "1.1.1.1"],
        write=[*SYSTEM, *code, str(checkpoint), str(data), str(job), "/tmp"],
        overwrite=[str(checkpoint / "weights.bin"), str(data / "references.jsonl"), f"{code[0]}/cli.py"],
        look_for=[
            str(outside / "secret.txt"), engine, "/var/run/docker.sock", "/run/containerd", str(ROOT / "README.md"),
            str(ROOT / ".git"), str(ROOT / "results"), str(shared.store.folder / "run.json"), str(job.parent / "other"),
        ],
        fill_bytes=4 * LIMITS.tmp,
    )  # fmt: skip
    (job.parent / "other").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDBENCH_TEST_SECRET", "of the environment")
        shared.run(intruder_job([point], checkpoint=checkpoint))
    assert shared.row(point)["status"] == "done", shared.row(point)
    return World(shared.found(point), addresses, code, checkpoint, data, job, reached(listener))


def test_there_is_no_network(world: World) -> None:
    assert world.found["interfaces"] == ["lo"]
    assert set(world.found["connections"]) == {*world.addresses, "1.1.1.1"}
    assert "done" not in world.found["connections"].values()
    assert world.connections == 0


def test_it_is_nobody_special(world: World) -> None:
    user, group, *groups = world.found["user"]
    assert user != 0
    assert group != 0
    assert 0 not in groups
    status = world.found["status"]
    for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "system calls are filtered"


def test_no_privilege_can_be_had(world: World) -> None:
    assert len(world.found["privileges"]) >= 8
    assert set(world.found["privileges"].values()) <= set(REFUSED), world.found["privileges"]


def test_nothing_but_the_job_folder_and_temporary_memory_can_be_written(world: World) -> None:
    written = world.found["written"]
    assert {path for path, came in written.items() if came == "done"} == {str(world.job), "/tmp"}
    assert all(came in (*REFUSED, "ENOENT", "done") for came in written.values()), written
    assert written["/"] == "EROFS"
    for folder in [*world.code, str(world.checkpoint), str(world.data)]:
        assert written[folder] == "EROFS", folder
    assert set(world.found["writable"]) == {str(world.job), "/tmp", "/dev/shm", "/dev/mqueue"}


def test_mounted_files_cannot_be_changed(world: World) -> None:
    assert world.found["overwritten"][:2] == ["EROFS"] * 2
    assert world.found["overwritten"][2] in REFUSED
    assert (world.checkpoint / "weights.bin").read_text() == "weights"


def test_temporary_memory_is_limited(world: World) -> None:
    assert LIMITS.tmp - MIB <= world.found["temporary_bytes"] <= LIMITS.tmp


def unescaped(place: str) -> str:
    """A path as /proc/mounts writes it."""
    return place.encode().decode("unicode_escape")


def test_nothing_else_of_the_host_is_there(world: World, outside: Path) -> None:
    assert (outside / "secret.txt").exists()
    assert world.found["seen"] == []
    given = {*world.code, str(world.checkpoint), str(world.data), str(world.job)}
    given |= {str(world.job / name) for name in ("job.json", "worker.log")}
    mounted = {unescaped(place) for place, kind in world.found["mounts"] if kind not in KERNEL}
    assert mounted - ENGINE <= given
    assert mounted >= {*world.code, str(world.job)}
    assert set(world.found["devices"]) <= DEVICES
    assert world.found["processes"] <= 4, "only its own processes are to be seen"


def test_the_environment_of_the_host_is_not_there(world: World) -> None:
    assert "TDBENCH_TEST_SECRET" not in world.found["environment"]
    assert "of the environment" not in str(world.found)
    assert not {"DOCKER_HOST", "SSL_CERT_FILE", "PIP_INDEX_URL", "http_proxy", "https_proxy"} & set(
        world.found["environment"]
    )
    assert world.found["environment"]["HOME"] == "/tmp"
