"""How different the candidates of one source are, as DiffuSeq's evaluation measures it (scripts/eval_seq2seq.py).

Both depend on the number of candidates (the paper takes 3): compare at equal counts, which stand in the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput, missing
from harness.metrics.ngrams import ngrams
from harness.metrics.sentence_bleu import ORDER, counted, sentence_bleu
from harness.stats import bootstrap_mean


def set_self_bleu(texts: Sequence[str]) -> float:
    """Mean over pairs i < j of the smoothed sentence BLEU-4 of text i against text j, 0..1.

    Args:
        texts: two or more.
    """
    seen = [counted(text) for text in texts]
    values = [sentence_bleu(first, [second]) for first, second in combinations(seen, 2)]
    return sum(values) / len(values)


def set_div_4(texts: Sequence[str]) -> float:
    """Distinct 4-grams over all 4-grams of the texts together; 0 where no text has four words."""
    grams = [gram for text in texts for gram in ngrams(text.split(), ORDER)]
    return len(set(grams)) / len(grams) if grams else 0.0


def over_candidates(data: ScoreInput, figure: Callable[[Sequence[str]], float]) -> Score:
    """Mean over sources of a figure of each one's candidates; the interval resamples sources."""
    sets = data.candidates or ()
    fewest, most = min(map(len, sets)), max(map(len, sets))
    if fewest < 2:
        return missing("a source has fewer than two candidates")
    values = [figure(texts) for texts in sets]
    detail = {"sources": len(values), "candidates": most if most == fewest else [fewest, most]}
    interval = bootstrap_mean(values, data.seed)
    return Score(sum(values) / len(values), *interval, detail=detail, samples=SampleValues.mean(values))


def _settings(data: ScoreInput) -> dict[str, Any]:
    counts = sorted({len(texts) for texts in data.candidates or ()})
    return {"tokens": "words", "candidates": counts or None}


METRICS = tuple(
    Metric(
        name=name,
        version=1,
        unit=unit,
        better="none",
        needs=frozenset({"candidates"}),
        compute=partial(over_candidates, figure=figure),
        summary=summary,
        settings=_settings,
    )
    for name, unit, figure, summary in (
        ("self_bleu_candidates", "BLEU, 0..1", set_self_bleu, "BLEU between the candidates of a source (DiffuSeq)"),
        ("div_4", "share", set_div_4, "distinct 4-grams over all 4-grams of a source's candidates (DiffuSeq)"),
    )
)
