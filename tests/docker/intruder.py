"""A model that tries to leave its container, as an adapter of somebody else. Its schedulers are its deeds; the option
`at_load` names one that is done while it is loaded. What it finds goes out as the text of its samples.

Every harm has an end by itself, for the day on which nothing else stops it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adapters.base import CountedNetwork, GenerateRequest, GenerateResult, LoadSpec, Model

CLONE_NEWUSER = 0x10000000
MIB = 1 << 20
#: The ends of harm: processes, bytes, seconds.
MOST_PROCESSES, MOST_BYTES, MOST_SECONDS = 1000, 3 << 30, 60.0
#: Lines that are no events of a worker, or none of this job; POINT stands for the point that is being computed.
BABBLE = (
    b"no JSON at all",
    b"\xff\xfe\x00",
    b"5",
    b"[]",
    b"{}",
    b'{"event": 7}',
    b'{"event": "news"}',
    b'{"event": "loaded"}',
    b'{"event": "point"}',
    b'{"event": "point", "point": "none of yours"}',
    b'{"event": "batch", "point": ["a", "list"]}',
    b'{"event": "batch", "point": {"POINT": 1}}',
    b'{"event": "row"}',
    b'{"event": "row", "row": 1}',
    b'{"event": "row", "row": {"point": "none of yours", "status": "done"}}',
    b'{"event": "row", "row": {"point": "POINT"}}',
    b'{"event": "row", "row": {"point": "POINT", "status": ["failed"]}}',
    b'{"event": "row", "row": {"point": "POINT", "status": "failed"}}',
    b'{"event": "row", "row": {"point": "POINT", "status": "failed", "reason": 5, "message": {"a": "b"}}}',
    b"[" * 100_000,
    b'{"event": "not_loaded"}',
)


def load(spec: LoadSpec) -> Intruder:
    deed = spec.options.get("at_load")
    if deed:
        DEEDS[deed](spec.options)
    return Intruder()


class Intruder(Model):
    parameter_count = 1
    notes = ()

    def __init__(self) -> None:
        self.network = CountedNetwork(lambda tokens: tokens)

    @property
    def networks(self) -> list[CountedNetwork]:
        return [self.network]

    def same_as(self, scheduler: str) -> None:
        return None

    def check(self, request: GenerateRequest) -> None:
        pass

    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.network.reset(request.count)
        self.network(range(request.count), torch.zeros(request.count, 1))
        found = DEEDS[request.scheduler](request.options)
        texts = [json.dumps(found)] * request.count
        return GenerateResult([[1]] * request.count, texts, list(self.network.nfe), [1] * request.count)


# --- looking around -------------------------------------------------------------------------------------------------


def look(options: dict[str, Any]) -> dict[str, Any]:
    """Everything that can be seen from inside."""
    return {
        "user": who(options),
        "status": dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "connections": {address: _connect(address, options["port"]) for address in options["addresses"]},
        "written": {path: _attempt(lambda path=path: _write_into(Path(path))) for path in options["write"]},
        "writable": _writable_folders(),
        "seen": [path for path in options["look_for"] if os.path.lexists(path)],
        "environment": dict(os.environ),
        "mounts": [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()],
        "devices": sorted(os.listdir("/dev")),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "privileges": {name: _attempt(deed) for name, deed in PRIVILEGES.items()},
        "temporary_bytes": _fill(Path("/tmp/fill"), options["fill_bytes"]),
        "overwritten": [_attempt(lambda path=path: _open_for_writing(path)) for path in options["overwrite"]],
    }


def who(options: dict[str, Any]) -> list[int]:
    """User and groups."""
    return [os.getuid(), os.getgid(), *os.getgroups()]


def _attempt(deed: Callable[[], Any]) -> str:
    """What came of it: the name of the error, or "done"."""
    try:
        deed()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def _connect(address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def call() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as caller:
            caller.settimeout(3)
            caller.connect((address, port))

    return _attempt(call)


def _write_into(folder: Path) -> None:
    place = folder / "intruder"
    place.write_text("was here")
    place.unlink()


def _open_for_writing(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def _writable_folders() -> list[str]:
    """Every folder of the whole tree that files could be made in; kernel interfaces aside."""
    found = []
    for folder, names, _ in os.walk("/"):
        if folder == "/":
            names[:] = [name for name in names if name not in ("proc", "sys")]
        if os.access(folder, os.W_OK):
            found.append(folder)
    return found


def _fill(path: Path, most: int) -> int:
    """Bytes that a file can be made to hold, up to `most`."""
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < most:
                written += file.write(bytes(MIB))
    except OSError:
        pass
    path.unlink()
    return written


def _libc(name: str, *arguments: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


PRIVILEGES: dict[str, Callable[[], Any]] = {
    "become root": lambda: os.setuid(0),
    "mount": lambda: _libc("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "new user namespace": lambda: _libc("unshare", CLONE_NEWUSER),
    "change root": lambda: os.chroot("/tmp"),
    "make a device": lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
    "write a kernel setting": lambda: _open_for_writing("/proc/sys/kernel/core_pattern"),
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close(),
}


# --- doing harm -----------------------------------------------------------------------------------------------------


def fine(options: dict[str, Any]) -> None:
    """Nothing bad."""


def fork_bomb(options: dict[str, Any]) -> None:
    """As many processes as there may be, which all stay."""
    for _ in range(MOST_PROCESSES):
        if os.fork() == 0:
            time.sleep(MOST_SECONDS)
            os._exit(0)


def memory_hog(options: dict[str, Any]) -> None:
    """Memory, page by page, until there is none."""
    kept = []
    while len(kept) * 16 * MIB < MOST_BYTES:
        kept.append(b"x" * (16 * MIB))


def fill_tmp(options: dict[str, Any]) -> None:
    """Temporary files that stay."""
    with open("/tmp/fill", "wb", buffering=0) as file:
        for _ in range(options["fill_bytes"] // MIB):
            file.write(bytes(MIB))


def hang(options: dict[str, Any]) -> None:
    """Never come back, deaf to everything."""
    _turn_deaf()
    time.sleep(MOST_SECONDS)


def _turn_deaf() -> None:
    """Ignore every request to end, also that the host's death is."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os._exit = lambda status: time.sleep(MOST_SECONDS)  # type: ignore[assignment,return-value]


