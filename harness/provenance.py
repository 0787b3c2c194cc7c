"""Where a run came from: code revision, versions, machine, command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil

from harness import __version__
from harness.store import Record
from harness.worker.machine import cpu_name

PACKAGES = ("torch", "numpy", "pandas", "transformers", "tokenizers", "sacrebleu", "mauve-text", "hydra-core")


def environment() -> Record:
    """Facts of the host that belong beside every figure; None where unknown."""
    return {
        "tdbench": __version__,
        **git_state(Path(__file__).parent),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": os.getloadavg()[0],
        "packages": {name: _version(name) for name in PACKAGES},
    }


def git_state(folder: Path) -> Record:
    """Revision of the checkout that holds `folder` and whether it has uncommitted changes; None outside a checkout."""
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        dirty = bool(_git(folder, "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return {"git_revision": None, "git_dirty": None}
    return {"git_revision": revision, "git_dirty": dirty}


def _git(folder: Path, *words: str) -> str:
    answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def command_line() -> str:
    """What the user typed, quoted for a shell."""
    return shlex.join(["tdbench", *sys.argv[1:]])
