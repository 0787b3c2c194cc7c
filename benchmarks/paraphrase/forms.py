"""How a meaning of `toy_paraphrase` can be said: voice, order, synonyms, adjectives before or behind their nouns."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import chain, permutations, product

from benchmarks.paraphrase.lexicon import BETWEEN, IN_FRONT, Lexicon, lexicon
from benchmarks.paraphrase.meaning import Clause, Entity, Meaning

#: For each place of a sentence the words that may stand there; all choices mean the same.
Template = tuple[tuple[str, ...], ...]

_WHO_WAS: Template = (("who",), ("was",))
_WAS, _BY, _TO, _COMMA, _STOP = ((("was",),), (("by",),), (("to",),), ((",",),), ((".",),))


def templates(meaning: Meaning) -> list[Template]:
    """Every order in which a meaning can be said."""
    words = lexicon()
    parts = [_clause(words, clause) for clause in meaning.clauses]
    if not meaning.relation:
        return [core + _STOP for core in parts[0]]
    return [
        lead + first + link + second + _STOP
        for lead, link, swapped in _orders(meaning.relation)
        for first, second in product(*(reversed(parts) if swapped else parts))
    ]


def draw_form(meaning: Meaning, rng: random.Random) -> str:
    """A random form: each order as likely as another, and each synonym."""
    words = lexicon()
    parts = [rng.choice(_clause(words, clause)) for clause in meaning.clauses]
    if meaning.relation:
        lead, link, swapped = rng.choice(_orders(meaning.relation))
        first, second = reversed(parts) if swapped else parts
        parts = [lead + first + link + second]
    return " ".join(rng.choice(slot) for slot in parts[0] + _STOP)


def count_forms(meaning: Meaning) -> int:
    """In how many ways a meaning can be said."""
    return sum(math.prod(map(len, template)) for template in templates(meaning))


def all_forms(meaning: Meaning) -> Iterator[str]:
    """Every sentence with this meaning."""
    return (" ".join(choice) for template in templates(meaning) for choice in product(*template))


def _orders(relation: str) -> list[tuple[Template, Template, bool]]:
    """What stands in front of and between two clauses, and whether they change places."""
    between = [((), ((word,),), swapped) for word, (name, swapped) in BETWEEN.items() if name == relation]
    front = [(((word,),), _COMMA, swapped) for word, (name, swapped) in IN_FRONT.items() if name == relation]
    symmetric = [((), ((relation,),), True)] if relation == "and" else []
    return [*between, *front, *symmetric]


def _entity(words: Lexicon, entity: Entity) -> list[Template]:
    noun = words.synonyms[words.senses[entity.noun][0]][entity.noun]
    if not entity.determiner:
        return [(noun,)]
    determiner = words.synonyms["determiner"][entity.determiner]
    if not entity.adjective:
        return [(determiner, noun)]
    adjective = words.synonyms["adjective"][entity.adjective]
    return [(determiner, adjective, noun), (determiner, noun, *_WHO_WAS, adjective)]


def _clause(words: Lexicon, clause: Clause) -> list[Template]:
    manner: Template = (words.synonyms["manner"][clause.manner],) if clause.manner else ()
    place: Template = ()
    if clause.place:
        preposition, location = clause.place
        place = (words.synonyms["preposition"][preposition], ("the",), words.synonyms["location"][location])
    time: Template = (words.synonyms["time"][clause.time],) if clause.time else ()
    found = []
    for before in [(), manner] if manner else [()]:
        late = [part for part in (place, time, () if before else manner) if part]
        for core in _core(words, clause, before):
            found += [front + core + end for front, end in _arrangements(late, [p for p in (place, time) if p])]
    return found


def _arrangements(late: list[Template], frontable: list[Template]) -> list[tuple[Template, Template]]:
    """What stands in front of a clause and what behind it: one part may come first, the others in any order."""
    behind: list[tuple[Template, Template]] = [((), tuple(chain(*order))) for order in permutations(late)]
    front = [
        (first + _COMMA, tuple(chain(*order)))
        for first in frontable
        for order in permutations([part for part in late if part is not first])
    ]
    return behind + front


def _core(words: Lexicon, clause: Clause, manner: Template) -> list[Template]:
    """A clause with its manner in front of the verb, or without."""
    kind, _ = words.senses[clause.verb]
    verb = (*manner, words.synonyms[kind][clause.verb])
    agents = _entity(words, clause.agent)
    if clause.patient is None:
        return [agent + verb for agent in agents]
    patients = _entity(words, clause.patient)
    if clause.recipient is None:
        return [
            form
            for agent, patient in product(agents, patients)
            for form in (agent + verb + patient, patient + _WAS + verb + _BY + agent)
        ]
    return [
        form
        for agent, patient, recipient in product(agents, patients, _entity(words, clause.recipient))
        for form in (
            agent + verb + recipient + patient,
            agent + verb + patient + _TO + recipient,
            patient + _WAS + verb + _TO + recipient + _BY + agent,
            recipient + _WAS + verb + patient + _BY + agent,
        )
    ]
