"""The words of the language of `toy_paraphrase` (their file describes itself: lexicon.txt)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

LEXICON_FILE = Path(__file__).with_name("lexicon.txt")
#: Words that belong to no kind: they say how a sentence is built.
STRUCTURE = ("who", "was", "by", "to", ",", ".")
#: Words between two clauses, or in front of both: which relation they say, and whether the clause that the relation
#: names first comes second. "before" is said of the earlier clause, "because" of the effect, "although" of the fact.
BETWEEN = {
    "and": ("and", False),
    "before": ("before", False),
    "after": ("before", True),
    "because": ("because", False),
    "so": ("because", True),
    "although": ("although", False),
    "but": ("although", True),
}
IN_FRONT = {
    "before": ("before", True),
    "after": ("before", False),
    "because": ("because", True),
    "although": ("although", True),
}
RELATIONS = ("and", "before", "because", "although")


class LexiconError(ValueError):
    """A lexicon that cannot be: names the line or the word."""


@dataclass(frozen=True)
class Lexicon:
    """Words by kind and meaning.

    Attributes:
        synonyms: kind -> sense -> the words for it; the sense is the first of them.
        senses: word -> kind and sense.
    """

    synonyms: dict[str, dict[str, tuple[str, ...]]]
    senses: dict[str, tuple[str, str]]

    @property
    def words(self) -> list[str]:
        """Every word of the language, in alphabetical order."""
        return sorted({*self.senses, *STRUCTURE, *BETWEEN, *IN_FRONT})

    def kind(self, word: str) -> str | None:
        """What kind of word it is; None for one that belongs to no kind."""
        return self.senses.get(word, (None, ""))[0]


@cache
def lexicon() -> Lexicon:
    """The lexicon of the benchmark."""
    return read_lexicon(LEXICON_FILE.read_text(encoding="utf-8"))


def read_lexicon(text: str) -> Lexicon:
    """A lexicon in the notation of lexicon.txt.

    Raises:
        LexiconError: for a line that is no kind with its words, a kind given twice, or a word that stands there twice.
    """
    synonyms: dict[str, dict[str, tuple[str, ...]]] = {}
    senses: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        kind, colon, body = line.partition(":")
        groups = [tuple(group.split()) for group in body.split(",")]
        if not colon or not all(groups) or kind in synonyms:
            raise LexiconError(f"no kind with its words, or one that was there before: {line}")
        synonyms[kind] = {group[0]: group for group in groups}
        for group in groups:
            for word in group:
                if word in senses or word in (*STRUCTURE, *BETWEEN, *IN_FRONT):
                    raise LexiconError(f"'{word}' stands in the lexicon twice")
                senses[word] = (kind, group[0])
    return Lexicon(synonyms, senses)
