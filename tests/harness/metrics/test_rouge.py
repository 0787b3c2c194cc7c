from __future__ import annotations

import pytest

from harness.metrics import ScoreInput, get_metric


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
