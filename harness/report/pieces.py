"""Sentences in parts, of which some link to rows of the table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from harness.report.entries import Entry
from harness.report.format import figure

#: What is named one by one; of more only the count is said.
MOST_NAMED = 8


class Piece(NamedTuple):
    """A part of a sentence; `row` is the fingerprint of the row that it links to, "" for plain text; `lead` is set for
    the words that say what an item is about.
    """

    text: str
    row: str = ""
    lead: bool = False


Sentence = Sequence[Piece]

_END = re.compile(r"\.(?= |$)")


def plain(sentence: Sentence) -> str:
    """A sentence without its links."""
    return "".join(piece.text for piece in sentence)


def split(sentences: Sentence, count: int) -> tuple[list[Piece], list[Piece]]:
    """The first `count` sentences and the rest, links kept."""
    for at, piece in enumerate(sentences):
        ends = list(_END.finditer(piece.text))
        if len(ends) >= count:
            cut = ends[count - 1].end()
            after = [piece._replace(text=piece.text[cut:])] if piece.text[cut:].strip() else []
            return [*sentences[:at], piece._replace(text=piece.text[:cut])], [*after, *sentences[at + 1 :]]
        count -= len(ends)
    return list(sentences), []


def link(entry: Entry) -> Piece:
    """An entry's name, linked to its first row."""
    return Piece(entry.name, entry.fingerprints()[0])


def joined(names: Sequence[Piece]) -> list[Piece]:
    """Names with commas between them."""
    out: list[Piece] = []
    for name in names:
        out += [Piece(", "), name] if out else [name]
    return out


def named(entries: Sequence[Entry]) -> list[Piece]:
    """Links to some entries; the first few where they are many."""
    names = joined([link(entry) for entry in entries[:MOST_NAMED]])
    return [*names, Piece(f" and {len(entries) - MOST_NAMED} more")] if len(entries) > MOST_NAMED else names


def count_text(count: int, word: str, many: str = "") -> str:
    """A count with its noun; `many` is its plural where that is not `word` with an s."""
    return f"{count:,} {word if count == 1 else many or word + 's'}"


def cost_text(entry: Entry) -> str:
    """NFE and seconds in brackets, as far as they are known."""
    parts = [f"{figure(entry.nfe, 'count')} NFE"] if entry.nfe is not None else []
    parts += [f"{figure(entry.seconds, 'seconds')} a sequence"] if entry.seconds is not None else []
    return f" ({', '.join(parts)})" if parts else ""
