"""Where published weights come from, as a card says it: one or several sources, whose files make one checkpoint folder.

    source:
      - {github: owner/name, release: v1.0, parts: [w.tar.gz.00, w.tar.gz.01], about: 4_700_000_000}
      - {repository: {misc/tokenizer.json: tokenizer.json}, size: 1_368_861, sha256: {misc/tokenizer.json: ...}}

A single source needs no list. One of its keys names its kind (`_KINDS`). Reading it touches no network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from harness.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SLUG = re.compile(r"[\w.-]+/[\w.-]+")
#: Of a file in a folder, not a path.
_NAME = re.compile(r"(?!\.\.?$)[^\s/\\:]+")
_DRIVE_ID = re.compile(r"[\w-]{10,}")


def is_safe(path: str) -> bool:
    """Whether a path from outside stays in the folder it is put into, whatever the system it was written on."""
    parts = re.split(r"[/\\]", path)
    plain = path.isprintable() and not re.match(r"[/\\]|[A-Za-z]:", path)
    return plain and ".." not in parts and PurePosixPath(path).parts != ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """What every source may say.

    Attributes:
        size: of all its files together, bytes, where it is known exactly.
        about: the same as an estimate.
        unpacked: estimate of what its archive holds, bytes.
        sha256: by file name, where the authors give it or it is known from elsewhere.
    """

    size: int | None = None
    about: int | None = None
    unpacked: int | None = None
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def targets(self) -> dict[str, str] | None:
        """Path in the checkpoint folder of each file, by its name there; None where only the network tells."""
        return None

    @property
    def names(self) -> tuple[str, ...] | None:
        """Its files, as it names them; None where only the network tells."""
        return None if self.targets is None else tuple(self.targets)

    def __post_init__(self) -> None:
        for name in ("size", "about", "unpacked"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value <= 0):
                raise ValueError(f"{name} is {value!r}, not a number of bytes")
        for name, digest in _mapping("sha256", self.sha256).items():
            if not _SHA256.fullmatch(digest):
                raise ValueError(f"the sha256 of {name} is '{digest}', not 64 hex digits")
            if self.names is not None and name not in self.names:
                raise ValueError(f"it has a sha256 of {name}, which is not among {', '.join(self.names)}")


@dataclass(frozen=True, kw_only=True)
class HubSource(Source):
    """Files of a model on the Hugging Face Hub.

    Attributes:
        hub: owner/name.
        revision: commit; None: the latest when it is first fetched, recorded then.
        files: path in the checkpoint folder by path on the Hub; None: configuration, weights and tokenizer.
    """

    hub: str
    revision: str | None = None
    files: dict[str, str] | None = None

    def __post_init__(self) -> None:
        _check(_SLUG, "hub", self.hub, "owner/name")
        if self.revision is not None:
            _check(_COMMIT, "revision", self.revision, "a commit of 40 hex digits")
        if self.files is not None:
            _check_files(self.files)
        super().__post_init__()

    @property
    def targets(self) -> dict[str, str] | None:
        return self.files


@dataclass(frozen=True, kw_only=True)
class DriveFileSource(Source):
    """One file on Google Drive, unpacked where it is an archive.

    Attributes:
        drive_file: its id.
    """

    drive_file: str

    def __post_init__(self) -> None:
        _check(_DRIVE_ID, "drive_file", self.drive_file, "the id of a Google Drive file")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class DriveFolderSource(Source):
    """All files of a folder on Google Drive.

    Attributes:
        drive_folder: its id.
    """

    drive_folder: str

    def __post_init__(self) -> None:
        _check(_DRIVE_ID, "drive_folder", self.drive_folder, "the id of a Google Drive folder")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class ReleaseSource(Source):
    """Files of a GitHub release which, joined in their order, are one file; unpacked where that is an archive.

    Attributes:
        github: owner/name.
        release: its tag.
        parts: names of the files.
    """

    github: str
    release: str
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(_SLUG, "github", self.github, "owner/name")
        _check(re.compile(r"[\w.+-]+"), "release", self.release, "a tag")
        if not isinstance(self.parts, tuple) or not self.parts:
            raise ValueError(f"parts is {self.parts!r}, not a list of names")
        for part in self.parts:
            _check(_NAME, "a part", part, "the name of a file")
        super().__post_init__()

    @property
    def targets(self) -> dict[str, str]:
        return {part: part for part in self.parts}

    @property
    def joined(self) -> str:
        """Name of the joined file: that of the first part without its number."""
        return re.sub(r"\.(part)?\d+$", "", self.parts[0]) if len(self.parts) > 1 else self.parts[0]


@dataclass(frozen=True, kw_only=True)
class RepositorySource(Source):
    """Files of the authors' repository, at the commit that the card pins.

    Attributes:
        repository: path in the checkpoint folder by path in the repository.
    """

    repository: dict[str, str]

    def __post_init__(self) -> None:
        _check_files(self.repository)
        super().__post_init__()

    @property
    def targets(self) -> dict[str, str]:
        return self.repository


@dataclass(frozen=True, kw_only=True)
class UrlSource(Source):
    """One file behind an address, unpacked where it is an archive.

    Attributes:
        url: http or https.
        name: of the file; None: as the address ends.
    """

    url: str
    name: str | None = None

    def __post_init__(self) -> None:
        _check(re.compile(r"https?://[^\s/]+/\S+"), "url", self.url, "an http or https address")
        _check(_NAME, "name" if self.name is not None else "the end of url", self.file_name, "the name of a file")
        super().__post_init__()

    @property
    def targets(self) -> dict[str, str]:
        return {self.file_name: self.file_name}

    @property
    def file_name(self) -> str:
        """The file's name in the checkpoint folder, or that of the archive."""
        return self.name or self.url.partition("?")[0].rsplit("/", 1)[-1]


