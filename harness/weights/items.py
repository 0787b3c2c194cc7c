"""What is to be fetched for a checkpoint: its sources in words, and each file as an item. Touches no network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from adapters.cards import Card, CheckpointCard
from adapters.sources import (
    DriveFileSource,
    DriveFolderSource,
    HubSource,
    ReleaseSource,
    RepositorySource,
    Source,
    UrlSource,
)
from benchmarks.base import TOKENIZER_FILE
from harness.download import recorded
from harness.errors import UserError
from harness.upstream import SHORT, without_password

GITHUB = "https://github.com"
#: Serves single files of repositories.
RAW = "https://raw.githubusercontent.com"
#: Tokenizers that cards name as the Hub does, pinned. A container has no network to get them from.
_TOKENIZERS = {
    "gpt2": HubSource(
        hub="openai-community/gpt2",
        revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
        files={TOKENIZER_FILE: TOKENIZER_FILE},
        size=1_355_256,
        sha256={TOKENIZER_FILE: "8414cab924d8b9b33013f0d221c5862f365ee9be39c5c2bfae8a5a9e970478a6"},
    )
}
#: Tokenizers that are no file of the Hub's.
_OWN_TOKENIZERS = ("text8", "folder")


class Remote(Protocol):
    """A file elsewhere."""

    def size(self) -> int | None:
        """Bytes, None where that is not known before it comes."""

    def download(self, target: Path, size: int | None = None, has_digest: bool = False) -> None:
        """See `harness.weights.ranged.Address.download`."""


@dataclass(frozen=True)
class Item:
    """One file to get.

    Attributes:
        name: as its source names it.
        target: path in the checkpoint folder.
        origin: source, revision and name: for messages, and what its sha256 is recorded for.
        remote: where it is.
        size: bytes, None where that is not known.
        sha256: what it must have, None where nobody says.
        rule: who says so.
        revision: commit, release or the like, None where its source has none.
        archive: whether it is unpacked where its name is that of an archive.
        joined: name of the file that it is a part of, None where it is whole.
    """

    name: str
    target: str
    origin: str
    remote: Remote
    size: int | None = None
    sha256: str | None = None
    rule: str = "published"
    revision: str | None = None
    archive: bool = False
    joined: str | None = None

    def local(self, folder: Path) -> Path:
        """Its place among the downloads of a checkpoint: one of its own for each origin."""
        return folder / hashlib.sha256(self.origin.encode()).hexdigest()[:12] / Path(self.name).name


def sources_of(card: Card, entry: CheckpointCard) -> tuple[Source, ...]:
    """The sources of a published checkpoint, with that of its tokenizer where the card names one of the Hub's.

    Raises:
        UserError: where there is nothing to fetch.
    """
    what = f"{card.name}:{entry.name}"
    if entry.kind == "none":
        raise UserError(f"{card.name} is a control and has no weights to fetch.")
    if entry.kind == "tiny":
        raise UserError(f"{what} ships with the project: there is nothing to fetch.")
    if not entry.source:
        raise UserError(
            f"the card of {card.name} names no source for '{entry.name}': get its files from the authors, and give "
            "their folder: checkpoint=FOLDER."
        )
    targets = {target for source in entry.source for target in (source.targets or {}).values()}
    if entry.tokenizer in _OWN_TOKENIZERS or TOKENIZER_FILE in targets:
        return entry.source
    tokenizer = _TOKENIZERS.get(entry.tokenizer) or HubSource(
        hub=entry.tokenizer, files={TOKENIZER_FILE: TOKENIZER_FILE}
    )
    return (*entry.source, tokenizer)


def describe(source: Source, card: Card) -> str:
    """A source in a few words, the same for the same files."""
    match source:
        case HubSource():
            return f"hub {source.hub}" + (f"@{source.revision[:SHORT]}" if source.revision else "")
        case DriveFileSource():
            return f"drive file {source.drive_file}"
        case DriveFolderSource():
            return f"drive folder {source.drive_folder}"
        case ReleaseSource():
            return f"github {source.github}@{source.release}"
        case RepositorySource():
            return f"github {_repository(card)}@{_commit(card)[:SHORT]}"
        case UrlSource():
            return f"url {without_password(source.url)}"
    raise TypeError(type(source).__name__)


def files_text(source: Source) -> str:
    """The files of a source in a few words."""
    if source.names is not None:
        return ",".join(source.names)
    match source:
        case HubSource():
            return "config,weights,tokenizer"
        case DriveFolderSource():
            return "all in it"
    return "one file"


def pages(source: Source, card: Card) -> list[tuple[str, str]]:
    """File and address of each thing that a person would fetch in a browser."""
    match source:
        case HubSource():
            base, revision = f"https://huggingface.co/{source.hub}", hub_commit(source) or "main"
            if source.files is None:
                return [(files_text(source), f"{base}/tree/{revision}")]
            return [(name, f"{base}/resolve/{revision}/{name}") for name in source.files]
        case DriveFileSource():
            return [("the file, with its name there", file_page(source.drive_file))]
        case DriveFolderSource():
            return [("all its files, or the zip that Drive makes", folder_page(source.drive_folder))]
    return [(file.name, without_password(file.url)) for file in web_files(source, card)]


# --- the Hub and Drive ----------------------------------------------------------------------------------------------


def hub_commit(source: HubSource) -> str | None:
    """The commit that a source is fetched at: pinned by the card, or recorded when it was first met; None before."""
    return source.revision or recorded(source.hub, "commit")


def hub_origin(source: HubSource, commit: str | None, name: str) -> str:
    """Origin of a file on the Hub."""
    return f"{source.hub}@{commit[:SHORT] if commit else 'unknown'}/{name}"


def lifted(paths: Iterable[str]) -> dict[str, str]:
    """Path in the checkpoint folder of each file of a folder: where all lie in one single folder below, inside that."""
    parts = {path: path.split("/") for path in paths}
    while len({part[0] for part in parts.values()}) == 1 and all(len(part) > 1 for part in parts.values()):
        parts = {path: part[1:] for path, part in parts.items()}
    return {path: "/".join(part) for path, part in parts.items()}


def file_page(drive_id: str) -> str:
    """The page of a file on Google Drive."""
    return f"https://drive.google.com/file/d/{drive_id}/view"


def folder_page(drive_id: str) -> str:
    """The page of a folder on Google Drive."""
    return f"https://drive.google.com/drive/folders/{drive_id}"


# --- plain addresses ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WebFile:
    """A file with an address of its own; see `Item` for the rest."""

    name: str
    target: str
    url: str
    origin: str
    revision: str | None = None


def web_files(source: Source, card: Card) -> list[WebFile]:
    """The files of a release, a repository or a plain address."""
    match source:
        case ReleaseSource():
            tag = source.release
            base, origin = f"{GITHUB}/{source.github}/releases/download/{tag}", f"{source.github}@{tag}"
            return [WebFile(part, part, f"{base}/{part}", f"{origin}/{part}", tag) for part in source.parts]
        case RepositorySource():
            repository, commit = _repository(card), _commit(card)
            base, origin = f"{RAW}/{repository}/{commit}", f"{repository}@{commit[:SHORT]}"
            return [
                WebFile(name, target, f"{base}/{name}", f"{origin}/{name}", commit)
                for name, target in source.repository.items()
            ]
        case UrlSource():
            return [WebFile(source.file_name, source.file_name, source.url, without_password(source.url))]
    raise TypeError(type(source).__name__)


def web_item(source: Source, file: WebFile, remote: Remote) -> Item:
    """A file with an address, taken from there or from a copy."""
    return Item(
        name=file.name,
        target=file.target,
        origin=file.origin,
        remote=remote,
        size=source.size if source.names == (file.name,) else None,
        sha256=source.sha256.get(file.name),
        revision=file.revision,
        archive=not isinstance(source, RepositorySource),
        joined=source.joined if isinstance(source, ReleaseSource) else None,
    )


def _repository(card: Card) -> str:
    """OWNER/NAME of the authors' repository, as its host spells it."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", str(card.upstream.repo))
    if found is None or not card.upstream.commit:
        raise UserError(
            f"the card of {card.name} takes files from its repository, and pins no commit of one on GitHub."
        )
    return found[1]


def _commit(card: Card) -> str:
    return str(card.upstream.commit)
