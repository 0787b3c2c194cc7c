"""Whether generations belong together: the files of one import with each other, and with the data that a run has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.importing.files import Generations, read_texts
from harness.store import Record

if TYPE_CHECKING:
    from harness.importing.request import ImportRequest

OWN_SPELLING = "its sources or true texts are spelled unlike the run's data (case, spaces, punctuation): its own stand"
_SHOWN = 60


def prompts_of(files: Sequence[Generations], request: ImportRequest) -> list[Record]:
    """What each line was written from, from the files or those that are given beside them; [] where nothing is known.

    Raises:
        UserError: where counts, sources or true texts differ between files, or something is given twice.
    """
    first = files[0]
    for other in files[1:]:
        _same_count(first.path, len(first.samples), other.path, len(other.samples))
        _same_lines(first, other)
    sources, references = first.sources, first.references
    if request.sources:
        sources = _beside("--sources", request.sources, "source", first, sources is not None)
    if request.references:
        texts = [_beside("--references", p, "reference", first, references is not None) for p in request.references]
        references = list(zip(*texts, strict=True))
    if sources is None and references is None:
        return []
    return [
        _prompt(sources[i] if sources else None, references[i] if references else ()) for i in range(len(first.samples))
    ]


def _prompt(source: str | None, true: Sequence[str]) -> Record:
    reference = true[0] if true else None
    return {"prefix": "", "suffix": "", "reference": reference, "source": source, "references": list(true)}


def _beside(flag: str, path: Path, what: str, generations: Generations, held: bool) -> list[str]:
    if held:
        raise UserError(f"{flag}: {generations.path} holds a {what} on each line already: leave {flag} out.")
    texts = read_texts(path, what)
    _same_count(generations.path, len(generations.samples), path, len(texts))
    return texts


def _same_count(path: Path, count: int, other: Path, others: int) -> None:
    if count != others:
        raise UserError(f"{path} has {count} lines but {other} has {others}: they must be of the same samples.")


def _same_lines(first: Generations, other: Generations) -> None:
    for number, (mine, theirs) in enumerate(zip(first.samples, other.samples, strict=True), start=1):
        for name in ("source", "references"):
            if getattr(mine, name) != getattr(theirs, name):
                shown = f"{_short(getattr(mine, name))} and {_short(getattr(theirs, name))}"
                raise UserError(f"{first.path} and {other.path} differ in the {name} of line {number}: {shown}.")


def settle(own: list[Record], prepared: list[Record], count: int, where: str) -> tuple[list[Record], list[str]]:
    """The prompts that `count` texts are scored with, and remarks, given what the run has prepared.

    Texts without sources and true texts take the run's. Others must be of the same sources and true texts, letter by
    letter; where only spelling differs, their own stand, and the row says so.

    Args:
        own: of the imported texts; [] where nothing is known.
        prepared: of the run's benchmark.
        count: number of texts.
        where: names the benchmark and the run, for messages.

    Raises:
        UserError: for other sources or true texts, or more texts without any than the run has prompts.
    """
    if not own:
        if count > len(prepared):
            raise UserError(f"{count} texts, but {where} has {len(prepared)} prompts: give --sources and --references.")
        return prepared[:count], []
    known = list(zip(own, prepared, strict=False))
    for number, (mine, theirs) in enumerate(known, start=1):
        _check_line(mine, theirs, number, where)
    if all(_identical(mine, theirs) for mine, theirs in known):
        return [*prepared[: len(own)], *own[len(prepared) :]], []
    return own, [OWN_SPELLING]


def _check_line(mine: Record, theirs: Record, number: int, where: str) -> None:
    """Raise where a line is of another source, or has a true text that the run's data do not have for it."""
    source, other = mine["source"], theirs.get("source")
    if source is not None and other is not None and _letters(source) != _letters(other):
        raise UserError(
            f"line {number}: the source is {_short(source)}, but {where} has {_short(other)}. Choose another --run."
        )
    known = {_letters(text) for text in theirs.get("references", ())}
    for text in mine["references"]:
        if known and _letters(text) not in known:
            raise UserError(
                f"line {number}: the true text is {_short(text)}, but {where} has {_short(theirs['references'])}. "
                "Choose another --run."
            )


def _identical(mine: Record, theirs: Record) -> bool:
    same_source = mine["source"] is None or _words(mine["source"]) == _words(theirs.get("source") or "")
    known = {_words(text) for text in theirs.get("references", ())}
    return same_source and all(_words(text) in known for text in mine["references"])


def _words(text: str) -> str:
    return " ".join(text.split())


def _letters(text: str) -> str:
    """What is left of a text where spelling is ignored."""
    return re.sub(r"[\W_]+", "", text).casefold()


def _short(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
