"""Images that are built, and building those that are not."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from harness.download import cache_folder, fetch_url
from harness.errors import UserError
from harness.images.base import Base, local_base, obtain_base, own_python
from harness.images.build import build
from harness.images.context import Context, context
from harness.images.recipe import Recipe, content_digest, digest_of, read_recipe
from harness.images.wheelhouse import collect
from harness.runtimes.engine import asking

if TYPE_CHECKING:
    import docker

#: Of the labels of our images, and of their tags.
PREFIX = "tdbench"
_DIGITS = 12
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        name: folder in containers/.
        tag: "tdbench/NAME:HASH", unless somebody gave it another.
        id: "sha256:...".
        digest: its name in a registry with digest, None where it has none.
        variant: "cuda" or "cpu".
        base: name of the image it is built on.
        size: bytes.
        python: full version.
    """

    name: str
    tag: str
    id: str
    digest: str | None
    variant: str
    base: str
    size: int
    python: str


@dataclass(frozen=True)
class Ready:
    """All that a build needs.

    Attributes:
        files: the build context.
        arguments: build arguments.
        tag: with a hash of everything that goes in.
    """

    files: Context
    arguments: dict[str, str]
    tag: str


def variant_for(device: str) -> str:
    """The variant that is built for a device."""
    return "cpu" if device == "cpu" else "cuda"


def find_image(client: docker.DockerClient, name: str, device: str, base: str | None = None) -> Image | None:
    """The newest built image of what is in containers/ now that serves a device; None where there is none.

    Args:
        client: of the engine.
        name: folder in containers/.
        device: "cpu", which every variant serves, or "cuda", which takes a CUDA image.
        base: only one built on this image; None for any.

    Raises:
        UserError: for an unknown name, or where the engine does not answer.
    """
    variants = ("cuda", "cpu") if device == "cpu" else ("cuda",)
    return _newest(client, name, variants, base)


def find_variant(client: docker.DockerClient, name: str, variant: str, base: str | None = None) -> Image | None:
    """As `find_image`, for one variant."""
    return _newest(client, name, (variant,), base)


def _newest(client: docker.DockerClient, name: str, variants: tuple[str, ...], base: str | None) -> Image | None:
    wanted = [f"{PREFIX}.image={name}", f"{PREFIX}.content={content_digest(name)}"]
    if base:
        there = local_base(client, base)
        if there is None:
            return None
        wanted.append(f"{PREFIX}.base-id={there.id}")
    with asking("list images"):
        entries = client.api.images(filters={"label": wanted, "dangling": False})
    serving = [entry for entry in entries if entry["Labels"].get(f"{PREFIX}.variant") in variants]
    return _image(max(serving, key=lambda entry: entry["Created"])) if serving else None


def _image(entry: dict[str, Any]) -> Image:
    """An image from the engine's list."""
    label = {key.removeprefix(f"{PREFIX}."): value for key, value in entry["Labels"].items()}
    tags = sorted(entry["RepoTags"] or [], key=lambda tag: not tag.startswith(f"{PREFIX}/"))
    digests = [digest for digest in entry.get("RepoDigests") or [] if "<none>" not in digest]
    return Image(
        name=label["image"],
        tag=tags[0],
        id=entry["Id"],
        digest=digests[0] if digests else None,
        variant=label["variant"],
        base=label["base"],
        size=entry["Size"],
        python=label["python"],
    )


def ensure_image(
    client: docker.DockerClient,
    name: str,
    device: str,
    base: str | None = None,
    network: bool = False,
) -> Image:
    """The image that serves a device, built where there is none; progress goes to standard error.

    Args:
        client: of the engine.
        name: folder in containers/.
        device: "cpu" or "cuda".
        base: image to build on; None for the Dockerfile's own.
        network: get the packages inside the build, instead of bringing their wheels from this machine.

    Raises:
        UserError: where it cannot be built: one line that says why.
    """
    found = find_image(client, name, device, base)
    if found:
        return found
    return build_variant(client, name, variant_for(device), base, network)


def build_variant(
    client: docker.DockerClient, name: str, variant: str, base: str | None = None, network: bool = False
) -> Image:
    """Build a variant of an image, unless another process has done so meanwhile. See `ensure_image`."""
    recipe = read_recipe(name)
    with _log(name) as log:
        chosen = obtain_base(client, base or recipe.base)
        found = find_variant(client, name, variant, chosen.name)
        if found:
            return found
        log.truncate(0)  # of the build before
        print(f"image {name}: building its {variant} variant on {chosen.name}", file=sys.stderr)
        ready = prepare(client, recipe, variant, chosen, network, log)
        build(client, ready.files, ready.tag, ready.arguments, network, log)
        found = find_variant(client, name, variant, chosen.name)
        if found is None:
            raise UserError(f"{ready.tag} was built and is gone, or containers/{name} changed meanwhile: try again.")
        return found


def prepare(client: docker.DockerClient, recipe: Recipe, variant: str, base: Base, network: bool, log: TextIO) -> Ready:
    """Bring together what a build needs: wheels, a Python where the base image has none.

    Args:
        client: of the engine.
        recipe: the image's sources.
        variant: "cuda" or "cpu".
        base: image to build on.
        network: get no wheels here.
        log: gets what pip complains of.

    Raises:
        UserError: where something cannot be had.
    """
    own = own_python(client, base, recipe.python)
    archive = None if own else _fetch_python(recipe)
    wheels = None if network else collect(recipe.packages(variant), recipe.python, log)
    python = own or recipe.archive.version
    digest = digest_of(
        recipe.digest, base.id, variant, python, own is None, wheels and [wheel.exactly.line for wheel in wheels]
    )
    labels = {
        "image": recipe.name,
        "content": recipe.digest,
        "variant": variant,
        "base": base.name,
        "base-id": base.id,
        "python": python,
    }
    arguments = {"BASE": base.name, "PYTHON": recipe.python}
    if network:
        arguments |= {name: os.environ[name] for name in _PROXIES if name in os.environ}
    return Ready(
        context(recipe, variant, archive, wheels, {f"{PREFIX}.{name}": value for name, value in labels.items()}),
        arguments,
        f"{PREFIX}/{recipe.name}:{digest[:_DIGITS]}",
    )


def _fetch_python(recipe: Recipe) -> Path:
    try:
        return fetch_url(recipe.archive.url, recipe.archive.sha256)[0]
    except UserError as error:
        raise UserError(
            f"{error} A base image with a Python {recipe.python} of its own needs no download: --base IMAGE."
        ) from None


@contextmanager
def _log(name: str) -> Iterator[TextIO]:
    """The log of an image's build, held while it is built: two processes do not build the same."""
    folder = cache_folder() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.log", "a+", encoding="utf-8") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"image {name}: another process builds it, waiting for that", file=sys.stderr)
            fcntl.flock(log, fcntl.LOCK_EX)
        yield log
