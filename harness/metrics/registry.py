"""Metrics by name."""

from __future__ import annotations

from functools import cache

from harness.errors import unknown
from harness.metrics import distinct, entropy, mauve, overlap, perplexity, repetition, self_bleu, toy
from harness.metrics.base import Metric
from harness.metrics.hf_evaluate import PREFIX, evaluate_metric

_MODULES = (perplexity, entropy, distinct, repetition, self_bleu, mauve, overlap, toy)


@cache
def all_metrics() -> dict[str, Metric]:
    """Every built-in metric by name, in the order of the report's columns."""
    return {metric.name: metric for module in _MODULES for metric in module.METRICS}


def get_metric(name: str) -> Metric:
    """A metric by name; ``evaluate:NAME`` is one of Hugging Face's, by name or path of its script.

    Raises:
        UserError: for an unknown name, with the nearest known one.
        MissingPackage: for ``evaluate:`` where that package is not installed.
    """
    if name.startswith(PREFIX):
        return evaluate_metric(name)
    metrics = all_metrics()
    if name not in metrics:
        raise unknown("metric", name, [*metrics, f"{PREFIX}NAME"])
    return metrics[name]
