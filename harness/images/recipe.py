"""What an image is made of: its folder in containers/, and what all of them share there."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UserError, unknown
from harness.images.requirements import Requirement, for_cpu, read_requirements

CONTAINERS = Path(__file__).resolve().parents[2] / "containers"
VARIANTS = ("cuda", "cpu")


@dataclass(frozen=True)
class Archive:
    """A Python for a base image that has none.

    Attributes:
        version: in full.
        url: where it is.
        sha256: 64 hex digits.
    """

    version: str
    url: str
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """The sources of one image.

    Attributes:
        name: folder in containers/.
        files: content of its Dockerfile and of install.sh, by their names in the build context.
        base: default base image, tag and digest.
        python: version without its last part, as in "3.10".
        archive: that Python, for a base image without it.
        requirements: packages of the CUDA variant.
    """

    name: str
    files: dict[str, bytes]
    base: str
    python: str
    archive: Archive
    requirements: tuple[Requirement, ...]

    def packages(self, variant: str) -> tuple[Requirement, ...]:
        """Packages of a variant."""
        return self.requirements if variant == "cuda" else for_cpu(self.requirements)

    @property
    def digest(self) -> str:
        """sha256 of all of it, 64 hex digits; a comment among the requirements does not count."""
        return digest_of(
            {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()},
            [self.archive.version, self.archive.sha256],
            [requirement.line for requirement in self.requirements],
        )


def digest_of(*parts: Any) -> str:
    """sha256 of plain values, 64 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def image_names() -> tuple[str, ...]:
    """Images that can be built."""
    return tuple(sorted(path.parent.name for path in CONTAINERS.glob("*/Dockerfile")))


def read_recipe(name: str) -> Recipe:
    """The sources of an image.

    Raises:
        UserError: for an unknown name, or where something is missing in its folder.
    """
    if name not in image_names():
        raise unknown("image", name, image_names())
    folder = CONTAINERS / name
    try:
        files = {
            "Dockerfile": (folder / "Dockerfile").read_bytes(),
            "install.sh": (CONTAINERS / "install.sh").read_bytes(),
        }
        requirements = read_requirements(folder / "requirements.txt")
    except FileNotFoundError as error:
        raise UserError(f"the image {name} lacks {error.filename}.") from None
    python = _default(files["Dockerfile"], "PYTHON", folder)
    return Recipe(name, files, _default(files["Dockerfile"], "BASE", folder), python, _archive(python), requirements)


def content_digest(name: str) -> str:
    """sha256 of what an image is made of, 64 hex digits; needs no engine."""
    return read_recipe(name).digest


def _default(dockerfile: bytes, argument: str, folder: Path) -> str:
    """The default of a build argument."""
    found = re.search(rf"^ARG {argument}=(\S+)$", dockerfile.decode(), re.MULTILINE)
    if found is None:
        raise UserError(f"{folder / 'Dockerfile'} has no line 'ARG {argument}=...'.")
    return found[1]


def _archive(python: str) -> Archive:
    path = CONTAINERS / "python.yaml"
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    if python not in known:
        raise UserError(f"{path} has no Python {python}. It has: {', '.join(known)}.")
    return Archive(**known[python])
