"""Reads files of generations in the formats that teams exchange. Whatever is wrong is said with file and line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError

#: Names of files of each format inside a folder, ".gz" aside.
ENDINGS = {"diffuseq": (".json", ".jsonl"), "jsonl": (".json", ".jsonl"), "text": (".txt", ".out")}
SEED = re.compile(r"seed[-_=]?(\d+)", re.IGNORECASE)
#: Cut out by DiffuSeq's evaluation (scripts/eval_seq2seq.py) from the written text, and from source and true text.
_WRITTEN_MARKS, _GIVEN_MARKS = ("[SEP]", "[CLS]", "[PAD]"), ("[SEP]", "[CLS]")


@dataclass(frozen=True)
class Sample:
    """One line: the written text, what it was written from and its true texts, as far as the line holds them."""

    text: str
    source: str | None = None
    references: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Generations:
    """One file: the texts of one seed.

    Attributes:
        path: the file.
        samples: at least one; all with a source or none, all with true texts or none.
    """

    path: Path
    samples: list[Sample]

    @property
    def sources(self) -> list[str] | None:
        found = [sample.source for sample in self.samples if sample.source is not None]
        return found or None

    @property
    def references(self) -> list[tuple[str, ...]] | None:
        found = [sample.references for sample in self.samples if sample.references is not None]
        return found or None


def expand(paths: Sequence[Path], form: str) -> tuple[list[Path], list[Path]]:
    """The files that are meant, and those of a folder that are not.

    In a folder, files of the format's endings are meant; where names say a seed, only those that do.

    Raises:
        UserError: for a path that is not there, or a folder without such files.
    """
    meant: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if not path.is_dir():
            meant.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        found = [p for p in inside if p.name.removesuffix(".gz").endswith(ENDINGS[form])]
        found = [p for p in found if SEED.search(p.name)] or found
        if not found:
            wanted = " or ".join(ENDINGS[form])
            raise UserError(f"{path} holds no file that ends in {wanted} (.gz too): name the files.")
        meant += found
        others += [p for p in inside if p not in found]
    return meant, others


def seeds_of(paths: Sequence[Path], given: Sequence[int]) -> list[int]:
    """A seed for each file: those given, else what every name says ("seed10..."), else 0, 1, 2, ...

    Raises:
        UserError: for another number of seeds than files, or a seed twice.
    """
    said = [SEED.search(path.name) for path in paths]
    seeds = list(given) or [int(match[1]) for match in said if match]
    if not given and len(seeds) < len(paths):
        seeds = list(range(len(paths)))
    if len(seeds) != len(paths):
        raise UserError(f"{len(seeds)} seeds for {len(paths)} files: give one seed a file with --seed.")
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise UserError(f"seed {twice[0]} stands for two files: give one seed a file with --seed.")
    return seeds


def read_generations(path: Path, form: str) -> Generations:
    """The texts of a file.

    Raises:
        UserError: for a file that is missing, empty, not UTF-8, or has a line that is not of the format.
    """
    parse = _PARSERS[form]
    samples = [parse(line, f"{path}, line {number}") for number, line in _lines(path)]
    if not samples:
        raise UserError(f"{path} is empty.")
    for name in ("source", "references"):
        having = [getattr(sample, name) is not None for sample in samples]
        if any(having) and not all(having):
            raise UserError(f"{path}, line {having.index(False) + 1}: no {name}, though other lines have them.")
    return Generations(path, samples)


def read_texts(path: Path, what: str) -> list[str]:
    """A text a line, none of them empty. Raises `UserError` as `read_generations`; `what` names the texts."""
    texts = []
    for number, line in _lines(path):
        texts.append(_not_empty(line.strip(), f"{path}, line {number}", what))
    if not texts:
        raise UserError(f"{path} is empty.")
    return texts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, _decoded(line, number, path).rstrip("\r\n")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _decoded(line: bytes, number: int, path: Path) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}, line {number}: this is no UTF-8 text.") from None


def _diffuseq(line: str, where: str) -> Sample:
    record = _record(line, where, ("recover", "reference", "source"))
    source = _not_empty(_without(_word(record, "source", where), _GIVEN_MARKS), where, "source")
    reference = _not_empty(_without(_word(record, "reference", where), _GIVEN_MARKS), where, "reference")
    return Sample(_without(_word(record, "recover", where), _WRITTEN_MARKS), source, (reference,))


def _jsonl(line: str, where: str) -> Sample:
    record = _record(line, where, ("text",))
    source = references = None
    if "source" in record:
        source = _not_empty(_word(record, "source", where).strip(), where, "source")
    if "reference" in record and "references" in record:
        raise UserError(f"{where}: give 'reference' or 'references', not both.")
    if "reference" in record:
        references = [_word(record, "reference", where)]
    elif "references" in record:
        references = record["references"]
        if not isinstance(references, list) or not references or not all(isinstance(r, str) for r in references):
            raise UserError(f"{where}: 'references' must be a list of one text or more.")
    true = None if references is None else tuple(_not_empty(text.strip(), where, "reference") for text in references)
    return Sample(_word(record, "text", where), source, true)


def _text(line: str, where: str) -> Sample:
    return Sample(line)


_PARSERS: dict[str, Callable[[str, str], Sample]] = {"diffuseq": _diffuseq, "jsonl": _jsonl, "text": _text}


def _record(line: str, where: str, needed: Sequence[str]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: this is no JSON object ({error}).") from None
    if not isinstance(record, dict):
        raise UserError(f"{where}: this is no JSON object but '{line[:40]}'.")
    lacking = [key for key in needed if key not in record]
    if lacking:
        raise UserError(f"{where}: no {', '.join(map(repr, lacking))}. It has: {', '.join(record) or 'nothing'}.")
    return record


def _word(record: dict[str, Any], key: str, where: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise UserError(f"{where}: '{key}' must be a text, got {json.dumps(value)[:40]}.")
    return value


def _without(text: str, marks: Sequence[str]) -> str:
    for mark in marks:
        text = text.replace(mark, "")
    return text.strip()


def _not_empty(text: str, where: str, what: str) -> str:
    if not text:
        raise UserError(f"{where}: the {what} is empty.")
    return text
