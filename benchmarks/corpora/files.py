"""The files of a split: the user's own, or the source's, fetched one by one as they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.base import SourceRequest
from benchmarks.corpora.settings import Corpus, Remote, Split, read_corpus
from harness.download import fetch_drive, fetch_hub, fetch_url, sha256_of
from harness.errors import UserError

ARCHIVES = (".zip", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Found:
    """A file ready to be read.

    Attributes:
        path: where it lies.
        sha256: of it.
        source: where it came from, in words.
        pinned: whether its sha256 is one that the YAML names; None where the YAML names none.
    """

    path: Path
    sha256: str
    source: str
    pinned: bool | None

    def fact(self) -> dict[str, Any]:
        """What benchmark.json says of it."""
        return {"file": self.path.name, "source": self.source, "sha256": self.sha256, "pinned": self.pinned}


def is_archive(path: Path) -> bool:
    """Whether a file holds other files."""
    return path.name.endswith(ARCHIVES)


def local_files(split: Split, path: Path) -> list[Path]:
    """The user's files of a split: the file itself, or what the folder has under the best of the known names."""
    if not path.is_dir():
        return [path]
    matches = (sorted(file for file in path.glob(pattern) if file.is_file()) for pattern in split.names)
    return next((found for found in matches if found), [])


def local_inputs(request: SourceRequest) -> list[Path]:
    """The user's files that the data of a corpus depend on."""
    if request.path is None:
        return []
    splits = read_corpus(request.corpus, request.name).splits.values()
    return sorted({file for split in splits for file in local_files(split, request.path)})


def split_names(corpus: Corpus, path: Path | None, evaluated: str) -> list[str]:
    """Splits that there are files for, in the YAML's order.

    Args:
        corpus: what is read.
        path: the user's file or folder, or None for the source.
        evaluated: the split a single file is taken for where it does not hold them all.

    Raises:
        UserError: where there is no such file or folder.
    """
    if path is None:
        return list(corpus.splits)
    if not path.exists():
        raise UserError(f"benchmark.path={path}: there is no such file or folder.")
    if path.is_dir():
        return [name for name, split in corpus.splits.items() if local_files(split, path)]
    archive = is_archive(path)
    shared = [n for n, split in corpus.splits.items() if (archive and split.members) or split.share != (0.0, 1.0)]
    return shared if evaluated in shared else [evaluated]


def find_files(corpus: Corpus, name: str, path: Path | None) -> Iterator[Found]:
    """The files of a split; a source's next file is fetched when it is asked for.

    Raises:
        UserError: where a file can be had neither from the user nor from the cache nor from its source.
    """
    split = corpus.splits[name]
    if path is not None:
        pins = {*split.known, *(file.sha256 for file in split.files if file.sha256)}
        for file in local_files(split, path):
            digest = sha256_of(file)
            yield Found(file, digest, "benchmark.path", digest in pins if pins else None)
        return
    for remote in split.files:
        yield fetch(remote, split.names)


def not_pinned(files: Iterable[Found]) -> list[str]:
    """A remark where files are others than those that the benchmark pins."""
    names = dict.fromkeys(file.path.name for file in files if file.pinned is False)
    return [f"{', '.join(names)}: not the files that the benchmark pins by sha256"] if names else []


def fetch(remote: Remote, names: Iterable[str]) -> Found:
    """A file of a source; `names` are those that a local copy may have. Raises `UserError` where it cannot be had."""
    try:
        if remote.url:
            path, digest = fetch_url(remote.url, remote.sha256)
        elif remote.drive:
            path, digest = fetch_drive(remote.drive, remote.path, remote.sha256)
        else:
            path, digest = fetch_hub(remote.hub, remote.revision, remote.path, remote.sha256)
    except UserError as error:
        known = ", ".join(names)
        raise UserError(f"{error} A local copy is read with benchmark.path=FILE_OR_FOLDER (names: {known}).") from None
    return Found(path, digest, remote.where, True if remote.sha256 else None)
