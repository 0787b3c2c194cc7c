from __future__ import annotations

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from harness.metrics import ScoreInput, get_metric
from harness.metrics.rouge import common_subsequence

NAMES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
PIECES = ["a", "B", "c3", "can't", "É", "x-y", "?", "d", "_", "  "]


def f_measure(common: int, written: int, true: int) -> float:
    return 2 * common / (written + true)


def score(name: str, texts: list[str], paired: list[list[str]]) -> float:
    found = get_metric(name).score(ScoreInput(texts, paired_references=paired, task="seq2seq"))
    assert found.value is not None
    return found.value


@pytest.mark.parametrize(
    ("name", "common", "written", "true"), [("rouge_1", 4, 5, 6), ("rouge_2", 1, 4, 5), ("rouge_l", 3, 5, 6)]
)
def test_by_hand(name: str, common: int, written: int, true: int) -> None:
    # Words in common: the, cat, sat, here; bigrams: cat sat; longest common subsequence: the cat sat.
    assert score(name, ["The cat sat, here: now"], [["here the big cat sat down"]]) == pytest.approx(
        f_measure(common, written, true)
    )


def test_mean_over_samples_of_the_best_true_text() -> None:
    texts, paired = ["a b", "x"], [["c d", "a b"], ["y"]]
    assert score("rouge_1", texts, paired) == pytest.approx(0.5)
    assert score("rouge_l", texts, paired) == pytest.approx(0.5)


def test_an_empty_text_counts_as_nothing() -> None:
    assert score("rouge_2", ["", "a b"], [["a b"], ["a b"]]) == pytest.approx(0.5)


def test_interval_and_settings() -> None:
    found = get_metric("rouge_l").score(ScoreInput(["a b", "c"], paired_references=[["a b"], ["d"]]))
    assert (found.low, found.high) == (0.0, 1.0)
    assert get_metric("rouge_l").settings(ScoreInput([]))["stemmer"] is False


@pytest.mark.parametrize("name", NAMES)
def test_is_the_packages_figure(name: str) -> None:
    rng = random.Random(0)
    scorer = RougeScorer([NAMES[name]], use_stemmer=False)
    seen = set()
    for _ in range(300):
        text, *paired = (" ".join(rng.choices(PIECES, k=rng.randint(0, 14))) for _ in range(rng.randint(2, 4)))
        wanted = scorer.score_multi(paired, text)[NAMES[name]].fmeasure
        assert score(name, [text], [paired]) == pytest.approx(wanted, abs=1e-15), (text, paired)
        seen.add(wanted)
    assert len(seen) > 30


def test_common_subsequence_of_long_texts() -> None:
    assert common_subsequence("abcbdab", "bdcaba") == 4
    assert common_subsequence("ab" * 200, "ba" * 200) == 399
    assert common_subsequence("", "a") == common_subsequence("a", "") == 0
