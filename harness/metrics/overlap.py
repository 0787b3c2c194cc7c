"""Overlap with the true text of each sample, by sacrebleu and with its signature.

With several true texts a sample, sacrebleu's own rules hold: BLEU clips each n-gram by its largest count in any of them
and takes the length nearest to the sample's; chrF takes the best of them for each sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput

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


def overlap(data: ScoreInput, kind: Kind, statistic: str) -> Score:
    """Corpus BLEU or chrF, 0..100, by sacrebleu; the interval resamples samples.

    Args:
        data: the samples.
        kind: what sacrebleu computes.
        statistic: the name of that in `harness.paired.STATISTICS`.
    """
    from harness.paired import figure_of  # which needs this package

    metric = _sacrebleu_metric(kind)
    paired = data.paired_references or ()
    # Counts of each sample: what sacrebleu's own bootstrap and paired tests sum.
    rows = metric._extract_corpus_statistics(list(data.texts), streams(paired))
    result, samples = metric._aggregate_and_compute(rows), SampleValues(statistic, rows)
    detail = {
        "signature": str(metric.get_signature()),
        "pairs": len(paired),
        "references": sum(map(len, paired)),
    }
    return Score(float(result.score), *figure_of(samples, data.seed)[1:], detail=detail, samples=samples)


def _settings(data: ScoreInput, kind: Kind) -> dict[str, Any]:
    metric = _sacrebleu_metric(kind)
    # A signature is only known after a score with its number of references.
    counts = sorted({len(references) for references in data.paired_references or (("",),)})
    metric.corpus_score(["a"] * len(counts), streams([["a"] * count for count in counts]))
    return {"signature": str(metric.get_signature())}


def _metric(name: str, kind: Kind, statistic: str, title: str, summary: str) -> Metric:
    return Metric(
        name=name,
        version=1,
        unit=f"{title}, 0..100",
        better="higher",
        needs=frozenset({"paired_references"}),
        compute=partial(overlap, kind=kind, statistic=statistic),
        summary=summary,
        settings=partial(_settings, kind=kind),
    )


METRICS = (
    _metric("bleu", BLEU, "bleu", "BLEU", "BLEU against the true texts of each sample, by sacrebleu"),
    _metric("chrf", CHRF, "chrf", "chrF2", "chrF2 against the true texts of each sample, by sacrebleu"),
    _metric(
        "bleu_fairseq",
        FAIRSEQ,
        "bleu_unsmoothed",
        "BLEU",
        "tokenised corpus BLEU as fairseq-score prints it: texts as they stand, split at white space, no smoothing",
    ),
)
