"""Documents from files: plain text, JSON lines, parquet, and members of archives, told apart by the file's name.

Every reader gives documents one by one, so that a large source is read no further than needed.
"""

from __future__ import annotations

import fnmatch
import gzip
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks.corpora.files import is_archive
from benchmarks.corpora.settings import Corpus, Split
from benchmarks.texts import decode, read_bytes
from harness.errors import MissingPackage, UserError


def documents(path: Path, corpus: Corpus, split: Split) -> Iterator[str]:
    """The documents of one file that belong to a split, as they stand there.

    Raises:
        UserError: for a file that is missing, unreadable, damaged, not UTF-8 or empty, a broken JSON line or one
            without the text (with its number), a parquet file without the column, an archive without the members.
    """
    if path.name.endswith(".parquet"):
        yield from _parquet(path, corpus.column, split.last_rows)
        return
    for name, raw in contents(path, split.members):
        where = f"{path}" if name == path.name else f"{path}: {name}"
        if name.endswith((".jsonl", ".json")):
            yield from _json_lines(raw, corpus.column, where)
        else:
            yield from _cut(decode(part(raw, split.share), where), corpus.documents)


def part(raw: bytes, share: Sequence[float]) -> bytes:
    """The share of some bytes, both ends moved forward to where a UTF-8 character begins."""
    ends = [int(len(raw) * at) for at in share]
    for i, end in enumerate(ends):
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end += 1
        ends[i] = end
    return raw[ends[0] : ends[1]]


def _cut(text: str, rule: str) -> Iterator[str]:
    if rule == "whole":
        yield text
        return
    text = text.replace("\r\n", "\n")
    if rule == "blank_line":
        yield from (piece for piece in re.split(r"\n[^\S\n]*\n", text) if piece.strip())
    else:
        lines = (line for line in text.split("\n") if line.strip())
        yield from (line.strip() for line in lines) if rule == "line" else (line + "\n" for line in lines)


def contents(path: Path, members: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of a plain or compressed file, or of the wanted members of an archive.

    Raises:
        UserError: for a file that is missing or damaged, and an archive without such members.
    """
    try:
        if path.name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                wanted = _wanted([i.filename for i in archive.infolist() if not i.is_dir()], members, path)
                yield from ((name, archive.read(name)) for name in wanted)
        elif is_archive(path):
            with tarfile.open(path) as tar:
                found = {member.name: member for member in tar.getmembers() if member.isfile()}
                yield from ((name, _read(tar.extractfile(found[name]))) for name in _wanted(list(found), members, path))
        elif path.name.endswith(".gz"):
            yield path.name.removesuffix(".gz"), gzip.decompress(read_bytes(path, "benchmark.path"))
        else:
            yield path.name, read_bytes(path, "benchmark.path")
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        why = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path} is damaged or no archive ({type(error).__name__}: {why}).") from None


def _read(stream: IO[bytes] | None) -> bytes:
    return stream.read() if stream else b""


def _wanted(names: Sequence[str], patterns: Sequence[str], path: Path) -> list[str]:
    """Members that the patterns name, in alphabetical order."""
    found = sorted(name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns))
    if not found:
        raise UserError(f"{path} has no member {' or '.join(patterns) or '(none is named in the YAML)'}.")
    return found


def json_objects(raw: bytes, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and fields of each JSON line, blank lines passed over. Raises `UserError` for a line that is broken."""
    for number, line in enumerate(decode(raw, where).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record: Any = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}, line {number} is no JSON: {error}.") from None
        yield number, record if isinstance(record, dict) else {}


def text_field(record: dict[str, Any], column: str, where: str) -> str:
    """The text in a field of a JSON line; raises `UserError` where there is none."""
    if column not in record:
        raise UserError(f"{where} has no field '{column}'.")
    if not isinstance(record[column], str):
        raise UserError(f"{where}: '{column}' is no text but {type(record[column]).__name__}.")
    return str(record[column])


def _json_lines(raw: bytes, column: str, where: str) -> Iterator[str]:
    for number, record in json_objects(raw, where):
        yield text_field(record, column, f"{where}, line {number}")


def _parquet(path: Path, column: str, last_rows: int | None) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingPackage("pyarrow", f"reading {path.name}") from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
        if column not in file.schema_arrow.names:
            raise UserError(f"{path} has no column '{column}', only {', '.join(file.schema_arrow.names)}.")
        skip = max(0, file.metadata.num_rows - last_rows) if last_rows else 0
        row = 0
        for batch in file.iter_batches(batch_size=1024, columns=[column]):
            for text in batch.column(0).to_pylist():
                row += 1
                if row <= skip:
                    continue
                if not isinstance(text, str):
                    raise UserError(f"{path}, row {row}: '{column}' is no text but {type(text).__name__}.")
                yield text
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is no parquet file, or a damaged one ({str(error).splitlines()[0]}).") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
