"""From a sentence of `toy_paraphrase` to what it means. The next word always decides, so there is one reading."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paraphrase.lexicon import BETWEEN, IN_FRONT, lexicon
from benchmarks.paraphrase.meaning import Clause, Entity, Meaning, in_language, joined

#: Kinds of verb by what they are said of: see `benchmarks.paraphrase.meaning.VERBS`.
_OBJECTS = {"meet": "person", "handle": "thing", "give": "thing"}


def parse(text: str) -> Meaning | None:
    """What a sentence means; None where it is not in the language."""
    try:
        meaning = _Reader(text.split()).sentence()
    except _NotASentenceError:
        return None
    return meaning if in_language(meaning) else None


class _NotASentenceError(Exception):
    """The words read so far can be no beginning of a sentence."""


class _Reader:
    """Reads words from left to right."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._place = 0
        self._lexicon = lexicon()

    def sentence(self) -> Meaning:
        lead = self._next
        if lead in IN_FRONT:
            self._take(lead)
            first = self._plain_clause()
            self._take(",")
            meaning = self._joined(IN_FRONT[lead], first)
        else:
            front = self._front()
            first = self._clause(front)
            link = self._next
            if link in BETWEEN and first.plain:
                self._take(link)
                meaning = self._joined(BETWEEN[link], first)
            else:
                meaning = Meaning((first,))
        self._take(".")
        if self._place != len(self._words):
            raise _NotASentenceError
        return meaning

    @property
    def _next(self) -> str:
        """The next word, "" at the end."""
        return self._words[self._place] if self._place < len(self._words) else ""

    @property
    def _kind(self) -> str | None:
        return self._lexicon.kind(self._next)

    def _take(self, word: str) -> None:
        if self._next != word or not word:
            raise _NotASentenceError
        self._place += 1

    def _sense(self, *kinds: str) -> str:
        """The sense of the next word, which must be of one of the kinds."""
        kind, sense = self._lexicon.senses.get(self._next, ("", ""))
        if kind not in kinds:
            raise _NotASentenceError
        self._place += 1
        return sense

    def _joined(self, relation: tuple[str, bool], first: Clause) -> Meaning:
        name, swapped = relation
        second = self._plain_clause()
        return joined(name, second, first) if swapped else joined(name, first, second)

    def _plain_clause(self) -> Clause:
        clause = self._clause({})
        if not clause.plain:
            raise _NotASentenceError
        return clause

    def _adverbial(self, said: dict[str, str | tuple[str, str]]) -> None:
        """Read a place, a time or a manner, which must not have been said before."""
        kind = self._kind
        if kind == "preposition":
            preposition = self._sense(kind)
            self._take("the")
            found: tuple[str, str | tuple[str, str]] = "place", (preposition, self._sense("location"))
        elif kind in ("time", "manner"):
            found = kind, self._sense(kind)
        else:
            raise _NotASentenceError
        if found[0] in said:
            raise _NotASentenceError
        said[found[0]] = found[1]

    def _front(self) -> dict[str, str | tuple[str, str]]:
        """A place or time in front of a clause, and its comma."""
        said: dict[str, str | tuple[str, str]] = {}
        if self._kind in ("preposition", "time"):
            self._adverbial(said)
            self._take(",")
        return said

    def _entity(self, kind: str) -> Entity:
        """A person (or name), or a thing."""
        if kind == "person" and self._kind == "name":
            return Entity(self._sense("name"))
        determiner = self._sense("determiner")
        adjective = self._sense("adjective") if kind == "person" and self._kind == "adjective" else ""
        noun = self._sense(kind)
        if kind == "person" and self._next == "who":
            self._take("who")
            self._take("was")
            if adjective:
                raise _NotASentenceError
            adjective = self._sense("adjective")
        return Entity(noun, determiner, adjective)

    def _subject(self) -> tuple[Entity, str]:
        """The first entity of a clause, and whether it is a person or a thing."""
        after = self._words[self._place + 1] if self._place + 1 < len(self._words) else ""
        kind = "thing" if self._lexicon.kind(after) == "thing" else "person"
        return self._entity(kind), kind

    def _clause(self, said: dict[str, str | tuple[str, str]]) -> Clause:
        subject, kind = self._subject()
        passive = self._next == "was"
        if passive:
            self._take("was")
        if self._kind == "manner":
            self._adverbial(said)
        verb_kind = self._kind
        verb = self._sense(*(_OBJECTS if passive else ("act", *_OBJECTS)))
        assert verb_kind is not None
        read = self._passive if passive else self._active
        agent, patient, recipient = read(verb_kind, subject, kind)
        while self._kind in ("preposition", "time", "manner"):
            self._adverbial(said)
        return Clause(verb, agent, patient, recipient, **said)  # type: ignore[arg-type]

    def _active(self, verb: str, subject: Entity, kind: str) -> tuple[Entity, Entity | None, Entity | None]:
        """What follows the verb: agent, patient, recipient."""
        if kind != "person":
            raise _NotASentenceError
        if verb == "act":
            return subject, None, None
        if verb != "give":
            return subject, self._entity(_OBJECTS[verb]), None
        first, kind = self._subject()
        if kind == "person":
            return subject, self._entity("thing"), first
        self._take("to")
        return subject, first, self._entity("person")

    def _passive(self, verb: str, subject: Entity, kind: str) -> tuple[Entity, Entity | None, Entity | None]:
        """What follows the verb: agent, patient, recipient."""
        recipient = None
        if verb == "give" and kind == "person":
            subject, recipient = self._entity("thing"), subject
        elif _OBJECTS[verb] != kind:
            raise _NotASentenceError
        elif verb == "give":
            self._take("to")
            recipient = self._entity("person")
        self._take("by")
        return self._entity("person"), subject, recipient
