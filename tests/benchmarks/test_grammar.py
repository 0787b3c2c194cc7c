"""Promises of `benchmarks.toy.grammar`: exact probabilities, one derivation a sentence, clear rejections."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.toy.grammar import Grammar, GrammarError
from benchmarks.toy.rules import read_rules, toy_grammar


def coin() -> Grammar:
    """n times "a", then ".": p = 2^-(n+1), entropy 2 ln 2, mean length 2."""
    return Grammar({"S": [(1.0, ("A", "."))], "A": [(0.5, ("a", "A")), (0.5, ())]})


def finite() -> Grammar:
    """Six sentences, computed by hand below."""
    rules: dict[str, list[tuple[float, tuple[str, ...]]]] = {
        "S": [(0.75, ("the", "N")), (0.25, ("he", "V"))],
        "N": [(0.5, ("dog", "V")), (0.5, ("cat", "V"))],
        "V": [(0.2, ("eats",)), (0.8, ("sleeps",))],
    }
    return Grammar(rules)


def test_hand_computed_probabilities() -> None:
    grammar = finite()
    assert grammar.log_probability(["the", "dog", "sleeps"]) == pytest.approx(math.log(0.75 * 0.5 * 0.8))
    assert grammar.log_probability(["he", "eats"]) == pytest.approx(math.log(0.25 * 0.2))


def test_probabilities_of_a_finite_language_sum_to_one() -> None:
    found = list(finite().enumerate_sentences(1e-9))
    assert len(found) == len({words for words, _ in found}) == 6
    assert sum(p for _, p in found) == pytest.approx(1, abs=1e-12)
    for words, p in found:
        assert finite().log_probability(words) == pytest.approx(math.log(p))


def test_probabilities_of_an_infinite_language_approach_one() -> None:
    found = list(coin().enumerate_sentences(2.0**-20))
    assert [p for _, p in found] == [2.0 ** -(n + 1) for n in range(20)]
    assert sum(p for _, p in found) == pytest.approx(1 - 2.0**-20)


def test_hand_computed_entropy_and_length() -> None:
    assert coin().entropy() == pytest.approx(2 * math.log(2))
    assert coin().mean_length() == pytest.approx(2)
    assert coin().entropy_rate() == pytest.approx(math.log(2))
    probabilities = [p for _, p in finite().enumerate_sentences(1e-9)]
    assert finite().entropy() == pytest.approx(-sum(p * math.log(p) for p in probabilities))
    assert finite().mean_length() == pytest.approx(0.75 * 3 + 0.25 * 2)


def test_toy_entropy_and_length_agree_with_samples() -> None:
    grammar, rng = toy_grammar(), random.Random(5)
    samples = [grammar.sample(rng) for _ in range(20_000)]
    for figures, expected in (
        ([-(grammar.log_probability(sentence) or math.nan) for sentence in samples], grammar.entropy()),
        ([float(len(sentence)) for sentence in samples], grammar.mean_length()),
    ):
        mean = sum(figures) / len(figures)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in figures) / len(figures) / len(figures))
        assert abs(mean - expected) < 4 * deviation


def test_sampling_follows_the_probabilities() -> None:
    grammar, rng = finite(), random.Random(1)
    counts: dict[tuple[str, ...], int] = {}
    for _ in range(20_000):
        words = tuple(grammar.sample(rng))
        counts[words] = counts.get(words, 0) + 1
    for words, p in grammar.enumerate_sentences(1e-9):
        assert abs(counts[words] / 20_000 - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


def test_parsing_inverts_generating() -> None:
    grammar = toy_grammar()
    used: set[int] = set()
    for seed in range(3000):
        sentence = grammar.sample(random.Random(seed))
        derivation = grammar.parse(sentence)
        assert derivation is not None
        assert grammar.generate(derivation) == sentence
        used.update(derivation)
    assert len(used) > 0.95 * len(grammar.productions)


@pytest.mark.parametrize("derivation", [(), (0,), (1, 2), (0, 1, 2, 2)])
def test_generate_rejects_what_is_no_derivation(derivation: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no derivation"):
        coin().generate(derivation)


def test_toy_is_as_large_as_promised() -> None:
    grammar = toy_grammar()
    assert 100 <= len(grammar.words) <= 300
    assert 9 <= grammar.mean_length() <= 14
    assert 1.5 < grammar.entropy_rate() < 2.5


@pytest.mark.parametrize(
    "sentence",
    [
        "the dog sleeps .",
        "the dogs behind the house sleep .",
        "the queen who helps some boys loves herself .",
        "the queen who the boys help loves herself .",
        "“ tom asks ‘ the king sleeps ’ ” says anna .",
        "the king ( the dog sleeps ) sleeps .",
        "when the king sleeps , they run .",
    ],
)
def test_toy_accepts(sentence: str) -> None:
    assert toy_grammar().parse(sentence.split()) is not None


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        ".",
        "the dog sleeps",
        "the dog sleeps . .",
        "the dog sleep .",
        "the dogs behind the house sleeps .",
        "the queen who helps some boys love herself .",
        "the queen who helps some boys loves himself .",
        "the queen who the boys helps loves herself .",
        "the dog who sleeps runs .",
        "“ the king sleeps ’ says anna .",
        "“ tom asks ‘ the king sleeps ” ’ says anna .",
        "“ the king sleeps says anna .",
        "the king ( the dog sleeps sleeps .",
        "the king eats the house .",
        "the zebra sleeps .",
    ],
)
def test_toy_rejects(sentence: str) -> None:
    assert toy_grammar().parse(sentence.split()) is None
    assert toy_grammar().log_probability(sentence.split()) is None


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"S": [(0.5, ("a", "b")), (0.5, ("a", "c"))]}, "S are possible before 'a': not LL"),
        ({"S": [(1.0, ("A", "a"))], "A": [(0.5, ("a",)), (0.5, ())]}, "A are possible before 'a': not LL"),
        ({"S": [(0.5, ("A",)), (0.5, ())], "A": [(0.5, ("a",)), (0.5, ())]}, "before the end of the text"),
        ({"S": [(0.5, ("a",)), (0.4, ("b",))]}, "sum to 0.9"),
        ({"S": [(1.5, ("a",)), (-0.5, ("b",))]}, "not above 0"),
        ({"S": [(math.nan, ("a",))]}, "not above 0"),
        ({"S": [(1.0, ("A",))]}, "S uses A, which no rule defines"),
        ({"S": [(1.0, ("a",))], "A": [(1.0, ("a",))]}, "A cannot be reached"),
        ({"s": [(1.0, ("a",))]}, "does not begin with a capital"),
        ({"S": [(0.5, ("a", "S", "S")), (0.5, ("b",))]}, "need not end"),
    ],
)
def test_bad_grammars_are_rejected(rules: dict[str, list[tuple[float, tuple[str, ...]]]], message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        Grammar(rules)


def test_notation() -> None:
    text = "@ a v who\n@ m s who\n@ q p which\n# note\nStart: 0.5 Verb_s | 0.5 x Verb_p\nVerb_$v: zipf $v one $v$v\n"
    rules = read_rules(text)
    assert rules["Start"] == [(0.5, ("Verb_s",)), (0.5, ("x", "Verb_p"))]
    assert [word for _, (word,) in rules["Verb_p"]] == ["p", "one", "pp"]
    assert [p for p, _ in rules["Verb_s"]] == pytest.approx([6 / 11, 3 / 11, 2 / 11])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S 1.0 a", "not a rule"),
        ("S:", "not a rule"),
        ("S: a 1.0", "not a rule"),
        ("S: 1.0 a\nS: 1.0 b", "twice"),
        ("@ a\n@ m\nS_$z: 1.0 a", r"unknown variable \$z"),
    ],
)
def test_bad_notation_is_rejected(text: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        read_rules(text)