def pretend(options: dict[str, Any]) -> None:
    """Never come back, and say all the time that a point has just begun."""
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end:
        _write_all(1, json.dumps({"event": "point", "point": options["point"]}).encode() + b"\n")
        time.sleep(0.1)


def steady(options: dict[str, Any]) -> None:
    """A batch that takes a while."""
    time.sleep(0.05)


def flood(options: dict[str, Any]) -> None:
    """So many bytes into each of stdout and stderr: lines, and one line without an end."""
    line = b"x" * 1023 + b"\n"
    for number in (1, 2):
        for _ in range(options["bytes"] // 2 // len(line)):
            os.write(number, line)
        _write_all(number, b"y" * (options["bytes"] // 2))
        _write_all(number, b"\n")


def _write_all(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]


def babble(options: dict[str, Any]) -> None:
    """One line that is no proper event."""
    _write_all(1, BABBLE[options["line"]].replace(b"POINT", options["point"].encode()) + b"\n")


def tamper(options: dict[str, Any]) -> None:
    """Put something else in the place of files of the job folder, then end as `then` says."""
    for name in options["files"]:
        _replace(Path(options["folder"]) / name, options)
    if options["then"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if options["then"] == "fail":
        raise ValueError("a bad day")


def _replace(path: Path, options: dict[str, Any]) -> None:
    """Where that is not allowed, the next one may be."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        REPLACEMENTS[options["by"]](path, options)


def replant(options: dict[str, Any]) -> None:
    """Tamper with some files again and again, deaf to everything."""
    _turn_deaf()
    end = time.monotonic() + MOST_SECONDS
    while time.monotonic() < end:
        for name in options["files"]:
            _replace(Path(options["folder"]) / name, options)
        time.sleep(0.001)


REPLACEMENTS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "link": lambda path, options: path.symlink_to(options["target"]),
    "pipe": lambda path, options: os.mkfifo(path),
    "folder": lambda path, options: path.mkdir(),
    "garbage": lambda path, options: path.write_bytes(b"\x00no JSON\n" * 3),
    "locked": lambda path, options: path.touch(0),
}

DEEDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    deed.__name__: deed
    for deed in (
        look,
        who,
        fine,
        fork_bomb,
        memory_hog,
        fill_tmp,
        hang,
        pretend,
        steady,
        flood,
        babble,
        tamper,
        replant,
    )
}
