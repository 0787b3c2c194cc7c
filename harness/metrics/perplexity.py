"""Generative perplexity: how likely a judge finds the generated texts. It rewards dull text: read unigram_entropy too.

Two aggregations are in use and differ: token-weighted, exp(all nats / all tokens), as MDLM, Duo and ReMDM print it
(`gen_ppl`), and the mean over sequences of each one's own perplexity, as SEDD and RADD print it (`gen_ppl_mean`).
"""

from __future__ import annotations

import math
from typing import Any

from harness.metrics.base import Metric, SampleValues, Score, ScoreInput, missing
from harness.metrics.judge_input import judge_of, unscorable_reason
from harness.stats import bootstrap_mean, bootstrap_ratio


def gen_ppl(data: ScoreInput) -> Score:
    """exp(sum of nats / sum of judge tokens) over all texts; the interval resamples texts."""
    nats, tokens, detail, reason = _nll(data)
    if reason:
        return missing(reason, **detail)
    interval = bootstrap_ratio(nats, tokens, data.seed).map(math.exp)
    samples = SampleValues.quotient("exp_ratio", nats, tokens)
    return Score(math.exp(sum(nats) / sum(tokens)), *interval, detail=detail, samples=samples)


def gen_ppl_mean(data: ScoreInput) -> Score:
    """Mean over texts of exp(nats / judge tokens); texts without a token have none and are left out."""
    nats, tokens, detail, reason = _nll(data)
    if reason:
        return missing(reason, **detail)
    own = [math.exp(n / t) if t else None for n, t in zip(nats, tokens, strict=True)]
    values = [value for value in own if value is not None]
    interval = bootstrap_mean(values, data.seed)
    return Score(sum(values) / len(values), *interval, detail=detail, samples=SampleValues.mean(own))


def _nll(data: ScoreInput) -> tuple[list[float], list[int], dict[str, Any], str | None]:
    """Nats and tokens of the texts that can be scored, the detail, and why there is no figure (None where there is).

    One text that the judge cannot encode is enough for no figure: leaving it out would judge a chosen part of the
    samples. The detail then holds the sums over the others.
    """
    found = judge_of(data).nll(data.texts)
    scored = [(text, nll) for text, nll in zip(data.texts, found, strict=True) if nll is not None]
    detail = {
        "nll_sum": sum(nll.nats for _, nll in scored),
        "tokens": sum(nll.tokens for _, nll in scored),
        "bytes": sum(len(text.encode("utf-8")) for text, _ in scored),
        "sequences": len(scored),
        "empty_texts": sum(nll.tokens == 0 for _, nll in scored),
        "unscorable_texts": len(data.texts) - len(scored),
    }
    reason = unscorable_reason(data, data.texts)
    if reason is None and not detail["tokens"]:
        reason = "all texts are empty"
    return [nll.nats for _, nll in scored], [nll.tokens for _, nll in scored], detail, reason


def _settings(data: ScoreInput) -> dict[str, Any]:
    return judge_of(data).settings() if data.judge else {"judge": None}


METRICS = (
    Metric(
        name="gen_ppl",
        version=1,
        unit="perplexity/judge token",
        better="lower",
        needs=frozenset({"judge"}),
        compute=gen_ppl,
        summary="generative perplexity under the judge, token-weighted over all samples (MDLM, Duo, ReMDM)",
        settings=lambda data: {**_settings(data), "aggregation": "token-weighted"},
    ),
    Metric(
        name="gen_ppl_mean",
        version=1,
        unit="perplexity/judge token",
        better="lower",
        needs=frozenset({"judge"}),
        compute=gen_ppl_mean,
        summary="generative perplexity under the judge, mean of the sequences' own perplexities (SEDD, RADD)",
        settings=lambda data: {**_settings(data), "aggregation": "mean over sequences"},
    ),
)
