"""Fetching a published checkpoint: list its files, ask for room, download, verify, unpack, give it its place."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from adapters.cards import Card, CheckpointCard
from adapters.sources import DriveFileSource, DriveFolderSource, HubSource, Source
from harness.download import lock_file, record, recorded, sha256_of
from harness.errors import UserError
from harness.upstream import without_password
from harness.weights.archives import BadArchive, is_archive, unpack
from harness.weights.byhand import explain, given_items
from harness.weights.items import Item, describe, sources_of, web_files, web_item
from harness.weights.place import (
    MANIFEST,
    FileFacts,
    Manifest,
    held,
    manifest_here,
    names_text,
    place_of,
    sizes_below,
    working_folder,
)
from harness.weights.ranged import Address, Unreachable
from harness.weights.space import check_space, readable, writing

#: In the working folder: what came, what becomes the checkpoint, an archive's content, what was there before.
_DOWNLOADS, _CONTENT, _UNPACKED, _OLD = "downloads", "content", "unpacked", "old"


def fetch_weights(card: Card, entry: CheckpointCard, offline: bool = False, given: Path | None = None) -> Path:
    """Get a published checkpoint, unless it is there and undamaged.

    Args:
        card: its model.
        entry: the checkpoint.
        offline: touch no network; so does HF_HUB_OFFLINE=1.
        given: a folder with files placed by hand, which are taken instead of downloads.

    Returns:
        Its folder: every file whole and verified.

    Raises:
        UserError: in one line, why it cannot be had and what to do.
    """
    what = f"{card.name}:{entry.name}"
    sources = sources_of(card, entry)
    texts = tuple(describe(source, card) for source in sources)
    place = place_of(card, entry.name)
    with held(place, what):
        if _is_good(place, texts):
            return place
        if given is not None:
            listed = given_items(card, entry, sources, texts, given)
        elif offline or _told_offline():
            print(explain(card, entry, sources, place), file=sys.stderr)
            why = "offline" if offline else "with HF_HUB_OFFLINE set"
            raise UserError(f"{what} is not on this machine, and {why} nothing is downloaded: see above.")
        else:
            with _online(what):
                listed = _listed(sources, card)
        work = working_folder(place)
        with writing(work):
            _prepare(work, keep=given is None)
            files = _gather(listed, work, what)
            Manifest(card.name, entry.name, texts, files).write(work / _CONTENT)
            _give_place(work, place)
    return place


def _told_offline() -> bool:
    from huggingface_hub import constants

    told: bool = constants.HF_HUB_OFFLINE
    return told


def _is_good(place: Path, sources: tuple[str, ...]) -> bool:
    """Whether a checkpoint is there, every byte of it as it came."""
    manifest = manifest_here(place, sources)
    if manifest:
        print(f"verify: {place}", file=sys.stderr)
    damaged = manifest.damaged(place) if manifest else []
    if damaged:
        print(f"damaged since it was fetched: {names_text(damaged)} in {place}", file=sys.stderr)
    return manifest is not None and not damaged


@contextmanager
def _online(what: str) -> Iterator[None]:
    """Something that needs the network; where that fails it is said how to do without."""
    try:
        yield
    except Unreachable as error:
        raise Unreachable(f"{error} By hand: tdbench fetch {what} --offline says how.") from None


def _listed(sources: Sequence[Source], card: Card) -> list[tuple[Source, list[Item]]]:
    """The files of each source; one that a source names is left out of another's whose names come from the network."""
    named = {target for source in sources for target in (source.targets or {}).values()}
    return [
        (source, [item for item in _files(source, card) if source.targets is not None or item.target not in named])
        for source in sources
    ]


def _files(source: Source, card: Card) -> list[Item]:
    if isinstance(source, HubSource):
        from harness.weights.hub import hub_items

        return hub_items(source)
    if isinstance(source, DriveFileSource | DriveFolderSource):
        from harness.weights.drive import drive_items

        return drive_items(source)
    return [web_item(source, file, Address(file.url, without_password(file.url))) for file in web_files(source, card)]


# --- downloads ------------------------------------------------------------------------------------------------------


def _prepare(work: Path, keep: bool) -> None:
    """The working folder; with `keep` what an earlier fetch downloaded stays in it."""
    for name in (_CONTENT, _UNPACKED, _OLD) + (() if keep else (_DOWNLOADS,)):
        shutil.rmtree(work / name, ignore_errors=True)
    (work / _CONTENT).mkdir(parents=True)
    (work / _DOWNLOADS).mkdir(exist_ok=True)


def _gather(listed: Sequence[tuple[Source, list[Item]]], work: Path, what: str) -> dict[str, FileFacts]:
    """Download, verify and lay out all files. Returns what the manifest says of each."""
    _check_room(listed, work, what)
    items = [item for _, listed_items in listed for item in listed_items]
    digests = {item.origin: _fetched(item, work / _DOWNLOADS, what) for item in items}
    files: dict[str, FileFacts] = {}
    for whole, group in groupby(items, key=lambda item: item.joined or item.origin):
        _lay_out(list(group), whole, digests, work, files)
    if not files:
        raise UserError(f"the sources of {what} hold no files.")
    for item in items:  # only now, since a truncated archive shows when it is unpacked
        if item.sha256 is None and recorded(item.origin) is None:
            record(item.origin, digests[item.origin])
    return files


