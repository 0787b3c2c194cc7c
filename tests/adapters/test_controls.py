"""Controls: real text is given back once, count models are exact."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from adapters.base import AdapterError, GenerateRequest, LikelihoodRequest, LoadSpec, NotAvailable, Prompt
from adapters.cards import get_card
from adapters.controls import (
    BIGRAM_PRIOR,
    UNIGRAM_PRIOR,
    Bigram,
    CountModel,
    Unigram,
    load_bigram,
    load_data,
    load_unigram,
)
from adapters.tokenizers import Text8Tokenizer, word_tokenizer, wrap_tokenizer

WORDS = ["a", "b", "c"]
TRAIN = "a b a b b c a"


def request(count: int = 2, length: int = 4, **changes: object) -> GenerateRequest:
    settings: dict[str, object] = {"steps": 0, "scheduler": "control", "first": 0, **changes}
    return GenerateRequest(count, length, **settings)  # type: ignore[arg-type]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    word_tokenizer(WORDS).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "train.txt").write_text(TRAIN.replace("b b", "b\nb"), encoding="utf-8")
    windows = ["a b c a", "b b b b", "c a b a"]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in windows), encoding="utf-8")
    facts = {"tokenizer": "folder", "length": 4}
    (tmp_path / "benchmark.json").write_text(json.dumps(facts), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["data", "unigram", "bigram"])
def test_cards(name: str) -> None:
    card = get_card(name)
    assert (card.role, card.family, card.tasks) == ("control", None, ("unconditional",))
    assert card.schedulers["control"].steps == "fixed"
    assert [checkpoint.kind for checkpoint in card.checkpoints.values()] == ["none"]
    assert (card.likelihood == "exact") == (name != "data") == bool(card.estimators)


def test_data_gives_each_window_once(prepared: Path) -> None:
    model = load_data(LoadSpec(None, data=prepared))
    first, second = model.generate(request(2)), model.generate(request(1, first=2))
    assert [*first.texts, *second.texts] == ["a b c a", "b b b b", "c a b a"]
    assert first.tokens[0] == [1, 2, 3, 1]
    assert (first.nfe, first.generated_tokens, model.networks) == ([0, 0], [4, 4], [])
    assert model.generate(request(1, length=2)).texts == ["a b"]


def test_data_never_makes_up_text(prepared: Path) -> None:
    model = load_data(LoadSpec(None, data=prepared))
    with pytest.raises(NotAvailable, match=r"has 3 windows.*4 samples"):
        model.generate(request(2, first=2))
    with pytest.raises(NotAvailable, match=r"have 4 tokens.*length of 5"):
        model.generate(request(1, length=5))
    with pytest.raises(AdapterError, match="first"):
        model.generate(request(1, first=None))
    with pytest.raises(NotAvailable, match="no model"):
        model.likelihood(LikelihoodRequest(("a",), "exact"))


def test_unigram_by_hand(prepared: Path) -> None:
    model = load_unigram(LoadSpec(None, data=prepared))
    # Training text: 3 a, 3 b, 1 c; the vocabulary has 4 tokens, one of which never occurs.
    k = UNIGRAM_PRIOR
    total = 7 + 4 * k
    result = model.likelihood(LikelihoodRequest(("a c", "b <|endoftext|>", ""), "exact"))
    assert result.kind == "exact"
    assert result.texts[0].nats == pytest.approx(-math.log((3 + k) / total) - math.log((1 + k) / total))
    assert result.texts[1].nats == pytest.approx(-math.log((3 + k) / total) - math.log(k / total))
    assert (result.texts[2].nats, result.texts[2].tokens) == (0.0, 0)
    assert [text.standard_error for text in result.texts] == [0.0] * 3


def test_bigram_by_hand(prepared: Path) -> None:
    model = load_bigram(LoadSpec(None, data=prepared))
    # Pairs: ab 2, ba 1, bb 1, bc 1, ca 1. So b is followed 3 times, once by c.
    k, m = UNIGRAM_PRIOR, BIGRAM_PRIOR
    a, b, c = ((count + k) / (7 + 4 * k) for count in (3, 3, 1))
    expected = -math.log(a) - math.log((2 + m * b) / (2 + m)) - math.log((1 + m * c) / (3 + m))
    assert model.likelihood(LikelihoodRequest(("a b c",), "exact")).texts[0].nats == pytest.approx(expected)


@pytest.mark.parametrize("load", [load_unigram, load_bigram])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_likelihood_sums_to_one(prepared: Path, load: type[CountModel], length: int) -> None:
    model = load(LoadSpec(None, data=prepared))  # type: ignore[call-arg, arg-type]
    texts = tuple(" ".join(words) for words in itertools.product([*WORDS, "<|endoftext|>"], repeat=length))
    result = model.likelihood(LikelihoodRequest(texts, "exact"))
    assert sum(math.exp(-text.nats) for text in result.texts) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", [Unigram, Bigram])
def test_samples_follow_the_model(kind: type[Unigram] | type[Bigram]) -> None:
    ids = np.array([1, 2, 1, 2, 2, 3, 1])
    model = kind(wrap_tokenizer(word_tokenizer(WORDS)), 2, ids)
    drawn = np.array(model.generate(request(20_000, 2, seed=3)).tokens)
    for first, second in itertools.product(range(4), repeat=2):
        text = model.tokenizer.decode([first, second])
        p = math.exp(-model.likelihood(LikelihoodRequest((text,), "exact")).texts[0].nats)
        share = float(np.mean((drawn[:, 0] == first) & (drawn[:, 1] == second)))
        assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / 20_000)


@pytest.mark.parametrize("load", [load_unigram, load_bigram])
def test_same_seed_same_text(prepared: Path, load: type[CountModel]) -> None:
    model = load(LoadSpec(None, data=prepared))  # type: ignore[call-arg, arg-type]
    one, same, other = (model.generate(request(8, 16, seed=seed)).tokens for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_tokens_of_text8() -> None:
    tokenizer = Text8Tokenizer()
    model = Bigram(tokenizer, 8, np.array(tokenizer.encode("the cat sat on the mat")))
    result = model.generate(request(3, 8))
    assert all(len(text) == 8 for text in result.texts)
    assert model.parameter_count == 27 * 27


def test_requests_that_controls_cannot_meet(prepared: Path) -> None:
    model = load_unigram(LoadSpec(None, data=prepared))
    for bad, message in (
        (request(1, task="prefix", prompts=(Prompt("a"),)), "unconditional"),
        (request(1, scheduler="euler"), "one scheduler"),
        (request(0), "at least 1"),
        (request(1, length=0), "at least 1"),
    ):
        with pytest.raises(AdapterError, match=message):
            model.generate(bad)
    with pytest.raises(AdapterError, match="one estimator"):
        model.likelihood(LikelihoodRequest(("a",), "elbo"))
    with pytest.raises(AdapterError, match="the word 'zebra'"):
        model.likelihood(LikelihoodRequest(("zebra",), "exact"))


def test_no_prepared_data(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(AdapterError, match="prepared benchmark"):
            load_data(LoadSpec(None, data=data))
