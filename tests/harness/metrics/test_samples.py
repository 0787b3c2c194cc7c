"""What figures are made of, sample by sample: the sums give every figure again, the rows stay with their samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.metrics import Score, ScoreInput, all_metrics, bertscore, get_metric
from harness.metrics.base import SampleValues
from harness.metrics.judge import Judge
from harness.paired import figure_of

#: Figures of the whole set, which no sums over samples give.
WHOLE = {
    *("mauve", "self_bleu"),
    *(f"distinct_{n}{paper}" for n in (1, 2, 3, 4) for paper in ("", "_bridge_gap")),
}
PAIRED_SUMS = {"bleu": "bleu", "bleu_fairseq": "bleu_unsmoothed", "chrf": "chrf"}

#: A complete sentence of the toy grammar, one that is none, too short ones, an empty one.
TEXTS = [
    "the cat sat on the mat .",
    ". the friends eat the bread . bread bread .",
    "tom dozed .",
    "",
    "the the the the dog sat on the mat",
    "tom slept .",
]
SOURCES = ["the king helped anna .", "anna bought this book .", *["tom slept ."] * 4]
PAIRED = [["the cat sat on a mat ."], ["the friends eat"], ["dog", "tom dozed !"], ["the dog"], ["a dog sat on"], ["b"]]
CANDIDATES = [[text, "the dog sat on the mat", ""] for text in TEXTS]


class _Scorer:
    """Stands for bert-score's: F1 is the share of the reference's length, 1 at most."""

    num_layers = 1

    def score(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        values = [min(1.0, len(t) / len(r[0])) for t, r in zip(texts, references, strict=True)]
        return [torch.tensor(values)] * 3


@pytest.fixture
def data(byte_judge: Judge, monkeypatch: pytest.MonkeyPatch) -> ScoreInput:
    monkeypatch.setattr(bertscore, "_find", lambda model, fetch: (model, None))
    monkeypatch.setattr(bertscore, "_load", lambda folder, model: _Scorer())
    return ScoreInput(TEXTS, TEXTS, PAIRED, SOURCES, CANDIDATES, "seq2seq", judge=byte_judge)


def scored(name: str, data: ScoreInput) -> tuple[Score, SampleValues]:
    score = get_metric(name).score(data)
    assert score.value is not None, score.reason
    assert score.samples is not None
    return score, score.samples


@pytest.mark.parametrize("name", sorted(set(all_metrics()) - WHOLE))
def test_the_sums_give_the_figure(name: str, data: ScoreInput) -> None:
    score, samples = scored(name, data)
    assert len(samples.rows) == len(TEXTS)
    assert figure_of(samples)[0] == pytest.approx(score.value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(all_metrics()) - WHOLE))
def test_rows_stay_with_their_samples(name: str, data: ScoreInput) -> None:
    order = [4, 2, 5, 3, 0, 1]
    other: dict[str, Any] = {
        field: [getattr(data, field)[i] for i in order]
        for field in ("texts", "paired_references", "sources", "candidates")
    }
    samples, moved = scored(name, data)[1], scored(name, replace(data, **other))[1]
    assert len({tuple(row) for row in samples.rows}) > 1
    for row, i in zip(moved.rows, order, strict=True):
        assert row == pytest.approx(samples.rows[i], rel=1e-4)  # a judge's batches differ in the last digits


@pytest.mark.parametrize("name", sorted(WHOLE - {"mauve"}))
def test_figures_of_a_whole_set_have_none(name: str, data: ScoreInput) -> None:
    score = get_metric(name).score(data)
    assert score.value is not None
    assert score.samples is None


def test_statistics_are_those_of_the_figures(data: ScoreInput) -> None:
    statistics = {name: scored(name, data)[1].statistic for name in set(all_metrics()) - WHOLE}
    ratios = dict.fromkeys(("toy_valid_sentences", "toy_valid_tokens", "toy_nll"), "ratio")
    expected = {"gen_ppl": "exp_ratio", **ratios, **PAIRED_SUMS}
    assert statistics == dict.fromkeys(statistics, "mean") | expected


def test_samples_without_a_figure_count_for_nothing(data: ScoreInput) -> None:
    assert [row[1] for row in scored("rep_4", data)[1].rows] == [1, 1, 0, 0, 1, 0]
    assert [row[1] for row in scored("gen_ppl_mean", data)[1].rows] == [1, 1, 1, 0, 1, 1]
    assert scored("gen_ppl", data)[1].rows[3] == [0, 0]


def test_a_share_of_sentences_is_of_sentences_not_of_texts(data: ScoreInput) -> None:
    """The second text has two sentences, one of them valid; a text without any counts as one that is not."""
    score, samples = scored("toy_valid_sentences", data)
    assert samples.rows == [[0, 1], [1, 2], [0, 1], [0, 1], [0, 1], [0, 1]]
    assert score.value == pytest.approx(1 / 7)
    assert scored("toy_valid_tokens", data)[1].rows[1] == [6, 9]
    nll = scored("toy_nll", data)[1].rows
    assert [row[1] for row in nll] == [0, 6, 0, 0, 0, 0]


def test_no_figure_has_no_samples(data: ScoreInput) -> None:
    assert get_metric("gen_ppl").score(ScoreInput(["", ""], judge=data.judge)).samples is None
    assert get_metric("rep_4").score(ScoreInput(["a b"])).samples is None


def test_numerators_and_denominators_are_as_many() -> None:
    with pytest.raises(ValueError, match="shorter"):
        SampleValues.quotient("ratio", [1.0, 2.0], [1.0])
