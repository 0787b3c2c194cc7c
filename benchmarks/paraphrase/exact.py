"""Exact verdicts on what was written from a source of `toy_paraphrase`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.paraphrase.parser import parse


@dataclass(frozen=True)
class ParaphraseVerdict:
    """What is known of one text.

    Attributes:
        valid: whether it is one sentence of the language.
        same_meaning: whether it is, and means what the source means.
        copy: whether it is the source, word for word.
    """

    valid: bool
    same_meaning: bool
    copy: bool

    @property
    def paraphrase(self) -> bool:
        """Whether it means the same in other words."""
        return self.same_meaning and not self.copy


def judge(text: str, source: str) -> ParaphraseVerdict:
    """The verdict on a text written from a source; white space between words does not count."""
    meaning = parse(text)
    return ParaphraseVerdict(
        valid=meaning is not None,
        same_meaning=meaning is not None and meaning == parse(source),
        copy=text.split() == source.split(),
    )


def judge_all(texts: Sequence[str], sources: Sequence[str]) -> list[ParaphraseVerdict]:
    """The verdict on each text."""
    return [judge(text, source) for text, source in zip(texts, sources, strict=True)]
