"""BLEU as DiffuSeq's evaluation computes it (scripts/eval_seq2seq.py), which Bridge-Gap and others took over.

The mean over sentences of a smoothed sentence BLEU on the words between white space, 0..1. It is not corpus BLEU: it
weighs short and long sentences alike, and the smoothing keeps sentences without a common 4-gram above 0.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput
from harness.metrics.sentence_bleu import ORDER, counted, sentence_bleu
from harness.stats import bootstrap_mean


def bleu_diffuseq(data: ScoreInput, order: int) -> Score:
    """Mean sentence BLEU up to `order`; the interval resamples sentences.

    The authors have one true text a sample. Several are treated as in `sentence_bleu`: counts clipped by the best of
    them, the nearest length.
    """
    pairs = zip(data.texts, data.paired_references or (), strict=True)
    values = [sentence_bleu(counted(text, order), [counted(truth, order) for truth in true]) for text, true in pairs]
    detail = {"sentences": len(values), "empty_texts": sum(not text.split() for text in data.texts)}
    interval = bootstrap_mean(values, data.seed)
    return Score(sum(values) / len(values), *interval, detail=detail, samples=SampleValues.mean(values))


def _settings(_: ScoreInput, order: int) -> dict[str, Any]:
    return {"tokens": "words", "order": order, "smoothing": "Chen and Cherry 2014, method 4, as in nltk"}


METRICS = tuple(
    Metric(
        name="bleu_diffuseq" if order == ORDER else f"bleu_diffuseq_{order}",
        version=1,
        unit="BLEU, 0..1",
        better="higher",
        needs=frozenset({"paired_references"}),
        compute=partial(bleu_diffuseq, order=order),
        summary=f"mean sentence BLEU-{order}, smoothing 4, words between white space (DiffuSeq, Bridge-Gap)",
        settings=partial(_settings, order=order),
    )
    for order in (ORDER, 1, 2, 3)
)
