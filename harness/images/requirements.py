"""The packages of an image: name==version with hashes, and what a CPU image takes of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError

_LINE = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.+!-]+)(?P<hashes>(\s+--hash=sha256:[0-9a-f]{64})*)")
#: What is always so here, whether a file says it or not.
_SAID_ANYWAY = ("--only-binary :all:",)
_CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")


@dataclass(frozen=True)
class Requirement:
    """One package.

    Attributes:
        name: in lower case, with "-" between its words.
        version: the exact one.
        hashes: sha256 of every file that is it, one a platform; empty where any file of that version will do.
        cpu: whether it must be a build without CUDA.
    """

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    cpu: bool = False

    @property
    def line(self) -> str:
        """For pip. "==2.0" would take a 2.0+cpu that lies about, too, and then find that its hash is another."""
        equal = "===" if self.hashes else "=="
        return " ".join([f"{self.name}{equal}{self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)])

    @property
    def heavy(self) -> bool:
        """Whether it is torch or belongs to CUDA: gigabytes that seldom change."""
        return self.name == "torch" or bool(_CUDA.fullmatch(self.name))


def read_requirements(path: Path) -> tuple[Requirement, ...]:
    """The packages of a requirements file, ordered by name.

    Raises:
        UserError: for a line that is no name==version, or one with a marker: an image has one Python and one platform.
    """
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    found = []
    for line in lines:
        if not line or line in _SAID_ANYWAY:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{path}: '{line[:80]}' is not of the form name==version --hash=sha256:DIGEST.")
        hashes = re.findall(r"sha256:(\w+)", match["hashes"])
        found.append(
            Requirement(re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"], tuple(sorted(hashes)))
        )
    return tuple(sorted(found, key=lambda requirement: requirement.name))


def for_cpu(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """The same packages without CUDA's. Torch's hashes are those of its CUDA build and do not hold for the CPU's."""
    kept = (one for one in requirements if not _CUDA.fullmatch(one.name))
    return tuple(_torch_for_cpu(one) if one.name == "torch" else one for one in kept)


def _torch_for_cpu(torch: Requirement) -> Requirement:
    return Requirement(torch.name, torch.version.partition("+")[0], cpu=True)
