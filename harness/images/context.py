"""The build context of an image: what its Dockerfile copies, as a tar stream."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.images.recipe import Recipe
from harness.images.requirements import Requirement
from harness.images.wheelhouse import Wheel

#: Where a company's CA bundle may be named, the first that exists counts.
_CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
#: pip's settings that say where packages come from.
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
_BLOCK = 1 << 20
Context = Mapping[str, "bytes | Path"]


def context(
    recipe: Recipe, variant: str, archive: Path | None, wheels: Sequence[Wheel] | None, labels: Mapping[str, str]
) -> Context:
    """The files of a build by their names in it.

    Args:
        recipe: the image's sources.
        variant: "cuda" or "cpu".
        archive: a Python to bring along, None where the base image has its own.
        wheels: all packages; None for a build that gets them from the network, with pip's settings of this user.
        labels: of the image.
    """
    packages = [wheel.exactly for wheel in wheels] if wheels is not None else recipe.packages(variant)
    files: dict[str, bytes | Path] = dict(recipe.files)
    # One step; the engine would make one of each label.
    label = " ".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    files["Dockerfile"] = recipe.files["Dockerfile"] + f"LABEL {label}\n".encode()
    files |= {"python/": b"", "pip/": b"", "torch/requirements.txt": _lines(packages, True)}
    files["rest/requirements.txt"] = _lines(packages, False)
    if variant == "cpu":
        files["torch/cpu"] = b""
    if archive is not None:
        files["python/python.tar.gz"] = archive
    if wheels is None:
        return {**files, **_pip_files()}
    files["pip/pip.conf"] = b"[global]\nno-index = true\n"
    return files | {f"{_folder(wheel.exactly)}/{wheel.path.name}": wheel.path for wheel in wheels}


def _folder(requirement: Requirement) -> str:
    return "torch" if requirement.heavy else "rest"


def _lines(packages: Iterable[Requirement], heavy: bool) -> bytes:
    return "".join(f"{one.line}\n" for one in packages if one.heavy == heavy).encode()


def _pip_files() -> Context:
    """pip's settings and the CA bundle of this user, for the stages that install; the image keeps neither."""
    settings = {name: value for name, value in _pip_settings() if name in _PIP_SETTINGS and value}
    bundle = next((Path(path) for path in map(os.environ.get, _CA_VARIABLES) if path and Path(path).is_file()), None)
    if bundle:
        settings["cert"] = "/build/pip/ca.pem"
    text = "".join(f"{name} = {value}\n" for name, value in settings.items())
    conf: Context = {"pip/pip.conf": f"[global]\n{text}".encode()}
    return {**conf, "pip/ca.pem": bundle} if bundle else conf


def _pip_settings() -> Iterator[tuple[str, str]]:
    """Name and value of each of pip's settings, the strongest last."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    environment = {**os.environ, "PIP_QUIET": "0"}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line.partition("=") for line in answer.stdout.splitlines()]
    for key, _, value in sorted(lines, key=lambda line: line[0].startswith(":env:")):
        # What lies in a folder of this machine is not there in a build.
        words = [word for word in str(ast.literal_eval(value)).split() if not word.startswith(("file:", "/"))]
        yield key.rpartition(".")[2], " ".join(words)


def tar_stream(files: Context) -> Iterator[bytes]:
    """The files as an uncompressed tar, in pieces; the same files give the same bytes."""
    folders = {f"{name.rpartition('/')[0]}/" for name in files if "/" in name}
    for name in sorted({*files, *folders}):
        content = files.get(name, b"")
        info = tarfile.TarInfo(name.rstrip("/"))
        if name.endswith("/"):
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            yield info.tobuf(tarfile.GNU_FORMAT)
            continue
        info.size = content.stat().st_size if isinstance(content, Path) else len(content)
        yield info.tobuf(tarfile.GNU_FORMAT)
        with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as stream:
            yield from iter(lambda: stream.read(_BLOCK), b"")
        yield b"\0" * (-info.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
