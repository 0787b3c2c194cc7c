"""What a corpus' YAML says under `corpus:`, as plain objects; a missing or unknown key is named with its file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from benchmarks.corpora.detokenize import DETOKENIZERS
from harness.errors import UserError, unknown

#: How a plain text file is cut into documents.
DOCUMENTS = {
    "line": "one a line, white space at its ends removed, empty lines left out",
    "row": "one a line with its line break, blank lines left out",
    "blank_line": "whatever stands between blank lines",
    "whole": "the whole file",
}
T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """One file of a source.

    Attributes:
        sha256: of the file; None where no source publishes one: recorded at first use, see `harness.download`.
        url: where it is; or
        hub: the dataset on the Hub, with
        revision: its commit, and
        path: of the file inside it; or
        drive: id of a public folder on Google Drive, with `path`.
    """

    sha256: str | None
    url: str = ""
    hub: str = ""
    revision: str = ""
    path: str = ""
    drive: str = ""

    @property
    def where(self) -> str:
        """The source in words."""
        if self.drive:
            return f"Google Drive folder {self.drive}, {self.path}"
        return self.url or f"{self.hub}@{self.revision[:12]}/{self.path}"


@dataclass(frozen=True)
class Split:
    """One part of a corpus.

    Attributes:
        files: the source's files, in order.
        names: file names (or patterns) that a local folder may hold instead, the best first.
        members: patterns of the members to read where a file is an archive.
        share: part of the file's bytes that belongs to the split, (from, to) in 0..1.
        last_rows: only so many rows at the end of a parquet file.
        known: sha256 of further files that hold the same text (the member of an archive, say).
    """

    files: tuple[Remote, ...]
    names: tuple[str, ...]
    members: tuple[str, ...] = ()
    share: tuple[float, float] = (0.0, 1.0)
    last_rows: int | None = None
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """How a corpus is read.

    Attributes:
        documents: one of `DOCUMENTS`, for plain text files.
        column: field of a JSON line or parquet row that holds the text, "" where there are no such files.
        detokenize: one of `DETOKENIZERS`.
        detokenized_by: whose rules these are, in words.
        joiner: what is put between documents that are joined.
        boundary: the same in words, and what the field does.
        splits: by name.
        text8_symbols: whether the text has text8's 27 symbols already.
        marks: text -> what it means when a document holds it; said in the facts.
        remarks: what the reader of a report must know of this corpus.
    """

    documents: str
    column: str
    detokenize: str
    detokenized_by: str
    joiner: str
    boundary: str
    splits: Mapping[str, Split]
    text8_symbols: bool = False
    marks: Mapping[str, str] | None = None
    remarks: tuple[str, ...] = ()


def read_corpus(data: Mapping[str, Any], name: str) -> Corpus:
    """The `corpus:` part of a benchmark's YAML.

    Raises:
        UserError: for a key that is missing or unknown, naming it and the file, or an unknown document or detokeniser
            rule.
    """
    where = f"benchmark '{name}': its YAML's 'corpus'"
    corpus = build_settings(Corpus, data, where)
    splits = {key: _split(value, f"{where}.splits.{key}") for key, value in corpus.splits.items()}
    if corpus.documents not in DOCUMENTS:
        raise unknown(f"'documents' in {where}", corpus.documents, DOCUMENTS)
    if corpus.detokenize not in DETOKENIZERS:
        raise unknown(f"'detokenize' in {where}", corpus.detokenize, DETOKENIZERS)
    return build_settings(Corpus, {**data, "splits": splits, "remarks": tuple(corpus.remarks)}, where)


def _split(data: Any, where: str) -> Split:
    split = build_settings(Split, data, where)
    files = read_remotes(split.files, f"{where}.files")
    tuples = {key: tuple(getattr(split, key)) for key in ("names", "members", "share", "known")}
    return build_settings(Split, {**data, "files": files, **tuples}, where)


def read_remotes(files: Iterable[Any], where: str) -> tuple[Remote, ...]:
    """The files of a source; raises `UserError` for one without an address."""
    remotes = tuple(build_settings(Remote, file, where) for file in files)
    for remote in remotes:
        whole = remote.url or (remote.path and (remote.drive or (remote.hub and remote.revision)))
        if not whole:
            raise UserError(f"{where}: a file needs 'url', or 'hub', 'revision' and 'path', or 'drive' and 'path'.")
    return remotes


def build_settings(kind: type[T], data: Any, where: str) -> T:
    """A dataclass from a part of a YAML; raises `UserError` for a key that is missing or unknown, naming `where`."""
    if not isinstance(data, Mapping):
        raise UserError(f"{where} is not a mapping of keys to values.")
    known = {f.name: f.default for f in fields(kind)}  # type: ignore[arg-type]
    check_keys(data, [name for name, default in known.items() if default is MISSING], known, where)
    return kind(**data)


def check_keys(data: Mapping[str, Any], needed: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `UserError` for keys that `data` lacks, or has and should not."""
    lacking = [name for name in needed if name not in data]
    if lacking:
        raise UserError(f"{where} lacks {', '.join(map(repr, lacking))}.")
    for key in data:
        if key not in known:
            raise unknown(f"key in {where}", str(key), known)
