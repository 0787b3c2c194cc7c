"""Exact figures of the benchmark `toy_paraphrase`: what every sentence means is known, so nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from harness.metrics.base import Better, Metric, SampleValues, Score, ScoreInput
from harness.stats import bootstrap_mean

if TYPE_CHECKING:
    from benchmarks.paraphrase.exact import ParaphraseVerdict

Test = Callable[["ParaphraseVerdict"], bool]


@lru_cache(maxsize=2)
def _verdicts(texts: tuple[str, ...], sources: tuple[str, ...]) -> list[ParaphraseVerdict]:
    """The verdicts, parsed once for all figures."""
    from benchmarks.paraphrase.exact import judge_all

    return judge_all(texts, sources)


_SHARES: tuple[tuple[str, Better, Test, str], ...] = (
    (
        "paraphrase_success",
        "higher",
        lambda v: v.paraphrase,
        "mean what their source means and are no copy of it",
    ),
    (
        "paraphrase_meaning",
        "higher",
        lambda v: v.same_meaning,
        "are valid and mean what their source means, copies among them",
    ),
    ("paraphrase_valid", "higher", lambda v: v.valid, "are a sentence of the language"),
    ("paraphrase_copy", "lower", lambda v: v.copy, "only copy their source"),
)


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
    interval = bootstrap_mean(passed, data.seed)
    return Score(sum(passed) / len(passed), *interval, detail=detail, samples=SampleValues.mean(passed))


METRICS = tuple(
    Metric(
        name=name,
        version=1,
        unit="share",
        better=better,
        needs=frozenset({"sources"}),
        compute=partial(paraphrase_share, test=test),
        summary=f"share of texts that {what} (toy paraphrase)",
    )
    for name, better, test, what in _SHARES
)
