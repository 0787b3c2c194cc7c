"""The language of `toy_paraphrase`: every sentence has one reading, and what is written keeps it."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.base import Pair, Source, SourceRequest
from benchmarks.paraphrase import meaning as meanings_module
from benchmarks.paraphrase.exact import ParaphraseVerdict, judge
from benchmarks.paraphrase.forms import all_forms, count_forms, draw_form, templates
from benchmarks.paraphrase.lexicon import BETWEEN, RELATIONS, Lexicon, LexiconError, lexicon, read_lexicon
from benchmarks.paraphrase.meaning import (
    MOST_WORDS,
    Clause,
    Entity,
    Meaning,
    clause_words,
    count_meanings,
    draw_meaning,
    in_language,
    joined,
)
from benchmarks.paraphrase.parser import parse
from benchmarks.paraphrase.source import REFERENCES, build, meanings, pairs, part_of

ROOT = Path(__file__).resolve().parents[2]
#: sha256 of the first 1000 training pairs of seed 0. Another value means another benchmark: raise its version, and
#: train the tiny checkpoints again.
FIRST_PAIRS = "2f5f4743268f0b5a214d81272efa9fe0e844b099926123d9304913efcf913672"


def drawn(count: int, seed: int = 0) -> list[Meaning]:
    rng = random.Random(seed)
    return [draw_meaning(rng) for _ in range(count)]


def digest(found: list[Pair]) -> str:
    return hashlib.sha256(repr(found).encode()).hexdigest()


@pytest.fixture(scope="module")
def source() -> Source:
    return build(SourceRequest(seed=0, samples=64, length=48, options={"train_pairs": 3000}))


# The language


def test_every_form_of_a_meaning_is_read_as_it() -> None:
    for meaning in drawn(60):
        for sentence in islice(all_forms(meaning), 400):
            assert parse(sentence) == meaning, sentence


def test_drawn_forms_are_read_as_their_meaning() -> None:
    rng = random.Random(1)
    for meaning in drawn(3000, seed=1):
        assert parse(draw_form(meaning, rng)) == meaning


def test_all_forms_differ_and_are_as_many_as_counted() -> None:
    for meaning in drawn(300, seed=2):
        count = count_forms(meaning)
        if count <= 2000:
            assert len(set(all_forms(meaning))) == count


def test_drawn_forms_are_among_all_forms() -> None:
    meaning = next(m for m in drawn(100, seed=3) if m.relation and count_forms(m) < 100)
    rng = random.Random(0)
    assert {draw_form(meaning, rng) for _ in range(3000)} == set(all_forms(meaning))


def test_the_longest_form_is_as_long_as_computed() -> None:
    for meaning in drawn(500, seed=4):
        words = sum(map(clause_words, meaning.clauses)) + 1
        words += {"": 0, "and": 1}.get(meaning.relation, 2)
        assert max(map(len, templates(meaning))) == words <= MOST_WORDS


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("the king helped anna .", "anna was aided by the monarch ."),
        ("the old king slept .", "the monarch who was aged dozed ."),
        ("tom handed anna the book .", "the volume was passed to anna by tom ."),
        ("tom handed anna the book .", "anna was handed the book by tom ."),
        ("tom handed anna the book .", "tom passed the volume to anna ."),
        ("tom slept in the garden yesterday .", "yesterday , tom dozed inside the yard ."),
        ("tom quickly washed the car .", "the automobile was cleaned by tom rapidly ."),
        ("tom slept and anna waited .", "anna waited and tom slept ."),
        ("tom slept before anna waited .", "after tom slept , anna waited ."),
        ("tom slept before anna waited .", "anna waited after tom slept ."),
        ("tom slept because anna waited .", "anna waited so tom slept ."),
        ("tom slept although anna waited .", "anna waited but tom slept ."),
        ("tom slept although anna waited .", "although anna waited , tom slept ."),
    ],
)
def test_what_means_the_same(one: str, two: str) -> None:
    assert parse(one) == parse(two)
    assert parse(one) is not None


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("the king helped anna .", "anna helped the king ."),
        ("the king helped anna .", "the king was helped by anna ."),
        ("the king helped anna .", "this king helped anna ."),
        ("the king helped anna .", "the old king helped anna ."),
        ("the old king helped anna .", "the young king helped anna ."),
        ("tom handed anna the book .", "tom handed clara the book ."),
        ("tom slept yesterday .", "tom slept today ."),
        ("tom slept in the garden .", "tom slept behind the garden ."),
        ("tom slept before anna waited .", "anna waited before tom slept ."),
        ("tom slept because anna waited .", "tom slept so anna waited ."),
        ("tom slept because anna waited .", "tom slept although anna waited ."),
    ],
)
def test_what_does_not(one: str, two: str) -> None:
    assert parse(one) is not None
    assert parse(two) is not None
    assert parse(one) != parse(two)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "tom",
        "tom slept",
        "tom slept . .",
        "tom slept . anna waited .",
        "slept tom .",
        "king slept .",
        "the tom slept .",
        "the book slept .",
        "the book helped anna .",
        "tom helped the book .",
        "tom bought anna .",
        "anna was bought by tom .",
        "tom was slept .",
        "tom was helped .",
        "the book was handed to anna .",
        "tom handed the book anna .",
        "tom handed anna to the book .",
        "the king who was slept .",
        "the old king who was young slept .",
        "anna who was old slept .",
        "the old book was bought by tom .",
        "the book who was old was bought by tom .",
        "in the garden tom slept .",
        "quickly , tom slept .",
        "yesterday , in the garden , tom slept .",
        "tom slept yesterday today .",
        "tom quickly slept slowly .",
        "yesterday , tom slept again .",
        "tom slept in this garden .",
        "tom slept yesterday and anna waited .",
        "tom slept and anna waited yesterday .",
        "because yesterday , tom slept , anna waited .",
        "tom slept and anna slept and ruth slept .",
        "tom slept and tom dozed .",
        "and tom slept , anna waited .",
        "so tom slept , anna waited .",
        "because tom slept anna waited .",
        "█ slept .",
        "tom slept . <|endoftext|>",
        "Tom slept .",
    ],
)
def test_what_is_no_sentence(text: str) -> None:
    assert parse(text) is None


def test_a_meaning_too_long_to_say_otherwise_is_not_in_the_language() -> None:
    rich = "the king who was old handed the young monk this book in the garden yesterday quickly ."
    assert len(rich.split()) <= MOST_WORDS
    assert parse(rich) is None
    assert parse(rich.replace("the young monk", "anna")) is not None


def test_a_changed_word_changes_the_meaning_or_breaks_the_sentence() -> None:
    rng = random.Random(5)
    vocabulary = lexicon().words
    kept: Counter[bool] = Counter()
    for meaning in drawn(500, seed=5):
        words = draw_form(meaning, rng).split()
        place = rng.randrange(len(words))
        old, new = words[place], rng.choice(vocabulary)
        words[place] = new
        same = parse(" ".join(words)) == meaning
        senses = lexicon().senses
        assert same == (old == new or (old in senses and senses.get(new) == senses[old]))
        kept[same] += 1
    assert kept[False] > 400


# The lexicon and the number of meanings


def test_the_lexicon_is_small_and_every_word_is_used() -> None:
    words = lexicon().words
    assert len(words) == len(set(words)) <= 220
    rng = random.Random(6)
    assert {word for meaning in drawn(4000, seed=6) for word in draw_form(meaning, rng).split()} == set(words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("person king", "no kind"),
        ("person: king, , monk", "no kind"),
        ("person: king\nperson: monk", "was there before"),
        ("person: king\nthing: king", "'king' stands in the lexicon twice"),
        ("person: who", "'who' stands in the lexicon twice"),
    ],
)
def test_bad_lexicons(text: str, message: str) -> None:
    with pytest.raises(LexiconError, match=message):
        read_lexicon(text)


SMALL = (
    "determiner: the\nname: tom\nperson: king monarch\nadjective: old\nthing: book\nmeet: helped\nhandle: bought\n"
    "give: handed\nact: slept\npreposition: in\nlocation: garden\ntime: today\nmanner: slowly\n"
)


def every_meaning(words: Lexicon) -> set[Meaning]:
    """All meanings of a lexicon with one sense of each kind, put together in the plainest way."""
    people = [Entity("tom"), Entity("king", "the"), Entity("king", "the", "old")]
    book = Entity("book", "the")
    clauses = [Clause("slept", agent) for agent in people]
    clauses += [Clause("helped", agent, patient) for agent in people for patient in people]
    clauses += [Clause("bought", agent, book) for agent in people]
    clauses += [Clause("handed", agent, book, to) for agent in people for to in people]
    adverbials = list(itertools.product([None, ("in", "garden")], ["", "today"], ["", "slowly"]))
    rich = [Clause(c.verb, c.agent, c.patient, c.recipient, *extra) for c in clauses for extra in adverbials]
    found = {Meaning((clause,)) for clause in rich}
    found |= {joined(name, a, b) for name in RELATIONS for a in clauses for b in clauses}
    return {meaning for meaning in found if in_language(meaning)}


@pytest.mark.parametrize("most", [9, 12, 15, 20])
def test_meanings_are_counted_exactly(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(meanings_module, "MOST_WORDS", most)
    small = read_lexicon(SMALL)
    assert count_meanings(small) == len(every_meaning(small))


# The data


def test_the_pairs_are_the_recorded_ones() -> None:
    assert digest(pairs("train", 0, 1000, 1)) == FIRST_PAIRS


def test_data_do_not_depend_on_hash_randomisation() -> None:
    code = "import benchmarks.paraphrase.source as s; print(s.pairs('references', 3, 20, 2))"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == repr(pairs("references", 3, 20, 2))


def test_parts_and_seeds_share_no_meaning(source: Source) -> None:
    found = {part: {repr(m) for m in islice(meanings(part, 0), 300)} for part in ("train", "heldout", "references")}
    assert not set.intersection(*found.values())
    for part, texts in (("references", source.pairs), ("train", source.train_pairs), ("heldout", source.heldout_pairs)):
        for pair in texts[:200]:
            meaning = parse(pair.source)
            assert meaning is not None
            assert part_of(meaning) == part
    assert digest(pairs("train", 1, 50, 1)) != digest(pairs("train", 0, 50, 1))


def test_sources_and_all_true_texts_mean_the_same_and_differ(source: Source) -> None:
    assert len(source.pairs) == len(source.data_pairs) == 64
    for pair, other in zip(source.pairs, source.data_pairs, strict=True):
        sentences = [pair.source, *pair.references, other]
        assert len(pair.references) == REFERENCES
        assert len(set(sentences)) == len(sentences)
        assert len({repr(parse(sentence)) for sentence in sentences}) == 1
    for pair in [*source.train_pairs, *source.heldout_pairs]:
        assert len(pair.references) == 1
        assert pair.source != pair.references[0]


def test_training_text_is_the_targets_and_holds_every_word(source: Source) -> None:
    assert source.train.splitlines() == [pair.references[0] for pair in source.train_pairs]
    assert set(source.train.split()) == set(lexicon().words)


def test_facts(source: Source) -> None:
    facts = source.facts
    assert facts["words"] == len(lexicon().words)
    assert facts["meanings"] > 10**11
    assert facts["overlap_with_training"] == 0.0
    assert facts["train_pairs"] == 3000
    assert facts["median_forms"] >= REFERENCES + 2
    assert "likelihood" in facts["data_notes"][0]


def test_every_operation_occurs(source: Source) -> None:
    text = " ".join(pair.source for pair in source.train_pairs).split()
    assert {"who", "by", "to", ",", *BETWEEN} <= set(text)


# Verdicts


def test_truth_and_copies_keep_the_meaning(source: Source) -> None:
    for pair, other in zip(source.pairs, source.data_pairs, strict=True):
        assert judge(pair.source, pair.source) == ParaphraseVerdict(valid=True, same_meaning=True, copy=True)
        for text in (*pair.references, other):
            assert judge(text, pair.source) == ParaphraseVerdict(valid=True, same_meaning=True, copy=False)


def test_a_truth_of_another_source_is_valid_alone(source: Source) -> None:
    other = source.pairs[1].references[0]
    assert judge(other, source.pairs[0].source) == ParaphraseVerdict(valid=True, same_meaning=False, copy=False)


def test_no_sentence_is_neither_even_where_the_source_is_none() -> None:
    assert judge("tom", "tom slept .") == ParaphraseVerdict(valid=False, same_meaning=False, copy=False)
    assert judge("tom", "tom") == ParaphraseVerdict(valid=False, same_meaning=False, copy=True)


def test_white_space_does_not_count() -> None:
    assert judge("  tom  slept .\n", "tom slept .") == ParaphraseVerdict(valid=True, same_meaning=True, copy=True)
