"""Whose containers are whose: the labels each carries, and those whose harness is gone."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from harness.runtimes.engine import NoContainer, asking
from harness.runtimes.ownership import take_back

if TYPE_CHECKING:
    import docker

#: The label that all containers of ours carry, and its companions.
KIND = "tdbench"
HOST, BOOT, USER, PID, STARTED, FOLDER = (
    f"{KIND}.{name}" for name in ("host", "boot", "user", "pid", "started", "folder")
)
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
#: Process start times are read from a clock that may be set; a process id is not given twice within this many seconds.
SAME_START = 2.0


@dataclass(frozen=True)
class Leftover:
    """A container whose harness is gone, or of whose harness we cannot know.

    Attributes:
        id: of the container.
        name: for people.
        kind: "worker" or "convert".
        owner: whose harness made it, "user 1000 on HOST".
        folder: what it could write to.
        ours: whether it was made on this machine and for us (or we are root): it may be removed.
    """

    id: str
    name: str
    kind: str
    owner: str
    folder: Path
    ours: bool


def labels(kind: str, folder: Path) -> dict[str, str]:
    """The labels of a container that this process makes.

    Args:
        kind: "worker" or "convert".
        folder: what it can write to.
    """
    return {KIND: kind, FOLDER: str(folder), **_owner(psutil.Process())}


def _owner(process: psutil.Process) -> dict[str, str]:
    return {
        HOST: socket.gethostname(),
        BOOT: _boot(),
        USER: str(os.getuid()),
        PID: str(process.pid),
        STARTED: f"{process.create_time():.2f}",
    }


def _boot() -> str:
    """Which start of this machine this is, "" where it does not say."""
    return BOOT_FILE.read_text().strip() if BOOT_FILE.is_file() else ""


def leftovers(client: docker.DockerClient) -> list[Leftover]:
    """Containers of ours that no living harness of this machine waits for.

    Raises:
        EngineError: where the engine does not answer.
    """
    return [_leftover(entry) for entry in _all(client) if not _is_awaited(entry["Labels"])]


def clean(client: docker.DockerClient, folder: Path | None = None) -> list[str]:
    """Remove the leftovers that are ours, and take back the folders that they wrote to.

    Args:
        client: of the engine.
        folder: only those that write to this folder; it is the caller's alone, so whatever runs there is left over.

    Returns:
        one line for each that was removed.

    Raises:
        EngineError: where the engine does not answer.
    """
    found = leftovers(client) if folder is None else list(map(_leftover, _all(client)))
    return [_remove(client, left) for left in found if left.ours and folder in (None, left.folder)]


def _all(client: docker.DockerClient) -> list[dict[str, Any]]:
    with asking("list containers"):
        found: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": [KIND]})
        return found


def _remove(client: docker.DockerClient, left: Leftover) -> str:
    remove(client, left.id)
    if left.folder.is_absolute() and left.folder.is_dir():
        take_back(left.folder)
    return f"removed container {left.name} ({left.kind} of {left.folder}): its harness is gone"


def remove(client: docker.DockerClient, identity: str) -> None:
    """End and remove a container; nothing where there is none any more.

    Raises:
        EngineError: where the engine does not answer.
    """
    try:
        with asking("remove a container"):
            client.api.remove_container(identity, force=True, v=True)
    except NoContainer:
        return


def _leftover(entry: dict[str, Any]) -> Leftover:
    facts = entry["Labels"]
    name = entry["Names"][0].lstrip("/") if entry.get("Names") else entry["Id"][:12]
    ours = facts.get(HOST) == socket.gethostname() and (not os.getuid() or facts.get(USER) == str(os.getuid()))
    owner = f"user {facts.get(USER)} on {facts.get(HOST)}"
    return Leftover(entry["Id"], name, facts[KIND], owner, Path(facts.get(FOLDER, "")), ours)


def _is_awaited(facts: dict[str, str]) -> bool:
    """Whether the process that made a container of this machine still runs. Of another machine nobody knows: False."""
    if facts.get(HOST) != socket.gethostname() or facts.get(BOOT) != _boot():
        return False
    try:
        process = psutil.Process(int(facts.get(PID, "")))
        return abs(process.create_time() - float(facts.get(STARTED, ""))) < SAME_START
    except (psutil.NoSuchProcess, ValueError):
        return False
