"""ROUGE (Lin 2004) by the package rouge-score: mean over samples of the F-measure, without stemming.

Words are runs of a-z and 0-9 of the lower-cased text, as in torchmetrics' ROUGEScore, which DiffuSeq and Bridge-Gap
use. Letters outside a-z are lost in all of them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput
from harness.stats import bootstrap_mean


def rouge(data: ScoreInput, kind: str) -> Score:
    """Mean of one kind of ROUGE, 0..1. Of several true texts the best one counts, for each figure its own."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], use_stemmer=False)
    pairs = zip(data.texts, data.paired_references or (), strict=True)
    values = [scorer.score_multi(references, text)[kind].fmeasure for text, references in pairs]
    interval, detail = bootstrap_mean(values, data.seed), {"samples": len(values)}
    return Score(sum(values) / len(values), *interval, detail=detail, samples=SampleValues.mean(values))


def _settings(_: ScoreInput) -> dict[str, Any]:
    return {"tokens": "a-z0-9, lower case", "stemmer": False, "references": "best"}


METRICS = tuple(
    Metric(
        name=name,
        version=1,
        unit="F-measure, 0..1",
        better="higher",
        needs=frozenset({"paired_references"}),
        compute=partial(rouge, kind=kind),
        summary=f"{name.replace('_', '-').upper()} F-measure against the true texts, mean over samples",
        settings=_settings,
    )
    for name, kind in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL"))
)
