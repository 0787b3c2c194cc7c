"""BLEU and chrF against sacrebleu itself and against real model outputs with the authors' recorded scores."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import BLEU, CHRF

from harness.metrics import ScoreInput, get_metric
from harness.metrics.ngrams import count_ngrams

HYPOTHESES = ["the cat sat on the mat", "a dog barked at me", "it rains"]
TRUTH = ["the cat sat on a mat", "the dog barked at me", "it snows"]
DATA = Path(os.environ.get("TDBENCH_DATA", Path(__file__).parents[3].parent / "shared" / "data"))


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_equals_sacrebleu_with_its_signature(name: str, metric: Any) -> None:
    score = get_metric(name).score(ScoreInput(HYPOTHESES, paired_references=TRUTH, task="prefix"))
    assert score.value == pytest.approx(metric.corpus_score(HYPOTHESES, [TRUTH]).score)
    assert str(metric.get_signature()).split("|")[-1] in score.detail["signature"]
    assert "nrefs:1" in get_metric(name).settings(ScoreInput([]))["signature"]
    assert score.low is not None
    assert score.high is not None
    assert 0 <= score.low < score.high


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_unconditional_has_no_figure(name: str) -> None:
    score = get_metric(name).score(ScoreInput(HYPOTHESES, references=TRUTH))
    assert score.value is None
    assert score.reason == "no true text for each sample: the task is unconditional"


def test_nothing_in_common() -> None:
    score = get_metric("bleu").score(ScoreInput(["a a", "b b"], paired_references=["c c", "d d"], task="prefix"))
    assert (score.value, score.low) == (0.0, None)


def test_one_pair_has_no_interval() -> None:
    score = get_metric("bleu").score(ScoreInput(HYPOTHESES[:1], paired_references=TRUTH[:1], task="prefix"))
    assert score.value is not None
    assert (score.low, score.high) == (None, None)


def read_real() -> tuple[list[str], list[str], dict[str, Any]]:
    folder = DATA / "qqp_bridge_gap_20steps"
    if not folder.is_dir():
        pytest.skip(f"no real model outputs at {folder}: set TDBENCH_DATA")
    with gzip.open(folder / "mbr.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    recorded = json.loads((folder / "recorded_scores.json").read_text())
    return [row["recover"] for row in rows], [row["reference"] for row in rows], recorded


def nltk_method4(hypothesis: list[str], reference: list[str], order: int = 4) -> float:
    """Sentence BLEU as the authors computed it: a zero match of order n counts 1 / (2^k * 5 / ln length), k = 1, 2, ...
    (Chen and Cherry 2014, method 4, in the form NLTK gives it)."""
    matches = [(count_ngrams(hypothesis, n) & count_ngrams(reference, n)).total() for n in range(1, order + 1)]
    if not matches[0]:
        return 0.0
    logs, zeros = [], 1
    for n, match in enumerate(matches, start=1):
        smoothed: float = match
        if not match and len(hypothesis) > 1:
            smoothed = 1 / (2**zeros * 5 / math.log(len(hypothesis)))
            zeros += 1
        if not smoothed:
            return 0.0
        logs.append(math.log(smoothed / max(1, len(hypothesis) - n + 1)))
    return math.exp(min(0.0, 1 - len(reference) / len(hypothesis)) + sum(logs) / order)


def test_real_outputs_give_the_recorded_sentence_bleu_from_our_ngrams() -> None:
    texts, truth, recorded = read_real()
    for order in (1, 2, 3, 4):
        values = [nltk_method4(a.split(), b.split(), order) for a, b in zip(texts, truth, strict=True)]
        assert statistics.fmean(values) == pytest.approx(recorded[f"sentence_bleu_{order}"], abs=1e-9)


def test_real_outputs_give_the_recorded_distinct() -> None:
    texts, _, recorded = read_real()
    # The authors cut punctuation from words (NLTK WordPunct); our tokens are split at white space.
    cut = [" ".join(word_punct(text)) for text in texts]
    for n in (1, 2, 3):
        found = get_metric(f"distinct_{n}").score(ScoreInput(cut)).value
        assert found == pytest.approx(recorded[f"corpus_distinct_{n}"], abs=5e-5)  # recorded to 4 digits


def word_punct(text: str) -> list[str]:
    """Runs of word characters and runs of punctuation."""
    return re.findall(r"\w+|[^\w\s]+", text)


def test_real_outputs_corpus_bleu_is_sacrebleus() -> None:
    texts, truth, _ = read_real()
    score = get_metric("bleu").score(ScoreInput(texts, paired_references=truth, task="seq2seq"))
    assert score.value == pytest.approx(BLEU().corpus_score(texts, [truth]).score)
    assert score.low is not None
    assert score.high is not None
    assert 1 < score.high - score.low < 5
    assert score.detail["pairs"] == 1091
