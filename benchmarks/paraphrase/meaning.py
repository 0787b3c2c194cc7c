"""What a sentence of `toy_paraphrase` means, meanings drawn at random, and how many there are."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from benchmarks.paraphrase.lexicon import RELATIONS, Lexicon, lexicon

#: Most words of a sentence, full stop included. A meaning that can be said in more words is not in the language, so
#: whatever is said with a meaning of the language can be said otherwise within the limit.
MOST_WORDS = 20
#: Kinds of verb: of one person; of two; of a person and a thing; of a person, a thing and whoever gets it.
VERBS = ("act", "meet", "handle", "give")


@dataclass(frozen=True)
class Entity:
    """A person or a thing, all parts as senses: "the old king" and "the monarch who was aged" are one entity.

    Attributes:
        noun: sense of a person, name or thing.
        determiner: "" for a name.
        adjective: "" for none.
    """

    noun: str
    determiner: str = ""
    adjective: str = ""


@dataclass(frozen=True)
class Clause:
    """Who did what to whom, where, when and how; all parts as senses.

    Attributes:
        verb: what was done.
        agent: who did it.
        patient: to whom or what; None for verbs of one person.
        recipient: who got it; None but for verbs of giving.
        place: preposition and location, None where it is not said.
        time, manner: "" where it is not said.
    """

    verb: str
    agent: Entity
    patient: Entity | None = None
    recipient: Entity | None = None
    place: tuple[str, str] | None = None
    time: str = ""
    manner: str = ""

    @property
    def plain(self) -> bool:
        """Whether neither place nor time nor manner is said."""
        return not (self.place or self.time or self.manner)


@dataclass(frozen=True)
class Meaning:
    """What a sentence says.

    Attributes:
        clauses: one, or two that `relation` joins; in a fixed order where the relation has none ("and").
        relation: one of `RELATIONS`, "" for one clause.
    """

    clauses: tuple[Clause, ...]
    relation: str = ""


def joined(relation: str, first: Clause, second: Clause) -> Meaning:
    """Two clauses as one meaning."""
    if relation == "and":
        first, second = sorted((first, second), key=repr)
    return Meaning((first, second), relation)


def entity_words(entity: Entity) -> int:
    """Words of its longest form."""
    return bool(entity.determiner) + 1 + (3 if entity.adjective else 0)


def clause_words(clause: Clause) -> int:
    """Words of its longest form: passive, adjectives behind their nouns, and something in front with its comma."""
    words = 1 + entity_words(clause.agent)
    words += 2 + entity_words(clause.patient) if clause.patient else 0
    words += 1 + entity_words(clause.recipient) if clause.recipient else 0
    words += (3 if clause.place else 0) + bool(clause.time) + bool(clause.manner)
    return words + bool(clause.place or clause.time)


def in_language(meaning: Meaning) -> bool:
    """Whether its longest form keeps to the limit, and its clauses are two different plain ones where they are two."""
    words = sum(map(clause_words, meaning.clauses)) + 1
    if not meaning.relation:
        return words <= MOST_WORDS
    between = 1 if meaning.relation == "and" else 2  # a word, and in another order a comma
    first, second = meaning.clauses
    return first.plain and second.plain and first != second and words + between <= MOST_WORDS


#: How often a sentence has two clauses, a person is named or has an adjective, and a clause has a place and so on.
_TWO_CLAUSES, _NAME, _ADJECTIVE, _PLACE, _TIME, _MANNER = 0.4, 0.2, 0.35, 0.35, 0.35, 0.35


def draw_meaning(rng: random.Random) -> Meaning:
    """A random meaning of the language; what would be too long is drawn again."""
    words = lexicon()
    while True:
        if rng.random() < _TWO_CLAUSES:
            first, second = _clause(words, rng), _clause(words, rng)
            meaning = joined(rng.choice(RELATIONS), first, second)
        else:
            meaning = Meaning((_clause(words, rng, adverbials=True),))
        if in_language(meaning):
            return meaning


def _sense(words: Lexicon, kind: str, rng: random.Random) -> str:
    return rng.choice(list(words.synonyms[kind]))


def _person(words: Lexicon, rng: random.Random) -> Entity:
    if rng.random() < _NAME:
        return Entity(_sense(words, "name", rng))
    adjective = _sense(words, "adjective", rng) if rng.random() < _ADJECTIVE else ""
    return Entity(_sense(words, "person", rng), _sense(words, "determiner", rng), adjective)


def _thing(words: Lexicon, rng: random.Random) -> Entity:
    return Entity(_sense(words, "thing", rng), _sense(words, "determiner", rng))


def _clause(words: Lexicon, rng: random.Random, adverbials: bool = False) -> Clause:
    kind = rng.choice(VERBS)
    verb, agent = _sense(words, kind, rng), _person(words, rng)
    patient = None if kind == "act" else _person(words, rng) if kind == "meet" else _thing(words, rng)
    recipient = _person(words, rng) if kind == "give" else None
    if not adverbials:
        return Clause(verb, agent, patient, recipient)
    place = (_sense(words, "preposition", rng), _sense(words, "location", rng)) if rng.random() < _PLACE else None
    time = _sense(words, "time", rng) if rng.random() < _TIME else ""
    manner = _sense(words, "manner", rng) if rng.random() < _MANNER else ""
    return Clause(verb, agent, patient, recipient, place, time, manner)


def count_meanings(words: Lexicon) -> int:
    """How many meanings the language has, exact: counted by the words of their longest form."""
    senses = {kind: len(group) for kind, group in words.synonyms.items()}
    plain = _count_plain(senses)
    one = sum(count for length, count in _with_adverbials(plain, senses).items() if length + 1 <= MOST_WORDS)
    unordered = _count_pairs(plain, MOST_WORDS - 2) // 2
    return one + unordered + (len(RELATIONS) - 1) * _count_pairs(plain, MOST_WORDS - 3)


def _count_pairs(plain: Counter[int], limit: int) -> int:
    """Ordered pairs of different clauses that have at most `limit` words together."""
    ordered = sum(a * b for m, a in plain.items() for n, b in plain.items() if m + n <= limit)
    return ordered - sum(count for length, count in plain.items() if 2 * length <= limit)


def _count_plain(senses: dict[str, int]) -> Counter[int]:
    """Clauses without adverbials, by words of the longest form."""
    person = Counter({1: senses["name"], 2: senses["determiner"] * senses["person"]})
    person[5] = person[2] * senses["adjective"]
    thing = Counter({2: senses["determiner"] * senses["thing"]})
    total: Counter[int] = Counter()
    for kind, parts in {"act": [], "meet": [person], "handle": [thing], "give": [thing, person]}.items():
        found = Counter({1: senses[kind]})
        for extra, part in zip((0, 2, 1), [person, *parts], strict=False):
            found = _sums(found, Counter({length + extra: count for length, count in part.items()}))
        total.update(found)
    return total


def _with_adverbials(plain: Counter[int], senses: dict[str, int]) -> Counter[int]:
    places, times = senses["preposition"] * senses["location"], senses["time"]
    front = Counter({0: 1, 4: places, 2: times, 5: places * times})
    return _sums(_sums(plain, front), Counter({0: 1, 1: senses["manner"]}))


def _sums(left: Counter[int], right: Counter[int]) -> Counter[int]:
    """How often each sum occurs."""
    total: Counter[int] = Counter()
    for m, a in left.items():
        for n, b in right.items():
            total[m + n] += a * b
    return total