_KINDS: dict[str, type[Source]] = {
    "hub": HubSource,
    "drive_file": DriveFileSource,
    "drive_folder": DriveFolderSource,
    "github": ReleaseSource,
    "repository": RepositorySource,
    "url": UrlSource,
}


def read_sources(given: Any, where: str) -> tuple[Source, ...]:
    """The sources of one checkpoint, () where its card names none.

    Args:
        given: as YAML has it: a mapping, a list of them, or None.
        where: card and checkpoint, for messages.

    Raises:
        UserError: for a kind, key or value that sources do not have.
    """
    entries = given if isinstance(given, list) else [given] if given else []
    try:
        return tuple(_read_source(entry) for entry in entries)
    except ValueError as error:
        raise UserError(f"{where}: bad source: {error}.") from None


def _read_source(entry: Any) -> Source:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{entry!r} is not a mapping")
    named = [kind for kind in _KINDS if kind in entry]
    if len(named) != 1:
        raise ValueError(f"it must name one of {', '.join(_KINDS)}; it names {', '.join(named) or 'none'}")
    kind = _KINDS[named[0]]
    known = {each.name for each in fields(kind)}
    foreign = [str(key) for key in entry if key not in known]
    if foreign:
        raise ValueError(f"{named[0]} has no key {', '.join(foreign)}; it has {', '.join(sorted(known))}")
    values: dict[str, Any] = dict(entry)
    if isinstance(values.get("files"), list):
        values["files"] = {name: name for name in values["files"]}
    if isinstance(values.get("parts"), list):
        values["parts"] = tuple(values["parts"])
    try:
        return kind(**values)
    except TypeError as error:  # a key is missing
        raise ValueError(str(error).partition("() ")[2]) from None


def _check(pattern: re.Pattern[str], key: str, value: Any, what: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key} is {value!r}, not {what}")


def _mapping(key: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise ValueError(f"{key} is {value!r}, not texts by names")
    return value


def _check_files(files: Any) -> None:
    bad = [path for pair in _mapping("files", files).items() for path in pair if not is_safe(path)]
    if bad or not files:
        raise ValueError(f"{', '.join(map(repr, bad)) or 'an empty list'} names no file inside a folder")
