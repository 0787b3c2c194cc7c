"""Exact figures of the benchmark `toy`: its true distribution is known, so no judge and no reference is needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput, missing
from harness.stats import bootstrap_ratio

if TYPE_CHECKING:
    from benchmarks.toy.exact import WindowVerdict

Part = Callable[["WindowVerdict"], float]


@lru_cache(maxsize=2)
def _verdicts(texts: tuple[str, ...]) -> list[WindowVerdict]:
    """The verdicts, parsed once for the three figures."""
    from benchmarks.toy.exact import judge_windows

    return judge_windows(texts)


def toy_ratio(data: ScoreInput, part: Part, whole: Part, empty: str) -> Score:
    """sum(part) / sum(whole) over the texts; the interval resamples texts.

    Args:
        data: the samples.
        part: numerator of one text.
        whole: denominator of one text.
        empty: the reason when all denominators are 0.
    """
    verdicts = _verdicts(tuple(data.texts))
    parts, wholes = [part(v) for v in verdicts], [whole(v) for v in verdicts]
    detail = {
        "sentences": sum(v.sentences for v in verdicts),
        "valid": sum(v.valid for v in verdicts),
        "tokens_in_sentences": sum(v.tokens_in_sentences for v in verdicts),
        "tokens_in_valid": sum(v.tokens_in_valid for v in verdicts),
        "nll_valid_nats": sum(v.nll_valid_nats for v in verdicts),
    }
    if not sum(wholes):
        return missing(empty, **detail)
    interval, samples = bootstrap_ratio(parts, wholes, data.seed), SampleValues.quotient("ratio", parts, wholes)
    return Score(sum(parts) / sum(wholes), *interval, detail=detail, samples=samples)


METRICS = (
    Metric(
        name="toy_valid_sentences",
        version=1,
        unit="share",
        better="higher",
        needs=frozenset(),
        compute=partial(
            toy_ratio, part=lambda v: v.valid, whole=lambda v: v.sentences, empty="no text has a complete sentence"
        ),
        summary="share of complete sentences that are in the language of the toy grammar",
    ),
    Metric(
        name="toy_valid_tokens",
        version=1,
        unit="share",
        better="higher",
        needs=frozenset(),
        compute=partial(
            toy_ratio,
            part=lambda v: v.tokens_in_valid,
            whole=lambda v: v.tokens_in_sentences,
            empty="no text has a word",
        ),
        summary="share of the words of complete sentences that are in valid ones",
    ),
    Metric(
        name="toy_nll",
        version=1,
        unit="nats/token",
        better="none",
        needs=frozenset(),
        compute=partial(
            toy_ratio, part=lambda v: v.nll_valid_nats, whole=lambda v: v.tokens_in_valid, empty="no sentence is valid"
        ),
        summary="true -ln p of the valid sentences, per word; compare with the data's own",
    ),
)
