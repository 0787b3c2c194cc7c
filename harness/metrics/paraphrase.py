"""Exact figures of the benchmark `toy_paraphrase`: what every sentence means is known, so nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from harness.metrics.base import Metric, Score, ScoreInput
from harness.stats import bootstrap_ratio

if TYPE_CHECKING:
    from benchmarks.paraphrase.exact import ParaphraseVerdict

Test = Callable[["ParaphraseVerdict"], bool]


@lru_cache(maxsize=2)
def _verdicts(texts: tuple[str, ...], sources: tuple[str, ...]) -> list[ParaphraseVerdict]:
    """The verdicts, parsed once for all figures."""
    from benchmarks.paraphrase.exact import judge_all

    return judge_all(texts, sources)


def paraphrase_share(data: ScoreInput, test: Test) -> Score:
    """Share of the texts that pass a test; the interval resamples texts."""
    verdicts = _verdicts(tuple(data.texts), tuple(data.sources or ()))
    passed = [float(test(verdict)) for verdict in verdicts]
    detail = {
        "texts": len(verdicts),
        "valid": sum(v.valid for v in verdicts),
        "same_meaning": sum(v.same_meaning for v in verdicts),
        "copies": sum(v.copy for v in verdicts),
        "same_meaning_and_no_copy": sum(v.paraphrase for v in verdicts),
    }
    whole = [1.0] * len(verdicts)
    return Score(sum(passed) / len(passed), *bootstrap_ratio(passed, whole, data.seed), detail=detail)


METRICS = (
    Metric(
        name="paraphrase_success",
        version=1,
        unit="share",
        better="higher",
        needs=frozenset({"sources"}),
        compute=partial(paraphrase_share, test=lambda v: v.paraphrase),
        summary="share of texts that mean what their source means and are no copy of it (toy paraphrase)",
    ),
    Metric(
        name="paraphrase_meaning",
        version=1,
        unit="share",
        better="higher",
        needs=frozenset({"sources"}),
        compute=partial(paraphrase_share, test=lambda v: v.same_meaning),
        summary="share of texts that are valid and mean what their source means, copies among them (toy paraphrase)",
    ),
    Metric(
        name="paraphrase_valid",
        version=1,
        unit="share",
        better="higher",
        needs=frozenset({"sources"}),
        compute=partial(paraphrase_share, test=lambda v: v.valid),
        summary="share of texts that are a sentence of the language (toy paraphrase)",
    ),
    Metric(
        name="paraphrase_copy",
        version=1,
        unit="share",
        better="lower",
        needs=frozenset({"sources"}),
        compute=partial(paraphrase_share, test=lambda v: v.copy),
        summary="share of texts that only copy their source (toy paraphrase)",
    ),
)
