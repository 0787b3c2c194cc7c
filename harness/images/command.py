"""``tdbench images``."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.devices import gpus
from harness.errors import UserError, unknown
from harness.images.base import local_base, obtain_base
from harness.images.context import tar_stream
from harness.images.image import Image, build_variant, find_variant, prepare
from harness.images.recipe import VARIANTS, image_names, read_recipe
from harness.images.wheelhouse import lacking_wheels
from harness.runtimes.engine import connect

_COLUMNS = ("image", "tag", "id", "size", "variant", "seconds")
_PLAN = ("image", "variant", "tag", "base", "packages", "to download")


def images_command(
    names: Sequence[str] = (),
    base: str | None = None,
    variant: str | None = None,
    network: bool = False,
    dry_run: bool = False,
    context: Path | None = None,
) -> int:
    """Build images that are not there yet, and print a table of them.

    Args:
        names: folders of containers/; empty for all.
        base: image to build on; None for what each Dockerfile says.
        variant: "cuda" or "cpu"; None for CUDA where this machine has a GPU.
        network: get the packages inside the build, instead of bringing their wheels from this machine.
        dry_run: only say what would be built.
        context: build nothing, write the build context of the one image as a tar file for another builder.

    Returns:
        the exit code, 0.

    Raises:
        UserError: for an unknown name, or where an image cannot be built.
    """
    names = names or image_names()
    for name in names:
        read_recipe(name)
    if variant not in (None, *VARIANTS):
        raise unknown("variant", str(variant), VARIANTS)
    chosen = variant or ("cuda" if gpus() else "cpu")
    if dry_run:
        _print_table(_PLAN, (_planned(name, chosen, base) for name in names))
    elif context:
        _write_context(names, chosen, base, network, context)
    else:
        _build(names, chosen, base, network)
    return 0


def _build(names: Sequence[str], variant: str, base: str | None, network: bool) -> None:
    client = connect()
    rows: list[list[str]] = []
    try:
        for name in names:
            start = time.monotonic()
            found = find_variant(client, name, variant, base)
            image = found or build_variant(client, name, variant, base, network)
            rows.append(_row(image, "0 (there already)" if found else f"{time.monotonic() - start:.0f}"))
    finally:
        if rows:
            _print_table(_COLUMNS, rows)


def _row(image: Image, seconds: str) -> list[str]:
    return [image.name, image.tag, image.id, f"{image.size / 1e9:.2f} GB", image.variant, seconds]


def _planned(name: str, variant: str, base: str | None) -> list[str]:
    """What building an image would mean; it goes without an engine."""
    recipe = read_recipe(name)
    packages = recipe.packages(variant)
    lacking = lacking_wheels(packages, recipe.python)
    row = [name, variant, "to be built", base or recipe.base, str(len(packages)), f"{lacking} wheels"]
    try:
        client = connect()
    except UserError as error:
        print(f"note: {error}", file=sys.stderr)
        return row
    found = find_variant(client, name, variant, base)
    if found:
        return [name, variant, found.tag, found.base, row[4], "nothing"]
    row[3] += "" if local_base(client, row[3]) else " (to be pulled)"
    return row


def _write_context(names: Sequence[str], variant: str, base: str | None, network: bool, place: Path) -> None:
    if len(names) != 1:
        raise UserError(f"--context writes one image's build context, and {len(names)} images were named.")
    client, recipe = connect(), read_recipe(names[0])
    ready = prepare(client, recipe, variant, obtain_base(client, base or recipe.base), network, sys.stderr)
    with place.open("wb") as file:
        file.writelines(tar_stream(ready.files))
    words = ["docker", "build", "--network", "host" if network else "none", "--tag", ready.tag]
    words += [word for name, value in ready.arguments.items() for word in ("--build-arg", f"{name}={value}")]
    print(f"{shlex.join(words)} - < {shlex.quote(str(place))}")


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print("\t".join(columns))
    for row in rows:
        print("\t".join(row))
