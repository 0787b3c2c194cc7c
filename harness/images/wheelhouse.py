"""The wheels of images, on the host: got once by pip, verified, shared by all images, so that a build needs no network.

<cache>/wheelhouse/    one file a wheel, under its own name; a file is there whole or not at all
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TextIO

from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from harness.download import cache_folder, sha256_of
from harness.errors import UserError
from harness.images.requirements import Requirement

#: What a wheel may ask of the system, the best first: glibc 2.28 or older. The last is the CPU builds' of old torch.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
    *(f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")),
    "linux_x86_64",
)
_STALE = 2 * 24 * 3600.0


@dataclass(frozen=True)
class Wheel:
    """One verified file.

    Attributes:
        path: where it lies.
        exactly: the requirement that this file alone meets: its version, its sha256.
    """

    path: Path
    exactly: Requirement


def wheelhouse() -> Path:
    """Where wheels are kept. Files placed there by hand are used like downloaded ones."""
    return cache_folder() / "wheelhouse"


def collect(requirements: Sequence[Requirement], python: str, log: TextIO) -> tuple[Wheel, ...]:
    """A verified wheel for each requirement; what is missing is downloaded by pip, as the user has configured it.

    Args:
        requirements: the complete list of an image's packages.
        python: the image's, as in "3.10".
        log: gets what pip complains of.

    Raises:
        UserError: where a wheel cannot be had.
    """
    found = _verified(requirements, python)
    lacking = [one for one in requirements if one not in found]
    if lacking:
        print(f"wheels: {len(found)} are in {wheelhouse()}, {len(lacking)} to download", file=sys.stderr)
        _tidy()
        for part in _parts(lacking):
            _download(part, python, log)
        found |= _verified(lacking, python)
    refused = [one for one in lacking if one not in found]
    if refused:
        raise UserError(_not_this(refused[0]))
    return tuple(found[one] for one in requirements)


def lacking_wheels(requirements: Sequence[Requirement], python: str) -> int:
    """How many wheels would have to be downloaded, going by their names alone."""
    stored = _stored(python)
    return sum(not list(_named(one, stored)) for one in requirements)


# --- what is there --------------------------------------------------------------------------------------------------


def _stored(python: str) -> dict[str, list[tuple[str, Path]]]:
    """Version and file of the wheels that fit an image's Python, by package."""
    fitting = _fitting(python)
    found: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(wheelhouse().glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if tags & fitting:
            found.setdefault(name, []).append((str(version), path))
    return found


@cache
def _fitting(python: str) -> frozenset[Tag]:
    version = [int(part) for part in python.split(".")]
    abi = f"cp{python.replace('.', '')}"
    return frozenset((*cpython_tags(version, [abi], PLATFORMS), *compatible_tags(version, abi, PLATFORMS)))


def _named(requirement: Requirement, stored: dict[str, list[tuple[str, Path]]]) -> Iterator[tuple[str, Path]]:
    """Candidates for a requirement by name and version."""
    wanted = SpecifierSet(f"=={requirement.version}", prereleases=True)
    for version, path in stored.get(canonicalize_name(requirement.name), []):
        if wanted.contains(version):
            yield version, path


def _verified(requirements: Iterable[Requirement], python: str) -> dict[Requirement, Wheel]:
    """The wheels that are there and are what they must be."""
    stored = _stored(python)
    found = {}
    for requirement in requirements:
        for version, path in _named(requirement, stored):
            digest = sha256_of(path)
            if digest in requirement.hashes or (not requirement.hashes and not (requirement.cpu and has_cuda(path))):
                found[requirement] = Wheel(path, Requirement(requirement.name, version, (digest,)))
                break
    return found


def has_cuda(wheel: Path) -> bool:
    """Whether a wheel of torch is a CUDA build."""
    with zipfile.ZipFile(wheel) as archive:
        return any(name.startswith("torch/lib/libtorch_cuda") for name in archive.namelist())


def _not_this(requirement: Requirement) -> str:
    if requirement.cpu:
        return (
            f"the index gave a CUDA build of torch {requirement.version}, and a CPU image needs a CPU build: set "
            "PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to where PyTorch's CPU wheels are, or build the CUDA variant, which "
            "runs on a CPU too: tdbench images --variant cuda"
        )
    return f"pip brought no wheel of {requirement.name}=={requirement.version} with a known sha256."


# --- what is not ----------------------------------------------------------------------------------------------------


def _parts(requirements: Sequence[Requirement]) -> list[list[Requirement]]:
    """Downloads of their own, so that an interruption loses little: each heavy package, then the small ones.

    Apart, too, with and without hashes: where one line has a hash, pip demands it of all.
    """
    small = [one for one in requirements if not one.heavy]
    parts = [[one] for one in requirements if one.heavy]
    parts += [[one for one in small if one.hashes], [one for one in small if not one.hashes]]
    return [part for part in parts if part]


def _download(requirements: Sequence[Requirement], python: str, log: TextIO) -> None:
    place = wheelhouse()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=place) as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("".join(f"{one.line}\n" for one in requirements), encoding="utf-8")
        # pip's own temporary files are as large as the wheels: beside them, not in a small /tmp.
        environment = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(
            [*_pip_download(python), "--dest", folder, "--requirement", str(listed)],
            stdout=2,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            check=False,
        )
        log.write(done.stderr)
        if done.returncode:
            raise UserError(f"{_failure(requirements, done.stderr)} All it said: {log.name}")
        for path in Path(folder).glob("*.whl"):
            os.replace(path, place / path.name)


def _pip_download(python: str) -> list[str]:
    quiet = [] if sys.stderr.isatty() else ["--quiet", "--progress-bar", "off"]
    command = [sys.executable, "-m", "pip", "download", *quiet, "--no-deps", "--only-binary", ":all:"]
    command += ["--implementation", "cp", "--python-version", python, "--abi", f"cp{python.replace('.', '')}"]
    return [*command, *(word for platform in PLATFORMS for word in ("--platform", platform))]


def _failure(requirements: Sequence[Requirement], text: str) -> str:
    """What pip said, and what to do about it."""
    what = requirements[0].name if len(requirements) == 1 else f"{len(requirements)} packages"
    if "No space left on device" in text:
        return f"no room for the wheels of {what} in {wheelhouse()}: free some, or set TDBENCH_CACHE to a larger disk."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    said = (errors or lines or ["it said nothing"])[-1].rstrip(".")[:200]
    offline = " (no connection to the index)" if "Retrying (Retry(" in text else ""
    return (
        f"pip cannot get the wheels of {what}: {said}{offline}. Check the network and pip's settings "
        f"(pip config list), or copy the wheels into {wheelhouse()}."
    )


def _tidy() -> None:
    """Remove what killed downloads left, but nothing that may be under way."""
    for folder in wheelhouse().glob(".part-*"):
        if time.time() - folder.stat().st_mtime > _STALE:
            shutil.rmtree(folder, ignore_errors=True)
