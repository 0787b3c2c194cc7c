"""Controls: real text is given back once, count models are exact."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from adapters.base import (
    TEXT_TASKS,
    AdapterError,
    GenerateRequest,
    LikelihoodRequest,
    LoadSpec,
    Model,
    NotAvailable,
    Prompt,
)
from adapters.cards import get_card
from adapters.controls import (
    BIGRAM_PRIOR,
    UNIGRAM_PRIOR,
    Bigram,
    CountModel,
    PreparedData,
    Unigram,
    load_bigram,
    load_data,
    load_unigram,
)
from adapters.repetitive import adapter as repetitive_module
from adapters.repetitive.adapter import Repetitive, common_tokens, entropy, phrase_bank
from adapters.tokenizers import Text8Tokenizer, Tokenizer, load_tokenizer, word_tokenizer, wrap_tokenizer
from benchmarks.toy.source import running_text, windows
from harness.metrics.judge import load_judge

WORDS = ["a", "b", "c"]
CONTROLS = ["data", "shuffled", "unigram", "bigram", "repetitive"]
TRAIN = "a b a b b c a"


def request(count: int = 2, length: int = 4, **changes: object) -> GenerateRequest:
    settings: dict[str, object] = {"steps": 0, "scheduler": "control", "first": 0, **changes}
    return GenerateRequest(count, length, **settings)  # type: ignore[arg-type]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    word_tokenizer(WORDS).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "train.txt").write_text(TRAIN.replace("b b", "b\nb"), encoding="utf-8")
    texts = ["a b c a", "b b b b", "c a b a"]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    prompts = [
        {"prefix": "a", "suffix": "b", "reference": "a c c b"},
        {"prefix": "b", "suffix": "a", "reference": "b b c a"},
        {"prefix": "c", "suffix": ""},
        {"prefix": "c a", "suffix": "b", "reference": "a c c b"},
    ]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts), encoding="utf-8")
    facts = {"tokenizer": "folder", "length": 4}
    (tmp_path / "benchmark.json").write_text(json.dumps(facts), encoding="utf-8")
    return tmp_path


def loaded(name: str, folder: Path) -> Model:
    """A control by its package name."""
    model: Model = importlib.import_module(f"adapters.{name}.adapter").load(LoadSpec(None, data=folder))
    return model


def in_memory(tokenizer: Tokenizer, length: int) -> PreparedData:
    return PreparedData(Path("nowhere"), tokenizer, length, {})


@pytest.mark.parametrize("name", CONTROLS)
def test_cards(name: str, prepared: Path) -> None:
    card = get_card(name)
    tasks = (*TEXT_TASKS, "seq2seq") if name in ("data", "shuffled") else TEXT_TASKS
    assert (card.role, card.family, card.tasks) == ("control", None, tasks)
    assert list(card.schedulers) == list(loaded(name, prepared).schedulers)  # type: ignore[attr-defined]
    assert {scheduler.steps for scheduler in card.schedulers.values()} == {"fixed"}
    assert [checkpoint.kind for checkpoint in card.checkpoints.values()] == ["none"]
    assert (card.likelihood == "exact") == (name in ("unigram", "bigram")) == bool(card.estimators)


def sources(*texts: str, first: int = 0) -> GenerateRequest:
    prompts = tuple(Prompt(source=text) for text in texts)
    return request(len(texts), task="seq2seq", prompts=prompts, first=first)


def test_copy_gives_the_source(prepared: Path) -> None:
    card = get_card("copy")
    assert (card.tasks, card.schedulers["control"].deterministic) == (("seq2seq",), True)
    result = loaded("copy", prepared).generate(sources("a b", "c, not in the vocabulary"))
    assert result.texts == ["a b", "c, not in the vocabulary"]
    assert (result.nfe, result.generated_tokens[0]) == ([0, 0], 2)


def test_data_and_shuffled_write_another_true_text(prepared: Path) -> None:
    """For pairs data.jsonl holds one more true text of each source."""
    assert loaded("data", prepared).generate(sources("x", "y", first=1)).texts == ["b b b b", "c a b a"]
    shuffled = loaded("shuffled", prepared).generate(sources("x", "y", "z"))
    assert [sorted(text.split()) for text in shuffled.texts] == [sorted("abca"), list("bbbb"), sorted("caba")]
    with pytest.raises(NotAvailable, match="no true text of its sources beside those"):
        loaded("data", prepared).generate(sources("x", first=3))


def test_models_that_count_write_no_text_from_another(prepared: Path) -> None:
    with pytest.raises(AdapterError, match="no task 'seq2seq'"):
        loaded("unigram", prepared).generate(sources("a"))


def test_data_gives_each_window_once(prepared: Path) -> None:
    model = load_data(LoadSpec(None, data=prepared))
    first, second = model.generate(request(2)), model.generate(request(1, first=2))
    assert [*first.texts, *second.texts] == ["a b c a", "b b b b", "c a b a"]
    assert first.tokens[0] == [1, 2, 3, 1]
    assert (first.nfe, first.generated_tokens, model.networks) == ([0, 0], [4, 4], [])
    assert model.generate(request(1, length=2)).texts == ["a b"]


def test_data_never_makes_up_text(prepared: Path) -> None:
    model = load_data(LoadSpec(None, data=prepared))
    with pytest.raises(NotAvailable, match=r"has 3 windows.*more samples are asked for"):
        model.generate(request(2, first=2))
    with pytest.raises(NotAvailable, match=r"window 0 of real text has 4 tokens, 5 are asked for"):
        model.generate(request(1, length=5))
    with pytest.raises(AdapterError, match="first"):
        model.generate(request(1, first=None))
    with pytest.raises(NotAvailable, match="no likelihood of its own"):
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
    model = kind(in_memory(wrap_tokenizer(word_tokenizer(WORDS)), 2), ids)
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
    model = Bigram(in_memory(tokenizer, 8), np.array(tokenizer.encode("the cat sat on the mat")))
    result = model.generate(request(3, 8))
    assert all(len(text) == 8 for text in result.texts)
    assert model.parameter_count == 27 * 27


def test_requests_that_controls_cannot_meet(prepared: Path) -> None:
    model = load_unigram(LoadSpec(None, data=prepared))
    for bad, message in (
        (request(1, task="summary"), "task 'summary'"),
        (request(1, scheduler="euler"), "scheduler 'euler' is not one of control"),
        (request(1, task="prefix", prompts=(Prompt("a b c a"),)), "nothing to write"),
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


# --- prompts ----------------------------------------------------------------------------------------------------------

PROMPTS = (Prompt("a", "b"), Prompt("b", "a"))


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("task", ["prefix", "infill"])
def test_given_tokens_are_kept(name: str, task: str, prepared: Path) -> None:
    model = loaded(name, prepared)
    prompts = PROMPTS if task == "infill" else tuple(Prompt(p.prefix) for p in PROMPTS)
    for scheduler in get_card(name).schedulers:
        result = model.generate(request(2, task=task, prompts=prompts, scheduler=scheduler))
        assert result.generated_tokens == [4 - (2 if task == "infill" else 1)] * 2
        assert result.nfe == [0, 0]
        for ids, text, prompt in zip(result.tokens, result.texts, prompts, strict=True):
            assert len(ids) == 4
            assert max(ids) < 4  # nothing is left unwritten
            assert text.split()[0] == prompt.prefix
            assert prompt.suffix in ("", text.split()[-1])


def test_data_continues_as_the_text_really_does(prepared: Path) -> None:
    model = loaded("data", prepared)
    both = model.generate(request(2, task="infill", prompts=PROMPTS))
    assert both.texts == ["a c c b", "b b c a"]
    second = model.generate(request(1, task="prefix", prompts=(Prompt("b"),), first=1))
    assert second.texts == ["b b c a"]
    assert model.generate(request(1, 3, task="prefix", prompts=(Prompt("a"),))).texts == ["a c c"]


@pytest.mark.parametrize("name", ["data", "shuffled"])
def test_an_unknown_continuation_is_not_made_up(name: str, prepared: Path) -> None:
    model = loaded(name, prepared)
    with pytest.raises(NotAvailable, match="does not know what really follows prompt 2"):
        model.generate(request(1, task="prefix", prompts=(Prompt("c"),), first=2))
    with pytest.raises(NotAvailable, match="has 3 tokens for a blank of 4"):
        model.generate(request(1, 5, task="prefix", prompts=(Prompt("a"),)))
    with pytest.raises(NotAvailable, match="has 2 tokens for a blank of 1"):
        model.generate(request(1, 3, task="infill", prompts=(Prompt("a", "b"),)))
    with pytest.raises(AdapterError, match=r"reference of prompt 3 .* does not contain its prompt"):
        model.generate(request(1, task="infill", prompts=(Prompt("c a", "b"),), first=3))


def test_bigram_writes_behind_the_left_neighbour(prepared: Path) -> None:
    model = loaded("bigram", prepared)
    count = 4000
    result = model.generate(request(count, 2, task="prefix", prompts=(Prompt("a"),) * count))
    share = np.bincount([ids[1] for ids in result.tokens], minlength=4) / count
    # Behind a stands b twice and nothing else; the prior gives the rest.
    unigram = (np.array([0, 3, 3, 1]) + UNIGRAM_PRIOR) / (7 + 4 * UNIGRAM_PRIOR)
    expected = (np.array([0, 0, 2, 0]) + BIGRAM_PRIOR * unigram) / (2 + BIGRAM_PRIOR)
    assert share == pytest.approx(expected, abs=5 * math.sqrt(0.25 / count))


# --- shuffled ---------------------------------------------------------------------------------------------------------


def test_shuffled_has_the_tokens_of_real_text_in_another_order(prepared: Path) -> None:
    texts = [" ".join("abc"[(i * i + j) % 3] for i in range(40)) for j in range(3)]
    (prepared / "data.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    model, real = loaded("shuffled", prepared), loaded("data", prepared).generate(request(3, 40)).tokens
    one, same, other = (model.generate(request(3, 40, seed=seed)).tokens for seed in (1, 1, 2))
    assert one == same != other
    for shuffled, window in zip(one, real, strict=True):
        assert sorted(shuffled) == sorted(window)
        assert shuffled != window


def test_shuffled_moves_no_given_token(prepared: Path) -> None:
    result = loaded("shuffled", prepared).generate(request(1, task="prefix", prompts=(Prompt("b"),), first=1))
    assert result.tokens[0][0] == 2
    assert sorted(result.tokens[0][1:]) == [1, 2, 3]
    with pytest.raises(NotAvailable, match="no likelihood of its own"):
        loaded("shuffled", prepared).likelihood(LikelihoodRequest(("a",), "exact"))


# --- no training text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unigram", "bigram", "repetitive"])
def test_without_training_text_the_reason_is_given(name: str, prepared: Path) -> None:
    (prepared / "train.txt").write_text("", encoding="utf-8")
    facts = {"tokenizer": "folder", "length": 4, "train_note": "only the test part was read."}
    (prepared / "benchmark.json").write_text(json.dumps(facts), encoding="utf-8")
    model = loaded(name, prepared)
    scheduler = next(iter(get_card(name).schedulers))
    with pytest.raises(NotAvailable, match=r"no training text to count in: only the test part was read\."):
        model.check(request(scheduler=scheduler))
    with pytest.raises(NotAvailable, match=r"no training text|no likelihood"):
        model.likelihood(LikelihoodRequest(("a",), "exact"))


@pytest.mark.parametrize("name", ["unigram", "bigram", "repetitive"])
def test_counting_another_part_is_noted(name: str, prepared: Path) -> None:
    assert list(loaded(name, prepared).notes) == []
    facts = {"tokenizer": "folder", "length": 4, "train_note": "counted on valid.txt"}
    (prepared / "benchmark.json").write_text(json.dumps(facts), encoding="utf-8")
    model = loaded(name, prepared)
    model.check(request(scheduler=next(iter(get_card(name).schedulers))))
    assert list(model.notes) == ["counted on valid.txt"]


def test_a_large_vocabulary_needs_no_table_of_pairs() -> None:
    words = [f"w{i}" for i in range(60_000)]  # a table of pairs would take 29 GB
    tokenizer = wrap_tokenizer(word_tokenizer(words))
    model = Bigram(in_memory(tokenizer, 4), np.array(tokenizer.encode("w5 w6 w5 w6 w59999 w7")))
    result = model.likelihood(LikelihoodRequest(("w5 w6", "w59999 w59999", "w7 w59999"), "exact"))
    prior = [BIGRAM_PRIOR * (count + UNIGRAM_PRIOR) / (6 + 60_001 * UNIGRAM_PRIOR) for count in (2, 1)]
    first = [-math.log(p / BIGRAM_PRIOR) for p in prior]
    assert result.texts[0].nats == pytest.approx(first[0] - math.log((2 + prior[0]) / (2 + BIGRAM_PRIOR)))
    assert result.texts[1].nats == pytest.approx(first[1] - math.log(prior[1] / (1 + BIGRAM_PRIOR)))
    assert result.texts[2].nats == pytest.approx(first[1] - math.log(prior[1] / BIGRAM_PRIOR))
    assert max(model.generate(request(4, 16)).tokens[0]) < 60_001


# --- repetitive -------------------------------------------------------------------------------------------------------

SENTENCES = ["a b c a b .", "b a .", "c c a b a b ."] * 40


@pytest.fixture
def repetitive() -> Repetitive:
    tokenizer = wrap_tokenizer(word_tokenizer([*WORDS, "."]))
    return Repetitive(in_memory(tokenizer, 32), np.array(tokenizer.encode(" ".join(SENTENCES))))


def write(model: Repetitive, scheduler: str, **changes: object) -> list[list[int]]:
    return model.generate(request(20, 32, **{"scheduler": scheduler, **changes})).tokens


def test_phrases_are_whole_pieces_of_the_training_text(repetitive: Repetitive) -> None:
    known = {"b a .", "a b c a b .", "c c a b a b .", "b a . c c a b a b ."}
    for text in repetitive.generate(request(20, 32, scheduler="phrases")).texts:
        whole = [f"{sentence} ." for sentence in text.split(" .")[:-1]]
        assert {sentence.strip() for sentence in whole} <= known
    # An eighth of 32 tokens is 4, so the short sentence never begins a phrase.
    one = repetitive.generate(request(50, 8, scheduler="phrases", options={"bank": 1})).tokens
    assert len({tuple(ids) for ids in one}) == 1


def test_the_commonest_phrases_are_kept() -> None:
    text = [1, 2, 0, 3, 0, 1, 2, 0, 3, 3, 0, 4, 4, 4]
    zero = np.array([0])
    assert phrase_bank(np.array(text), zero, 3, 2) == [[1, 2, 0], [3, 0, 1, 2, 0]]
    assert phrase_bank(np.array(text), zero, 1, 9) == [[1, 2, 0], [3, 0], [3, 3, 0]]
    assert phrase_bank(np.array(text), zero, 12, 9) == []
    short = Repetitive(in_memory(wrap_tokenizer(word_tokenizer(WORDS)), 800), np.array([1, 2, 3]))
    with pytest.raises(NotAvailable, match="too short for one phrase"):
        short.generate(request(1, 800, scheduler="phrases"))


def test_breaks_are_spaces_in_characters_and_sentence_ends_in_words(repetitive: Repetitive) -> None:
    assert repetitive._breaks().tolist() == [repetitive.tokenizer.encode(".")[0]]
    letters = Text8Tokenizer()
    assert Repetitive(in_memory(letters, 8), np.array(letters.encode("the cat sat")))._breaks().tolist() == [0]
    assert Repetitive(in_memory(letters, 8), np.array(letters.encode("aaab")))._breaks().tolist() == [1]


def test_common_tokens_have_the_entropy_of_the_text() -> None:
    ids = np.tile(np.arange(10), 50)
    assert entropy(ids[:10]) == pytest.approx(math.log(10))
    assert entropy(np.array([3, 3, 3])) == 0
    tokens, counts = common_tokens(ids, 20)
    assert (sorted(tokens), counts) == (list(range(10)), [50] * 10)
    skewed = np.array(([1] * 9 + [2]) * 50)
    assert common_tokens(skewed, 10) == ([1], [450])  # e^0.33 is about one token


def test_periodic_and_mirror_repeat(repetitive: Repetitive) -> None:
    period = len(common_tokens(repetitive._ids, 32)[0])
    assert 1 < period < 5
    for ids in write(repetitive, "periodic"):
        assert ids[period:] == ids[:-period]
        assert len(set(ids[:period])) == period
    for ids in write(repetitive, "mirror"):
        assert ids[:16] == ids[16:]
    assert write(repetitive, "mirror") == write(repetitive, "mirror") != write(repetitive, "mirror", seed=5)


@pytest.mark.parametrize("scheduler", ["periodic", "mirror"])
def test_a_prompt_is_what_is_repeated(repetitive: Repetitive, scheduler: str) -> None:
    tokens = write(repetitive, scheduler, task="prefix", prompts=(Prompt("a b c"),) * 20)
    assert tokens == [([1, 2, 3] * 11)[:32]] * 20


@pytest.mark.parametrize("bank", [0, -1, 1.5, True, "all"])
def test_a_bad_bank_is_refused(repetitive: Repetitive, bank: object) -> None:
    with pytest.raises(AdapterError, match="bank must be a whole number"):
        repetitive.check(request(1, 32, scheduler="phrases", options={"bank": bank}))


def test_phrases_fool_the_judge_at_an_entropy_that_looks_harmless() -> None:
    judge = load_judge("adapters/gpt2/tiny", "cpu")
    tokenizer = load_tokenizer("folder", Path(repetitive_module.__file__).parents[1] / "gpt2" / "tiny")
    model = Repetitive(in_memory(tokenizer, 64), np.array(tokenizer.encode(running_text("train", 0, 120_000))))
    fooled = model.generate(request(64, 64, scheduler="phrases", options={"bank": 20})).texts
    real = [window.text for window in windows("data", 0, 64, 64)]
    perplexity, varied, distinct = {}, {}, {}
    for name, texts in (("fooled", fooled), ("real", real)):
        figures = [figure for figure in judge.nll(texts) if figure]
        perplexity[name] = math.exp(sum(f.nats for f in figures) / sum(f.tokens for f in figures))
        varied[name] = float(np.mean([entropy(np.array(tokenizer.encode(text))) for text in texts]))
        distinct[name] = len({pair for text in texts for pair in itertools.pairwise(text.split())})
    assert perplexity["fooled"] < 0.9 * perplexity["real"]
    assert varied["fooled"] > 0.8 * varied["real"]
    assert distinct["fooled"] < 0.5 * distinct["real"]  # what gives it away
