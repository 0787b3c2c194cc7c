"""Overlap with the true text of each sample, by sacrebleu and with its signature.

With several true texts a sample, sacrebleu's own rules hold: BLEU clips each n-gram by its largest count in any of them
and takes the length nearest to the sample's; chrF takes the best of them for each sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from harness.metrics.base import Metric, Score, ScoreInput
from harness.stats import RESAMPLES

Kind = tuple[str, Mapping[str, Any]]

# force: no warning about tokenised text, once for every row; the benchmark says what its text is.
BLEU: Kind = ("BLEU", {"force": True})
CHRF: Kind = ("CHRF", {})
#: What fairseq-score and fairseq-generate print: no tokenisation but white space, no smoothing. They take one
#: reference; several are treated as sacrebleu does.
FAIRSEQ: Kind = ("BLEU", {"tokenize": "none", "smooth_method": "none", "force": True})


def _sacrebleu_metric(kind: Kind) -> Any:
    import sacrebleu.metrics

    name, settings = kind
    return getattr(sacrebleu.metrics, name)(**settings)


def streams(paired: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References as sacrebleu wants them: the first of every sample, the second of every sample, ...; None where a
    sample has fewer."""
    most = max(len(references) for references in paired)
    return [[references[i] if i < len(references) else None for references in paired] for i in range(most)]


def overlap(data: ScoreInput, kind: Kind) -> Score:
    """Corpus BLEU or chrF, 0..100, with sacrebleu's own bootstrap interval."""
    metric = _sacrebleu_metric(kind)
    paired = data.paired_references or ()
    result = metric.corpus_score(list(data.texts), streams(paired), n_bootstrap=RESAMPLES)
    signature = str(metric.get_signature())
    told = json.loads(result.format(width=6, signature=signature, is_json=True))
    low, high = None, None
    if len(paired) > 1 and "confidence_mean" in told:
        low = max(0.0, told["confidence_mean"] - told["confidence_var"])
        high = told["confidence_mean"] + told["confidence_var"]
    detail = {"signature": signature, "pairs": len(paired), "references": sum(map(len, paired))}
    return Score(float(result.score), low, high, detail=detail)


def _settings(data: ScoreInput, kind: Kind) -> dict[str, Any]:
    metric = _sacrebleu_metric(kind)
    # A signature is only known after a score with its number of references.
    counts = sorted({len(references) for references in data.paired_references or (("",),)})
    metric.corpus_score(["a"] * len(counts), streams([["a"] * count for count in counts]))
    return {"signature": str(metric.get_signature())}


def _metric(name: str, kind: Kind, title: str, summary: str) -> Metric:
    return Metric(
        name=name,
        version=1,
        unit=f"{title}, 0..100",
        better="higher",
        needs=frozenset({"paired_references"}),
        compute=partial(overlap, kind=kind),
        summary=summary,
        settings=partial(_settings, kind=kind),
    )


METRICS = (
    _metric("bleu", BLEU, "BLEU", "BLEU against the true texts of each sample, by sacrebleu"),
    _metric("chrf", CHRF, "chrF2", "chrF2 against the true texts of each sample, by sacrebleu"),
    _metric(
        "bleu_fairseq",
        FAIRSEQ,
        "BLEU",
        "tokenised corpus BLEU as fairseq-score prints it: texts as they stand, split at white space, no smoothing",
    ),
)
