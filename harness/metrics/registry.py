"""Metrics by name."""

from __future__ import annotations

from functools import cache

from harness.errors import unknown
from harness.metrics import (
    bertscore,
    bleu_diffuseq,
    candidates,
    distinct,
    entropy,
    mauve,
    overlap,
    paraphrase,
    perplexity,
    repetition,
    rouge,
    self_bleu,
    toy,
)
from harness.metrics.base import Metric
from harness.metrics.hf_evaluate import PREFIX, evaluate_metric

_MODULES = (
    *(perplexity, entropy, distinct, repetition, self_bleu, mauve),
    *(overlap, bleu_diffuseq, rouge, bertscore, candidates, toy, paraphrase),
)


@cache
def all_metrics() -> dict[str, Metric]:
    """Every built-in metric by name, in the order of the report's columns."""
    return {metric.name: metric for module in _MODULES for metric in module.METRICS}


def get_metric(name: str) -> Metric:
    """A metric by name; ``evaluate:NAME`` is one of Hugging Face's, by name or path of its script; ``bertscore:MODEL``
    is BERTScore with a model of the user's.

    Raises:
        UserError: for an unknown name, with the nearest known one.
        MissingPackage: for ``evaluate:`` where that package is not installed.
    """
    if name.startswith(PREFIX):
        return evaluate_metric(name)
    if name.startswith(bertscore.PREFIX):
        return bertscore.bertscore_metric(name)
    metrics = all_metrics()
    if name not in metrics:
        raise unknown("metric", name, [*metrics, f"{PREFIX}NAME", f"{bertscore.PREFIX}MODEL"])
    return metrics[name]
