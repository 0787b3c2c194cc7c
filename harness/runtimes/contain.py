"""A hardened container for a command of ours: no network, no capabilities, no other user, no file but those given.

What runs inside may be anybody's code (pickles, the authors' repositories). Its output comes over the attached streams:
standard output line by line, standard error into a log. Its standard input stays open as long as we live.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from harness.errors import UserError
from harness.runtimes.base import Ending, write_log
from harness.runtimes.engine import (
    NO_GPU,
    EngineError,
    NoContainer,
    asking,
    gpu_driver,
    info,
    limit_problem,
    security_options,
)
from harness.runtimes.leftovers import labels, remove
from harness.runtimes.lines import POLL_SECONDS, LineQueue
from harness.runtimes.mounts import Bind, binds, unreadable
from harness.runtimes.ownership import NOBODY, container_user, lend, take_back
from harness.store import Record

if TYPE_CHECKING:
    import docker

#: Python in every image of ours.
PYTHON = "/opt/tdbench/bin/python"
#: Shared memory of a container, bytes; part of its memory limit, as is /tmp.
SHARED_MEMORY = 256 << 20
#: Of each process: bytes of a core dump.
PROCESS_LIMITS = {"core": 0}
#: Variables for every command: all caches below /tmp, the only other place it can write to, and no look-ups.
ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "XDG_CACHE_HOME": "/tmp/cache",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/cache/inductor",
    "TRITON_CACHE_DIR": "/tmp/cache/triton",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
#: Above this an exit status means "ended by a signal".
SIGNALLED = 128
#: After how many seconds a container is asked again whether it has ended, once its output has; then twice that, and on.
SHORT_POLL = 0.02
#: How long the last output of a removed container is waited for, seconds.
GRACE = 5.0


@dataclass(frozen=True)
class Limits:
    """What a container may use.

    Attributes:
        memory: bytes, /tmp and shared memory included; nothing is swapped.
        cpus: processors' worth of time.
        pids: processes and threads.
        tmp: bytes of /tmp.
    """

    memory: int
    cpus: float
    pids: int = 512
    tmp: int = 1 << 30


@dataclass(frozen=True)
class Box:
    """What a container may see and use.

    Attributes:
        image: its id ("sha256:...").
        read: files and folders it can read, each under its own path.
        write: folders it can write to, each under its own path. They hold nothing else: what is no plain file or folder
            there afterwards is removed.
        limits: of memory, time, processes.
        gpus: "all", the ids of some, or None.
        environment: variables besides `ENVIRONMENT`.
        kind: what it is for.
    """

    image: str
    read: tuple[Path, ...]
    write: tuple[Path, ...]
    limits: Limits
    gpus: Literal["all"] | tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["worker", "convert"] = "worker"


def create_arguments(box: Box, command: Sequence[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the SDK's `containers.create` is given, name excepted.

    Args:
        box: what the container may see and use.
        command: program and arguments.
        facts: what the engine says of itself.

    Raises:
        UserError: where a path cannot be given, or the engine has no GPU to give.
    """
    from docker.types import LogConfig, Mount, Ulimit

    options = security_options(facts)
    user = container_user(facts)
    mounts = binds(box.read, box.write)
    _check_readable(mounts, user)
    arguments: dict[str, Any] = {
        "image": box.image,
        # An image's own entry point may print to standard output.
        "entrypoint": list(command[:1]),
        "command": list(command[1:]),
        "labels": labels(box.kind, box.write[0]),
        "environment": {**ENVIRONMENT, **box.environment},
        # Proxies may hold passwords, and there is no network.
        "use_config_proxy": False,
        "user": f"{user[0]}:{user[1]}",
        "working_dir": "/",
        "stdin_open": True,
        "mounts": [Mount(bind.target, bind.source, type="bind", read_only=bind.read_only) for bind in mounts],
        "network_mode": "none",
        "read_only": True,
        # torch compiles there and loads what it compiled, hence exec.
        "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,size={box.limits.tmp}"},
        "cap_drop": ["ALL"],
        # SELinux would refuse folders that are not labelled for containers, and labelling is not ours to do.
        "security_opt": ["no-new-privileges", *(["label=disable"] if "selinux" in options else [])],
        "ipc_mode": "private",
        "shm_size": SHARED_MEMORY,
        "mem_limit": box.limits.memory,
        "memswap_limit": box.limits.memory,
        "pids_limit": box.limits.pids,
        "nano_cpus": int(box.limits.cpus * 1e9),
        "ulimits": [Ulimit(name=name, soft=most, hard=most) for name, most in PROCESS_LIMITS.items()],
        # The first process of a container ignores signals; a small one of the engine's takes that place.
        "init": True,
        # Its output reaches us over the socket; a copy in the engine would fill its disk.
        "log_config": LogConfig(type="none"),
        "device_requests": _device_requests(box, facts),
    }
    # Where NVIDIA's runtime is the engine's usual one, an image's own variable would name all GPUs.
    nvidia = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"} if box.gpus else {"NVIDIA_VISIBLE_DEVICES": "void"}
    arguments["environment"] |= nvidia
    if user == (os.getuid(), os.getgid()):
        arguments["group_add"] = _groups(mounts)
    if "userns" in options:
        arguments["userns_mode"] = "host"  # else its user ids would not be those of the files
    return arguments


def _groups(mounts: Sequence[Bind]) -> list[str]:
    """The caller's further groups through which it may read what is mounted, and no other."""
    owning = {os.stat(bind.source).st_gid for bind in mounts}
    return [str(group) for group in sorted(owning & set(os.getgroups()) - {os.getgid()})]


