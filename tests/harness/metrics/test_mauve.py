from __future__ import annotations

import builtins
import random
from typing import Any

import pytest

from harness.metrics import ScoreInput, get_metric
from harness.metrics.judge import Judge
from tests.harness.metrics.random_judge import WORDS


def texts_of(words: list[str], count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=5)) for _ in range(count)]


@pytest.mark.parametrize(("samples", "references"), [(999, 1000), (1000, 999), (3, 3)])
def test_no_figure_below_a_thousand_a_side(word_judge: Judge, samples: int, references: int) -> None:
    data = ScoreInput(["the"] * samples, references=["the"] * references, judge=word_judge)
    score = get_metric("mauve").score(data)
    assert score.value is None
    assert score.reason == (
        f"too few for MAUVE: {samples} samples, {references} held-out texts, 1000 a side are needed"
    )


def test_needs_references_and_judge(word_judge: Judge) -> None:
    assert get_metric("mauve").score(ScoreInput(["the"], judge=word_judge)).reason == "no held-out texts"
    assert get_metric("mauve").settings(ScoreInput([]))["judge"] is None


def test_missing_package_is_a_reason(word_judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_mauve(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "mauve":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_mauve)
    score = get_metric("mauve").score(ScoreInput(["the"] * 1000, references=["the"] * 1000, judge=word_judge))
    assert score.reason == "missing package: pip install mauve-text"


def test_unscorable_text_gives_no_figure(word_judge: Judge) -> None:
    pytest.importorskip("mauve")
    data = ScoreInput(["the █"] + ["the"] * 999, references=["the"] * 1000, judge=word_judge)
    reason = get_metric("mauve").score(data).reason
    assert reason is not None
    assert reason.startswith("the judge cannot encode 1 of 1000 texts")


@pytest.mark.slow
def test_same_distribution_is_near_one_and_a_shifted_one_is_not(
    word_judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mauve")
    monkeypatch.setattr("harness.metrics.mauve.SEEDS", 2)  # each costs a second
    references = texts_of(WORDS, 1000, 0)
    same = get_metric("mauve").score(ScoreInput(texts_of(WORDS, 1001, 1), references, judge=word_judge))
    other = get_metric("mauve").score(ScoreInput(texts_of(["cat", "dog"], 1000, 2), references, judge=word_judge))
    assert same.value is not None
    assert other.value is not None
    assert same.value > 0.9 > 0.5 > other.value
    assert (same.detail["n"], same.detail["k"]) == (1000, 100)
    assert len(same.detail["seed_values"]) == 2
    assert same.detail["seed_sd"] > 0
    assert same.low is None  # the spread over seeds is no interval over samples