def _check_room(listed: Sequence[tuple[Source, list[Item]]], work: Path, what: str) -> None:
    """Ask for room for what is still to come, and for what its archives hold."""
    need, about = -sizes_below(work / _DOWNLOADS), False
    for source, items in listed:
        sizes = [item.size if item.size is not None else item.remote.size() for item in items]
        known = None if None in sizes else sum(size or 0 for size in sizes)
        download = known if known is not None else source.size or source.about
        if download is None:
            print(f"size unknown: {names_text([item.origin for item in items])}", file=sys.stderr)
            continue
        packed = any(item.archive and is_archive(item.joined or item.name) for item in items)
        need += download + ((source.unpacked or download) if packed else 0)
        about |= known is None or packed
    check_space(work, max(0, need), what, about)


def _fetched(item: Item, downloads: Path, what: str) -> str:
    """Download one file, where it is not there from an earlier try, and verify it. Returns its sha256."""
    path = item.local(downloads)
    known = item.sha256 or recorded(item.origin)
    if not path.is_file():
        if not sys.stderr.isatty():
            size = f" ({readable(item.size)})" if item.size else ""
            print(f"download: {item.origin}{size}", file=sys.stderr)
        with _online(what):
            item.remote.download(path, item.size, known is not None)
    found = sha256_of(path)
    if known is not None and found != known:
        path.unlink()
        raise _differs(item, found, known)
    return found


def _differs(item: Item, found: str, known: str) -> UserError:
    """The message for a file with another content than it must have."""
    if item.sha256:
        return UserError(
            f"{item.origin} has the sha256 {found}, and {known} is wanted ({item.rule}): it was changed, or damaged on "
            "its way. It was not kept; try again, and do not use it if that stays so."
        )
    return UserError(
        f"{item.origin} has the sha256 {found}, and had {known} when it first came: its authors replaced it, or it was "
        f"damaged on its way. It was not kept. To take the new one delete {lock_file(item.origin)}."
    )


# --- layout ---------------------------------------------------------------------------------------------------------


def _lay_out(items: list[Item], whole: str, digests: dict[str, str], work: Path, files: dict[str, FileFacts]) -> None:
    """Put one file into the content folder: as it came, joined of several, or what it holds where it is an archive.

    Args:
        items: the file, or its parts in order.
        whole: name of the joined file.
        digests: sha256 by origin.
        work: working folder.
        files: what the manifest says, added to.
    """
    first = items[0]
    name, origin = first.name, first.origin
    if first.joined:
        name, origin = whole, f"{origin.rpartition('/')[0]}/{whole}"
    pieces = [item.local(work / _DOWNLOADS) for item in items]
    if first.archive and is_archive(name):
        root = _unpacked(pieces, name, work / _UNPACKED)
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            inner = path.relative_to(root).as_posix()
            _place(path, inner, work, files, _facts(path, first, f"{origin}: {inner}"))
        shutil.rmtree(work / _UNPACKED)
    elif first.joined:
        _join(pieces, work / _UNPACKED)
        _place(work / _UNPACKED, name, work, files, _facts(work / _UNPACKED, first, origin))
    else:
        _place(pieces[0], first.target, work, files, _facts(pieces[0], first, origin, digests[origin]))


def _unpacked(pieces: Sequence[Path], name: str, folder: Path) -> Path:
    """Unpack; what is refused is not kept, so that the next fetch gets it anew."""
    print(f"unpack: {name}", file=sys.stderr)
    try:
        return unpack(pieces, name, folder)
    except BadArchive:
        for piece in pieces:
            piece.unlink()
        raise


def _facts(path: Path, item: Item, origin: str, digest: str | None = None) -> FileFacts:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return FileFacts(path.stat().st_size, digest or sha256_of(path), origin, item.revision, now)


def _join(pieces: Sequence[Path], whole: Path) -> None:
    with open(whole, "wb") as target:
        for piece in pieces:
            with open(piece, "rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
        os.fsync(target.fileno())


def _place(path: Path, target: str, work: Path, files: dict[str, FileFacts], facts: FileFacts) -> None:
    """Move one file to its target in the content folder."""
    place = work / _CONTENT / target
    if target in files or target == MANIFEST or place.exists():
        raise UserError(
            f"'{target}' comes twice: from {files[target].source if target in files else 'us'} and {facts.source}."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    path.rename(place)
    place.chmod(0o644)  # gdown's own mode would keep a container's user out
    files[target] = facts


def _give_place(work: Path, place: Path) -> None:
    """Swap the finished folder in; what was there before goes only then."""
    if place.exists():
        place.rename(work / _OLD)
    (work / _CONTENT).rename(place)
    with suppress(OSError):  # what is left is found again and removed by the next fetch
        shutil.rmtree(work)
