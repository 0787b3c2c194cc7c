from __future__ import annotations

import math

import pytest

from harness.metrics import ScoreInput, get_metric
from harness.metrics.judge import Judge

TEXTS = ["the cat sat", "the dog sat on the mat . the cat", "."]


def test_two_aggregations_from_the_same_sums(word_judge: Judge) -> None:
    nll = [found for found in word_judge.nll(TEXTS) if found is not None]
    assert len(nll) == 3
    data = ScoreInput(TEXTS, judge=word_judge)
    weighted = get_metric("gen_ppl").score(data)
    mean = get_metric("gen_ppl_mean").score(data)
    nats, tokens = sum(n.nats for n in nll), sum(n.tokens for n in nll)
    assert weighted.value == pytest.approx(math.exp(nats / tokens))
    assert mean.value == pytest.approx(sum(math.exp(n.nats / n.tokens) for n in nll) / 3)
    assert weighted.value != pytest.approx(mean.value, rel=0.01)
    assert weighted.detail["nll_sum"] == pytest.approx(nats)
    assert (weighted.detail["tokens"], weighted.detail["bytes"]) == (13, sum(map(len, TEXTS)))
    for score in (weighted, mean):
        assert score.low is not None
        assert score.high is not None
        assert score.value is not None
        assert score.low <= score.value <= score.high
        assert score.low < score.high


def test_settings_say_how(word_judge: Judge) -> None:
    data = ScoreInput(TEXTS, judge=word_judge)
    settings = get_metric("gen_ppl").settings(data)
    assert settings["judge_digest"] == word_judge.digest
    assert settings["aggregation"] == "token-weighted"
    assert get_metric("gen_ppl_mean").settings(data)["aggregation"] == "mean over sequences"


@pytest.mark.parametrize("name", ["gen_ppl", "gen_ppl_mean"])
def test_a_left_over_mask_gives_no_figure_but_a_count(word_judge: Judge, name: str) -> None:
    score = get_metric(name).score(ScoreInput([*TEXTS, "the █ sat"], judge=word_judge))
    assert score.value is None
    assert score.reason is not None
    assert score.reason.startswith("the judge cannot encode 1 of 4 texts")
    assert "█" in score.reason
    assert (score.detail["sequences"], score.detail["unscorable_texts"]) == (3, 1)


@pytest.mark.parametrize("name", ["gen_ppl", "gen_ppl_mean"])
def test_empty_texts(word_judge: Judge, name: str) -> None:
    metric = get_metric(name)
    assert metric.score(ScoreInput(["", ""], judge=word_judge)).reason == "all texts are empty"
    with_empty = metric.score(ScoreInput(["", *TEXTS], judge=word_judge))
    assert with_empty.value == pytest.approx(metric.score(ScoreInput(TEXTS, judge=word_judge)).value)
    assert with_empty.detail["empty_texts"] == 1


def test_without_judge_or_texts(word_judge: Judge) -> None:
    assert get_metric("gen_ppl").score(ScoreInput(TEXTS)).reason == "no judge: give one with judge=FOLDER"
    assert get_metric("gen_ppl").score(ScoreInput([], judge=word_judge)).reason == "no samples"
