"""What this machine can do, and what is missing for what."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from adapters.cards import Card, all_cards
from harness.config import BenchConfig
from harness.errors import UserError
from harness.fetch import missing_packages, pip_line
from harness.runtimes.engine import EngineError, connect, gpu_driver, info, limit_problem, security_options
from harness.runtimes.leftovers import clean, leftovers
from harness.store import Record
from harness.upstream import SHORT, find_checkout

if TYPE_CHECKING:
    import docker

#: Free space below which published checkpoints and their results may not fit, bytes.
COMFORTABLE_DISK = 20 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        subject: what was looked at.
        ok: True for fine, False for missing; None where it only limits speed or extras.
        text: what was found and, where not ok, what it is needed for and how to get it.
    """

    subject: str
    ok: bool | None
    text: str


def examine() -> list[Finding]:
    """Look at Python, torch, GPU, Docker, memory, disk, optional packages and the authors' code.

    It changes nothing but one thing: containers of ours are removed whose harness was killed.
    """
    return [
        _python(),
        *_torch(),
        *_docker(),
        _memory(),
        _disk(),
        _package("mauve", "mauve-text", "the MAUVE metric"),
        _package("evaluate", "evaluate", "metrics named evaluate:NAME"),
        *(_upstream(card) for card in all_cards().values() if "upstream" in card.engines),
    ]


def _python() -> Finding:
    version = platform.python_version()
    ok = (3, 11) <= sys.version_info < (3, 14)
    return Finding("Python", ok, version if ok else f"{version}; 3.11 to 3.13 is needed")


def _torch() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return [Finding("torch", False, f"not installed; every model needs it: {pip_line(['torch'])}")]
    import torch

    found = [Finding("torch", True, f"{torch.__version__}, {torch.get_num_threads()} CPU threads")]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return [*found, Finding("GPU", True, ", ".join(names))]
    return [
        *found,
        Finding("GPU", None, "none that torch can use; tiny checkpoints run on the CPU, published ones will be slow"),
    ]


def _docker() -> list[Finding]:
    try:
        client = connect()
    except UserError as error:
        return [Finding("Docker", None, f"{str(error).rstrip('.')}; only runtime=docker needs it")]
    try:
        return [_engine(info(client)), *_leftovers(client)]
    except EngineError as error:
        return [Finding("Docker", None, str(error))]
    finally:
        client.close()


def _engine(facts: Record) -> Finding:
    """The engine, and what it lacks for containers of ours.

    Args:
        facts: what it says of itself.
    """
    options = security_options(facts)
    kind = "rootless " if "rootless" in options else ""
    text = f"{kind}engine {facts.get('ServerVersion')}, {facts.get('Driver')} storage"
    lacking = [limit_problem(facts)]
    lacking += [None if facts.get("SwapLimit") else "it cannot limit swap, so a worker may swap before it is ended"]
    lacking += [None if "seccomp" in options else "it filters no system calls (seccomp is off)"]
    lacking += [None if gpu_driver(facts) else "it has no NVIDIA runtime, so containers run on the CPU"]
    remarks = [remark.rstrip(".") for remark in lacking if remark]
    return Finding("Docker", None if remarks else True, "; ".join([text, *remarks]))


def _leftovers(client: docker.DockerClient) -> list[Finding]:
    """Containers whose harness is gone: those of ours are removed, those of others only named."""
    others = [
        f"{left.name} ({left.kind} of {left.folder}) is of {left.owner}; if nobody waits: docker rm -f {left.name}"
        for left in leftovers(client)
        if not left.ours
    ]
    cleaned = [Finding("Container", True, line) for line in clean(client)]
    return [*cleaned, *(Finding("Container", None, line) for line in others)]


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    ok = memory.available > 2 << 30
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    return Finding("Memory", ok, text if ok else f"{text}; the tiny sweep needs about 2 GiB")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{free / 2**30:.0f} GiB free here"
    enough = free > COMFORTABLE_DISK
    return Finding(
        "Disk", True if enough else None, text if enough else f"{text}; published checkpoints take 1 to 30 GiB each"
    )


def _package(module: str, distribution: str, purpose: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(distribution, None, f"not installed; {purpose} needs it: {pip_line([distribution])}")
    return Finding(distribution, True, importlib.metadata.version(distribution))


def _upstream(card: Card) -> Finding:
    """The authors' code of a model where `tdbench fetch --upstream` puts it, and what it needs."""
    subject = f"{card.name} code"
    try:
        checkout = find_checkout(card, BenchConfig())
    except UserError as error:
        return Finding(subject, None, str(error))
    commit = f"commit {checkout.commit[:SHORT]}" if checkout.commit else "unknown commit"
    lacking = missing_packages(card)
    remarks = list(checkout.notes)
    if lacking:
        remarks.append(f"engine=upstream also needs {', '.join(lacking)}: {pip_line(lacking)}")
    return Finding(subject, None if remarks else True, "; ".join([f"{commit} in {checkout.path}", *remarks]))
