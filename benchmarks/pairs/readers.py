"""Pairs from files: JSON lines, two line-aligned files, or the marked-up files of the translation campaigns."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.corpora.readers import contents, json_objects, text_field
from benchmarks.pairs.files import JSON_LINES, PairFiles
from benchmarks.texts import decode
from harness.errors import UserError

#: What the fields of a JSON line are called, source and target: DiffuSeq's data, plain words, DiffuSeq's outputs.
FIELDS = (("src", "trg"), ("source", "target"), ("source", "reference"))
#: One sentence of the files that translation campaigns give out (.sgm, .xml).
_SEGMENT = re.compile(r"<seg id=\"?\d+\"?>\s*(.*?)\s*</seg>")
#: Lines of a campaign's training file that are no text, and marks around lines that are.
_NO_TEXT = ("<url>", "<talkid>", "<keywords>", "<speaker>", "<reviewer", "<translator")
_MARKS = re.compile(r"</?(?:title|description)>")

TextPair = tuple[str, str]


def read_pairs(found: PairFiles) -> Iterator[TextPair]:
    """Source and target, white space at their ends removed; either may be empty.

    Raises:
        UserError: for a file that is missing, damaged or not UTF-8, a JSON line that is broken or has no such fields
            (with its number), and two sides of unequal length.
    """
    first = found.files[0]
    if not found.members and first.name.endswith(JSON_LINES):
        yield from _json_pairs(*_one(first, ""))
        return
    sides = [_one(first, member) for member in found.members] or [_one(file, "") for file in found.files]
    for sources, targets in zip(sides[::2], sides[1::2], strict=True):
        yield from _aligned(sources, targets)


def _one(path: Path, member: str) -> tuple[str, bytes]:
    """Name, for messages, and bytes of a file or of the one member that a pattern names."""
    found = list(contents(path, [member]))
    if len(found) > 1:
        raise UserError(f"{path} has {len(found)} members {member}; one is wanted.")
    name, raw = found[0]
    return (f"{path}: {name}" if member else str(path)), raw


def _json_pairs(where: str, raw: bytes) -> Iterator[TextPair]:
    for number, record in json_objects(raw, where):
        line = f"{where}, line {number}"
        names = next((names for names in FIELDS if all(name in record for name in names)), None)
        if names is None:
            known = ", or ".join(" and ".join(f"'{name}'" for name in names) for names in FIELDS)
            raise UserError(f"{line} has no fields {known}.")
        yield text_field(record, names[0], line).strip(), text_field(record, names[1], line).strip()


def _aligned(sources: tuple[str, bytes], targets: tuple[str, bytes]) -> Iterator[TextPair]:
    """Pairs of two files, line by line."""
    left, right = _sentences(*sources), _sentences(*targets)
    if len(left) != len(right):
        raise UserError(
            f"{sources[0]} has {len(left)} lines and {targets[0]} has {len(right)}: they must be as many, line by line."
        )
    yield from zip(left, right, strict=True)


def _sentences(where: str, raw: bytes) -> list[str]:
    """Lines of a plain file, or sentences of a marked-up one; empty ones count, a line break at the end does not."""
    text = decode(raw, where).replace("\r\n", "\n")
    if where.endswith((".sgm", ".xml")):
        found = _SEGMENT.findall(text)
        if not found:
            raise UserError(f"{where} has no <seg> lines.")
        return [html.unescape(sentence) for sentence in found]
    lines = text.removesuffix("\n").split("\n")
    if "train.tags." in where:
        return [html.unescape(_MARKS.sub("", line)).strip() for line in lines if not line.startswith(_NO_TEXT)]
    return [line.strip() for line in lines]
