"""A small folder of containers, and wheels for it: an image of it is built in seconds and needs no network."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from harness.images import recipe

DOCKERFILE = recipe.CONTAINERS / "native" / "Dockerfile"
INSTALL = recipe.CONTAINERS / "install.sh"
NAME = "trial"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    tag: str = "py3-none-any",
    files: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
) -> Path:
    """A wheel that pip can install; its one module holds its version."""
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {other}\n" for other in requires),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*contents, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in contents.items():
            archive.writestr(zipfile.ZipInfo(each, (2020, 1, 1, 0, 0, 0)), text)
    return path


def cpu_torch(folder: Path, version: str = "2.0.0") -> Path:
    return make_wheel(folder, "torch", f"{version}+cpu")


def cuda_torch(folder: Path, version: str = "2.0.0") -> Path:
    return make_wheel(folder, "torch", version, files={"torch/lib/libtorch_cuda.so": "CUDA\n"})


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def line(wheel: Path) -> str:
    """The requirement that a wheel meets, as pip-compile writes it."""
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} \\\n    --hash=sha256:{sha256(wheel)}\n"


class Trial:
    """containers/ with the one image "trial", which follows our own Dockerfile.

    Args:
        containers: folder to make it in.
        links: folder of wheels that pip finds.
        name: of the image.
    """

    def __init__(self, containers: Path, links: Path, name: str = NAME) -> None:
        self.containers, self.links, self.name = containers, links, name
        self.folder = containers / name
        self.folder.mkdir(parents=True)
        self.write(containers / "install.sh", INSTALL.read_text())
        self.write(containers / "python.yaml", (recipe.CONTAINERS / "python.yaml").read_text())
        self.dockerfile = self.folder / "Dockerfile"
        self.write(self.dockerfile, DOCKERFILE.read_text())
        self.torch = cuda_torch(links)
        self.tiny = make_wheel(links, "tiny", "1.0")
        cpu_torch(links)
        self.requirements = self.folder / "requirements.txt"
        self.require(self.torch, self.tiny)

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")

    def require(self, *wheels: Path) -> None:
        self.write(self.requirements, "--only-binary :all:\n\n" + "".join(map(line, wheels)))

    def default(self, argument: str, value: str) -> None:
        """Change a build argument's default."""
        text = self.dockerfile.read_text()
        changed = re.sub(rf"^ARG {argument}=.*$", f"ARG {argument}={value}", text, flags=re.MULTILINE)
        assert changed != text
        self.write(self.dockerfile, changed)

    def append(self, step: str) -> None:
        """Add a step to the Dockerfile."""
        self.write(self.dockerfile, f"{self.dockerfile.read_text()}{step}\n")

    def only(self, step: str) -> None:
        """A Dockerfile with this one step, where the others only cost time."""
        self.write(self.dockerfile, f"ARG BASE=some/base:1\nARG PYTHON=3.11\nFROM ${{BASE}}\n{step}\n")

    def archive(self, python: str, **facts: str) -> None:
        """Change facts of a pinned Python."""
        path = self.containers / "python.yaml"
        known = yaml.safe_load(path.read_text())
        known[python] |= facts
        self.write(path, yaml.safe_dump(known))
