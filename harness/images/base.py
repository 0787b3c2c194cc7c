"""The base image that an image is built on: there already or pulled, and the Python in it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.runtimes.engine import EngineError, asking
from harness.runtimes.leftovers import labels, remove

if TYPE_CHECKING:
    import docker

#: Seconds for a Python to say its version.
_PATIENCE = 60
_QUESTION = "import ensurepip, platform, venv; print(platform.python_version())"
#: What a pull says that is worth a line; the rest is a counter of bytes.
_PULL_LINES = ("Pulling from", "Pull complete", "Digest:", "Status:")


@dataclass(frozen=True)
class Base:
    """A base image that the engine has.

    Attributes:
        name: as it was asked for.
        id: of the image ("sha256:...").
    """

    name: str
    id: str


def local_base(client: docker.DockerClient, name: str) -> Base | None:
    """A base image, None where the engine does not have it.

    Raises:
        UserError: for one of another processor.
    """
    import docker

    with asking(f"look for the base image {name}"):
        try:
            attributes = client.api.inspect_image(name)
        except docker.errors.ImageNotFound:
            return None
    if attributes["Architecture"] != "amd64":
        raise UserError(f"the base image {name} is for {attributes['Architecture']}, and the images are for amd64.")
    return Base(name, attributes["Id"])


def obtain_base(client: docker.DockerClient, name: str) -> Base:
    """A base image, pulled where the engine does not have it.

    Raises:
        UserError: where it cannot be had.
    """
    found = local_base(client, name)
    if found is None:
        print(f"base image: pulling {name}", file=sys.stderr)
        problem = _pull(client, name)
        found = local_base(client, name)
        if found is None:
            raise UserError(
                f"the base image {name} cannot be pulled ({problem or 'the registry gave another one'}): load it with "
                "docker load, or name one that is there with --base IMAGE."
            )
    return found


def _pull(client: docker.DockerClient, name: str) -> str | None:
    """Pull an image; why it cannot be had in one line, None where it came."""
    import docker

    try:
        with asking(f"pull {name}"):
            for event in client.api.pull(name, stream=True, decode=True):
                if "error" in event:
                    return _short(event["error"])
                _show(event)
    except EngineError as error:
        cause = error.__context__
        return _short(str(cause.explanation) if isinstance(cause, docker.errors.APIError) else str(error))
    return None


def _show(event: dict[str, Any]) -> None:
    status = str(event.get("status", ""))
    if status.startswith(_PULL_LINES):
        print(f"  {event['id']}: {status}" if "id" in event else f"  {status}", file=sys.stderr)


def _short(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= 200 else line[:197] + "..."


def own_python(client: docker.DockerClient, base: Base, python: str) -> str | None:
    """The full version of a base image's own Python, None where it lacks that version or cannot make environments.

    Args:
        client: of the engine.
        base: the image; what it brings along runs without network and rights.
        python: wanted version, as in "3.10".
    """
    with asking(f"look for Python {python} in {base.name}"):
        container = client.containers.create(
            base.id,
            ["-I", "-c", _QUESTION],
            entrypoint=[f"python{python}"],
            user="65534:65534",
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=64,
            mem_limit="512m",
            labels=labels("probe", Path()),
        )
        try:
            return _answer(container)
        finally:
            remove(client, container.id)


def _answer(container: docker.models.containers.Container) -> str | None:
    import docker

    try:
        container.start()
    except docker.errors.APIError as error:
        # The engine's words for a program that is not there.
        if "executable file not found" in str(error.explanation) or "no such file" in str(error.explanation):
            return None
        raise
    if container.wait(timeout=_PATIENCE)["StatusCode"]:
        return None
    return str(container.logs(stdout=True, stderr=False).decode()).strip()
