"""Exact figures of `toy_paraphrase`."""

from __future__ import annotations

import pytest

from harness.metrics.base import ScoreInput
from harness.metrics.registry import get_metric

SOURCES = ["tom slept .", "the king helped anna .", "anna bought this book ."]
TRUE = ["tom dozed .", "anna was aided by the monarch .", "this volume was purchased by anna ."]


def score(name: str, texts: list[str], sources: list[str] | None = None) -> float | None:
    return get_metric(name).score(ScoreInput(texts, sources=sources or SOURCES, task="seq2seq")).value


@pytest.mark.parametrize(
    ("texts", "figures"),
    [
        (TRUE, (1.0, 1.0, 1.0, 0.0)),
        (SOURCES, (0.0, 1.0, 1.0, 1.0)),
        ([TRUE[1], TRUE[2], TRUE[0]], (0.0, 0.0, 1.0, 0.0)),
        (["", "█ █ .", "tom tom"], (0.0, 0.0, 0.0, 0.0)),
        ([TRUE[0], SOURCES[1], "nonsense"], (1 / 3, 2 / 3, 2 / 3, 1 / 3)),
    ],
)
def test_shares(texts: list[str], figures: tuple[float, ...]) -> None:
    names = ("paraphrase_success", "paraphrase_meaning", "paraphrase_valid", "paraphrase_copy")
    assert tuple(score(name, texts) for name in names) == pytest.approx(figures)


def test_detail_and_interval() -> None:
    texts = [TRUE[0], SOURCES[1], "nonsense"] * 20
    found = get_metric("paraphrase_meaning").score(ScoreInput(texts, sources=SOURCES * 20, task="seq2seq"))
    assert found.detail == {
        "texts": 60,
        "valid": 40,
        "same_meaning": 40,
        "copies": 20,
        "same_meaning_and_no_copy": 20,
    }
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < 2 / 3 < found.high < 0.8


def test_without_sources_there_is_a_reason() -> None:
    found = get_metric("paraphrase_valid").score(ScoreInput(TRUE))
    assert found.value is None
    assert found.reason == "no sources: the task is unconditional"
