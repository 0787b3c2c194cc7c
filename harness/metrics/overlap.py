"""BLEU and chrF of samples against the true text of each, by sacrebleu, with its signature."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from harness.metrics.base import Metric, Score, ScoreInput
from harness.stats import RESAMPLES


def _sacrebleu_metric(name: str) -> Any:
    from sacrebleu.metrics import BLEU, CHRF

    return {"bleu": BLEU, "chrf": CHRF}[name]()


def overlap(data: ScoreInput, name: str) -> Score:
    """Corpus BLEU or chrF, 0..100, with sacrebleu's own settings and bootstrap interval."""
    metric = _sacrebleu_metric(name)
    references = list(data.paired_references or ())
    result = metric.corpus_score(list(data.texts), [references], n_bootstrap=RESAMPLES)
    signature = str(metric.get_signature())
    told = json.loads(result.format(width=6, signature=signature, is_json=True))
    low, high = None, None
    if len(references) > 1 and "confidence_mean" in told:
        low = max(0.0, told["confidence_mean"] - told["confidence_var"])
        high = told["confidence_mean"] + told["confidence_var"]
    return Score(float(result.score), low, high, detail={"signature": signature, "pairs": len(references)})


def _settings(_: ScoreInput, name: str) -> dict[str, Any]:
    metric = _sacrebleu_metric(name)
    metric.corpus_score(["a"], [["a"]])  # a signature is only known after a score with its number of references
    return {"signature": str(metric.get_signature())}


METRICS = tuple(
    Metric(
        name=name,
        version=1,
        unit=f"{title}, 0..100",
        better="higher",
        needs=frozenset({"paired_references"}),
        compute=partial(overlap, name=name),
        summary=f"{title} against the true text of each sample, by sacrebleu",
        settings=partial(_settings, name=name),
    )
    for name, title in (("bleu", "BLEU"), ("chrf", "chrF2"))
)
