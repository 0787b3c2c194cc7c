"""BLEU, chrF and fairseq's BLEU against sacrebleu itself, by hand, and on real model outputs."""

from __future__ import annotations

import gzip
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import BLEU, CHRF

from harness.metrics import ScoreInput, get_metric
from harness.metrics.ngrams import count_ngrams
from harness.metrics.overlap import streams

HYPOTHESES = ["the cat sat on the mat", "a dog barked at me", "it rains"]
TRUTH = ["the cat sat on a mat", "the dog barked at me", "it snows"]
PAIRED = [[text] for text in TRUTH]
DATA = Path(os.environ.get("TDBENCH_DATA", Path(__file__).parents[3].parent / "shared" / "data"))


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_equals_sacrebleu_with_its_signature(name: str, metric: Any) -> None:
    score = get_metric(name).score(ScoreInput(HYPOTHESES, paired_references=PAIRED, task="prefix"))
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
    score = get_metric("bleu").score(ScoreInput(["a a", "b b"], paired_references=[["c c"], ["d d"]], task="prefix"))
    assert (score.value, score.low, score.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["bleu", "chrf", "bleu_fairseq"])
def test_interval_where_only_one_text_of_two_has_anything_in_common(name: str) -> None:
    data = ScoreInput(["a b c d e", "x"], paired_references=[["a b c d e"], ["y"]], task="prefix")
    score = get_metric(name).score(data)
    assert score.low == 0.0  # both times the second
    assert score.high == pytest.approx(100)  # both times the first
    assert 0 < (score.value or 0) < 100


def test_interval_is_near_sacrebleus() -> None:
    texts, truth = read_real()
    for name, metric in (("bleu", BLEU(force=True)), ("chrf", CHRF())):
        score = get_metric(name).score(ScoreInput(texts, paired_references=[[text] for text in truth]))
        theirs = metric.corpus_score(texts, [truth], n_bootstrap=1000)
        assert score.low is not None
        assert score.high is not None
        assert score.low == pytest.approx(theirs._mean - theirs._ci, abs=0.15)
        assert score.high == pytest.approx(theirs._mean + theirs._ci, abs=0.15)


def test_one_pair_has_no_interval() -> None:
    score = get_metric("bleu").score(ScoreInput(HYPOTHESES[:1], paired_references=PAIRED[:1], task="prefix"))
    assert score.value is not None
    assert (score.low, score.high) == (None, None)


def read_real() -> tuple[list[str], list[str]]:
    folder = DATA / "qqp_bridge_gap_20steps"
    if not folder.is_dir():
        pytest.skip(f"no real model outputs at {folder}: set TDBENCH_DATA")
    with gzip.open(folder / "mbr.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row["recover"] for row in rows], [row["reference"] for row in rows]


def test_real_outputs_corpus_bleu_is_sacrebleus() -> None:
    texts, truth = read_real()
    paired = [[text] for text in truth]
    score = get_metric("bleu").score(ScoreInput(texts, paired_references=paired, task="seq2seq"))
    assert score.value == pytest.approx(BLEU().corpus_score(texts, [truth]).score)
    assert score.low is not None
    assert score.high is not None
    assert 1 < score.high - score.low < 5
    assert score.detail["pairs"] == 1091


def test_real_outputs_fairseq_bleu_is_the_formula() -> None:
    texts, truth = read_real()
    score = get_metric("bleu_fairseq").score(ScoreInput(texts, paired_references=[[text] for text in truth]))
    assert score.value == pytest.approx(corpus_bleu(texts, [[text] for text in truth]), abs=1e-9)


SEVERAL = [["the cat sat on a mat", "a cat is on the mat"], ["the dog barked at me"], ["it snows", "rain", "it pours"]]


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_several_true_texts(name: str, metric: Any) -> None:
    score = get_metric(name).score(ScoreInput(HYPOTHESES, paired_references=SEVERAL))
    assert score.value == pytest.approx(metric.corpus_score(HYPOTHESES, streams(SEVERAL)).score)
    assert score.value > (get_metric(name).score(ScoreInput(HYPOTHESES, paired_references=PAIRED)).value or 100)
    assert score.detail["references"] == 6
    settings = get_metric(name).settings(ScoreInput(HYPOTHESES, paired_references=SEVERAL))
    for signature in (settings["signature"], score.detail["signature"]):
        assert signature.startswith("nrefs:var|")
        assert signature.endswith(settings["signature"].removeprefix("nrefs:var"))


def test_streams_fill_up_with_none() -> None:
    assert streams([["a", "b"], ["c"]]) == [["a", "c"], ["b", None]]


def corpus_bleu(texts: list[str], paired: list[list[str]]) -> float:
    """Papineni et al. 2002, equations 1 to 3, on words between white space, unsmoothed, 0..100."""
    matches: Counter[int] = Counter()
    totals: Counter[int] = Counter()
    length = wanted = 0
    for text, references in zip(texts, paired, strict=True):
        words, true = text.split(), [reference.split() for reference in references]
        length += len(words)
        wanted += min((abs(len(t) - len(words)), len(t)) for t in true)[1]
        for n in (1, 2, 3, 4):
            most: Counter[Any] = Counter()
            for t in true:
                most |= count_ngrams(t, n)
            matches[n] += (count_ngrams(words, n) & most).total()
            totals[n] += max(0, len(words) - n + 1)
    if not all(matches[n] for n in (1, 2, 3, 4)):
        return 0.0
    logs = sum(math.log(matches[n] / totals[n]) for n in (1, 2, 3, 4)) / 4
    return 100 * math.exp(min(0.0, 1 - wanted / length) + logs)


@pytest.mark.parametrize("paired", [PAIRED, SEVERAL])
def test_fairseq_bleu_by_the_formula(paired: list[list[str]]) -> None:
    texts = ["the cat sat on a mat .", "a dog barked at me !", "it rains"]
    score = get_metric("bleu_fairseq").score(ScoreInput(texts, paired_references=paired))
    assert score.value == pytest.approx(corpus_bleu(texts, paired), abs=1e-9)
    assert score.value > 0
    assert "tok:none|smooth:none" in score.detail["signature"]


def test_fairseq_bleu_is_not_smoothed_and_cuts_no_punctuation() -> None:
    score = get_metric("bleu_fairseq").score(ScoreInput(["a b c", "d e"], paired_references=[["a b c"], ["d e"]]))
    assert score.value == 0.0  # no text has a 4-gram
    joined = ScoreInput(["a b c d e."], paired_references=[["a b c d e ."]])
    assert get_metric("bleu_fairseq").score(joined).value < get_metric("bleu").score(joined).value
