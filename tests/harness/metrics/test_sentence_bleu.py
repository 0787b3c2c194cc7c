"""Our sentence BLEU and `bleu_diffuseq` against nltk, which the authors call."""

from __future__ import annotations

import random
import statistics

import pytest
from nltk.translate import bleu_score

from harness.metrics import ScoreInput, get_metric
from harness.metrics.sentence_bleu import counted, sentence_bleu

SMOOTHING = bleu_score.SmoothingFunction().method4


def nltk_bleu(text: str, references: list[str], order: int = 4) -> float:
    weights = tuple([1.0 / order] * order)
    true = [reference.split() for reference in references]
    return float(bleu_score.sentence_bleu(true, text.split(), weights, smoothing_function=SMOOTHING))


def draw(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choice("abcdef") for _ in range(rng.randint(0, longest)))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_nltk_to_the_last_bit(order: int) -> None:
    rng = random.Random(order)
    values = set()
    for _ in range(800):
        text, references = draw(rng, 12), [draw(rng, 12) or "a" for _ in range(rng.randint(1, 3))]
        ours = sentence_bleu(counted(text, order), [counted(reference, order) for reference in references])
        assert ours == nltk_bleu(text, references, order), (text, references)
        values.add(ours)
    assert len(values) > 50
    assert 0.0 in values


@pytest.mark.parametrize(("text", "reference"), [("a", "a"), ("a", "a b c"), ("", "a"), ("b", "a"), ("a a a", "a")])
def test_short_texts_as_nltk(text: str, reference: str) -> None:
    assert sentence_bleu(counted(text), [counted(reference)]) == nltk_bleu(text, [reference])


@pytest.mark.parametrize(("name", "order"), [("bleu_diffuseq", 4), ("bleu_diffuseq_1", 1), ("bleu_diffuseq_3", 3)])
def test_bleu_diffuseq_is_the_mean(name: str, order: int) -> None:
    texts = ["how can i become a good geologist?", "what is it", ""]
    paired = [["what should i do to be a great geologist?"], ["what is that", "what is it ?"], ["a"]]
    score = get_metric(name).score(ScoreInput(texts, paired_references=paired, task="seq2seq"))
    assert score.value == pytest.approx(
        statistics.fmean(nltk_bleu(text, true, order) for text, true in zip(texts, paired, strict=True)), abs=1e-15
    )
    assert score.low is not None
    assert score.high is not None
    assert score.low < score.value < score.high
    assert score.detail == {"sentences": 3, "empty_texts": 1}
    assert get_metric(name).settings(ScoreInput([]))["order"] == order


def test_needs_true_texts() -> None:
    assert get_metric("bleu_diffuseq").score(ScoreInput(["a"])).reason == (
        "no true text for each sample: the task is unconditional"
    )
