"""Metrics that count, against values worked out by hand or by sacrebleu."""

from __future__ import annotations

import math
import random

import pytest
from sacrebleu.metrics import BLEU

from harness.errors import UserError
from harness.metrics import ScoreInput, get_metric
from harness.metrics.self_bleu import sentence_self_bleu


def value(name: str, *texts: str, **facts: str) -> float:
    found = get_metric(name).score(ScoreInput(texts, facts=facts)).value
    assert found is not None
    return found


def test_entropy_by_hand() -> None:
    assert value("unigram_entropy", "a a b b") == pytest.approx(math.log(2))
    assert value("unigram_entropy", "a a a b") == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert value("unigram_entropy", "a a b b", "c c c c") == pytest.approx(math.log(2) / 2)  # averaged over sequences


def test_entropy_of_characters() -> None:
    assert value("unigram_entropy", "ab ab ", tokens="text8") == pytest.approx(math.log(3))
    assert value("unigram_entropy", "ab ab ", tokens="words") == 0


def test_entropy_detail_and_settings() -> None:
    data = ScoreInput(["a a b b", "c c c c", ""])
    score = get_metric("unigram_entropy").score(data)
    assert score.value == pytest.approx(math.log(2) / 3)
    assert score.detail["empty_texts"] == 1
    assert score.detail["corpus_entropy"] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4))
    assert get_metric("unigram_entropy").settings(data) == {"tokens": "words"}
    assert get_metric("unigram_entropy").settings(ScoreInput([], facts={"tokens": "text8"})) == {"tokens": "text8"}


def test_unknown_kind_of_tokens() -> None:
    with pytest.raises(UserError, match="tokens: 'bits'"):
        value("unigram_entropy", "a", tokens="bits")


def test_distinct_by_hand() -> None:
    texts = ("a b a b", "a b c")
    assert value("distinct_1", *texts) == pytest.approx(3 / 7)
    assert value("distinct_2", *texts) == pytest.approx(3 / 5)  # ab ba ab | ab bc
    assert value("distinct_3", *texts) == pytest.approx(3 / 3)  # aba bab | abc


def test_distinct_interval_widens_with_what_texts_own() -> None:
    same = get_metric("distinct_1").score(ScoreInput(["a b"] * 50))
    assert (same.low, same.high) == (pytest.approx(same.value), pytest.approx(same.value))
    mixed = get_metric("distinct_1").score(ScoreInput(["a b"] * 25 + [f"x{i} y{i}" for i in range(25)]))
    assert mixed.low is not None
    assert mixed.value is not None
    assert mixed.low < mixed.value - 0.05


def test_repetition_by_hand() -> None:
    assert value("rep_2", "a b a b a") == pytest.approx(1 - 2 / 4)
    assert value("rep_3", "a b a b a") == pytest.approx(1 - 2 / 3)
    assert value("rep_4", "a b a b a") == pytest.approx(0)
    assert value("rep_2", "a b a b a", "a b c") == pytest.approx(0.25)
    assert value("rep_4", "a a a a a") == pytest.approx(0.5)


def test_short_texts_are_counted_not_scored() -> None:
    score = get_metric("rep_3").score(ScoreInput(["a a a a", "a b"]))
    assert score.value == pytest.approx(0.5)
    assert score.detail["short_texts"] == 1


@pytest.mark.parametrize("name", ["distinct_3", "rep_3"])
def test_no_ngram_no_figure(name: str) -> None:
    score = get_metric(name).score(ScoreInput(["a b", ""]))
    assert score.value is None
    assert score.reason == "no text has 3 words"


def test_self_bleu_equals_sacrebleu() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abcde", k=rng.randint(1, 12))) for _ in range(25)] + ["z z z z z", ""]
    bleu = BLEU(smooth_method="floor", smooth_value=0.1, effective_order=True, tokenize="none")
    expected = [
        bleu.sentence_score(text, texts[:i] + texts[i + 1 :]).score / 100 if text else 0.0
        for i, text in enumerate(texts)
    ]
    assert sentence_self_bleu([text.split() for text in texts]) == pytest.approx(expected, abs=1e-9)


def test_self_bleu_ends() -> None:
    assert value("self_bleu", "a b c d e", "a b c d e") == pytest.approx(1)
    assert value("self_bleu", "a b c d e", "f g h i j") == 0
    assert get_metric("self_bleu").score(ScoreInput(["a b c"])).reason == "self-BLEU needs two samples or more"


def test_self_bleu_subset_is_bounded_and_seeded() -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abcdefgh", k=8)) for _ in range(400)]
    metric = get_metric("self_bleu")
    first, again, other = (metric.score(ScoreInput(texts, seed=seed)) for seed in (0, 0, 1))
    assert first.detail["subset"] == 256
    assert first == again
    assert first.value != other.value


def test_dist_1_is_a_mean_over_texts() -> None:
    score = get_metric("dist_1").score(ScoreInput(["a a b b", "a b c", ""]))
    assert score.value == pytest.approx((0.5 + 1 + 0) / 3)
    assert score.detail["empty_texts"] == 1


def test_distinct_of_bridge_gap_cuts_punctuation() -> None:
    data = ScoreInput(["what is it?", "it is!"])
    assert get_metric("distinct_1").score(data).value == pytest.approx(5 / 5)  # it? and is! are words of their own
    assert get_metric("distinct_1_bridge_gap").score(data).value == pytest.approx(5 / 7)  # what is it ? !
    assert get_metric("distinct_4_bridge_gap").score(data).value == 1.0