def _check_readable(mounts: Sequence[Bind], user: tuple[int, int]) -> None:
    if user[0] != NOBODY or os.getuid():
        return
    lent = tuple(bind.source for bind in mounts if not bind.read_only)
    found = unreadable([bind.source for bind in mounts if not bind.source.startswith(lent)])
    if found:
        raise UserError(
            f"{found} cannot be read by user {NOBODY}, as whom containers run for root: chmod -R o+rX on what is to be "
            "read, or start tdbench as a normal user."
        )


def _device_requests(box: Box, facts: Mapping[str, Any]) -> list[Any]:
    from docker.types import DeviceRequest

    if box.gpus is None:
        return []
    driver = gpu_driver(facts)
    if driver is None:
        raise UserError(NO_GPU)
    if driver == "cdi":
        names = ("all",) if box.gpus == "all" else box.gpus
        return [DeviceRequest(driver="cdi", device_ids=[f"nvidia.com/gpu={name}" for name in names])]
    if box.gpus == "all":
        return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return [DeviceRequest(device_ids=list(box.gpus), capabilities=[["gpu"]])]


def ending(state: Mapping[str, Any], limits: Limits) -> Ending:
    """How a container ended, from what the engine says of its state."""
    status = int(state["ExitCode"])
    if status - SIGNALLED in {int(number) for number in signal.Signals}:
        status = SIGNALLED - status
    if not state.get("OOMKilled") or status == 0:
        return Ending(status)
    limit = f"{limits.memory / 2**30:.1f} GiB" if limits.memory >= 1 << 30 else f"{limits.memory / 2**20:.0f} MiB"
    return Ending(
        status, f"the container was ended at its memory limit of {limit}: raise memory=, or lower batch_size="
    )


class Container:
    """One container, made and started.

    Args:
        client: of the engine.
        box: what it may see and use.
        command: program and arguments.
        log: file that its standard error is appended to; it can read that, not change it.

    Attributes:
        name: of the container.
        log: that file, open.

    Raises:
        UserError: where it cannot be started; nothing is left of it then.
    """

    def __init__(self, client: docker.DockerClient, box: Box, command: Sequence[str], log: Path) -> None:
        facts = info(client)
        problem = limit_problem(facts)
        if problem:
            raise UserError(problem)
        self.log: BinaryIO = open_log(log)
        # Where it lies in a folder that the container writes to, it is still ours.
        arguments = create_arguments(replace(box, read=(*box.read, log)), command, facts)
        self._client = client
        self._box = box
        self._lines = LineQueue()
        self._pump: threading.Thread | None = None
        self.name = f"tdbench-{box.kind}-{uuid.uuid4().hex[:12]}"
        try:
            for folder in box.write:
                lend(folder, container_user(facts))
            self._start(arguments)
        except BaseException:
            self.stop()
            raise

    def _start(self, arguments: dict[str, Any]) -> None:
        with asking("start a container"):
            container = self._client.containers.create(name=self.name, **arguments)
            # Before the start, so that no line is missed. It is the container's standard input too: held by us alone,
            # so that the container hears of our death.
            socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            self._pump = threading.Thread(target=self._sort, args=[socket], daemon=True)
            self._pump.start()
            container.start()

    def _sort(self, socket: Any) -> None:
        """Take what comes over the socket: standard output to the lines, the rest to the log."""
        from docker.utils.socket import STDOUT, frames_iter

        with contextlib.closing(socket), contextlib.suppress(OSError):  # an engine that died: the ending will say so
            for stream, data in frames_iter(socket, tty=False):
                if stream == STDOUT:
                    self._lines.feed(data)
                else:
                    write_log(self.log, data)
        self._lines.close()

    def lines(self) -> Iterator[bytes | None]:
        """Lines of its standard output until it has ended; None each time nothing came for a while. For one reader."""
        yield from self._lines
        # It may close its output and go on.
        yield from self._until_ended()

    def wait(self) -> Ending:
        """How it ended; waits for that. Call it when `lines` has no more."""
        for _ in self._until_ended():
            pass
        try:
            return ending(self._state(), self._box.limits)
        except NoContainer:
            return Ending(1, problem="the container was removed from outside while it ran")
        except EngineError as error:
            return Ending(1, problem=str(error))

    def _until_ended(self) -> Iterator[None]:
        """None after each pause in which it went on; ends too where the engine cannot say how it is."""
        pause = SHORT_POLL
        with contextlib.suppress(EngineError):
            while self._state()["Running"]:
                time.sleep(pause)
                pause = min(2 * pause, POLL_SECONDS)
                yield None

    def _state(self) -> Record:
        with asking("say how a container ended"):
            state: Record = self._client.api.inspect_container(self.name)["State"]
            return state

    def stop(self) -> None:
        """End and remove the container, and take back the folders that it could write to. Harmless a second time."""
        # First, since the engine ends a container only when somebody has taken its output.
        self._lines.drop()
        try:
            remove(self._client, self.name)
        except EngineError as error:
            write_log(self.log, f"{error}\n".encode())
        if self._pump:
            self._pump.join(GRACE)
        for folder in self._box.write:
            for name in take_back(folder):
                write_log(self.log, f"removed {name}: it was no plain file\n".encode())
        self.log.close()


def open_log(path: Path) -> BinaryIO:
    """A log to append to; not through a link, which what ran there before may have left."""
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644), "ab", buffering=0)
