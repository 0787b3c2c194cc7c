"""How a text comes about inside a run: what is measured of the recorded states (`harness.worker.trace`) of each point.

Of every kept state, over the traced sequences:

* ``settled``: share of the finished text's tokens that stand from this state on to the end, as far as the kept states
  show; ``same``: share that are right now what they are in the end; ``masked``: share of positions with a mask.
* ``ppl``: the judge's perplexity, token-weighted, of the text without its masks: each run of masks, with the space
  around it, becomes one space. ``ratio``: that perplexity by the finished text's.
* the first metric of the benchmark that is better when higher and needs no judge and no set of references, and the
  unigram entropy where the benchmark has it, both of the text without its masks.

Shares and perplexities have 95 % percentile bootstrap intervals over sequences; a resample is the same for all states,
so that the interval of ``ratio`` is that of a paired comparison. Lines of convergence.jsonl are kept as scores are.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.traces import MASK_TEXT, Trace
from harness import stats
from harness.metrics.base import Metric, ScoreInput
from harness.paired import percentile_ends
from harness.store import Record, RunStore
from harness.worker.trace import StoredTrace

#: Raised whenever the same states would give other figures.
VERSION = 1
_MASKS = re.compile(rf"\s*{MASK_TEXT}[{MASK_TEXT}\s]*")
#: What a metric may need to be measured of states.
_GIVEN = {"sources", "paired_references"}
ENTROPY = "unigram_entropy"

Floats = npt.NDArray[np.float64]
#: Value, lower and upper end; None where it is not known.
Figure = list[float | None] | None


@dataclass(frozen=True)
class Measures:
    """What the states of a point are measured with.

    Attributes:
        data: what its samples are scored with; its texts play no part.
        metrics: those of the benchmark.
        problem: why there is no judge, None where there is.
        written: index and text of a sequence -> what of it the model wrote.
    """

    data: ScoreInput
    metrics: Sequence[Metric]
    problem: str | None
    written: Callable[[int, str], str]


def converge(store: RunStore, points: Sequence[Record], measures: Callable[[Record], Measures], force: bool) -> int:
    """Measure the traces of some points and append what is new to convergence.jsonl.

    Args:
        store: the run.
        points: those that may be traced.
        measures: what a point is measured with.
        force: measure again what is there already.

    Returns:
        how many points have been measured.
    """
    traces, known = store.traces(), store.convergence()
    done = 0
    for point in points:
        trace = traces.get(point["fingerprint"])
        if trace is None:
            continue
        found = measures(point)
        head = {"point": point["fingerprint"], "version": VERSION, "settings": _settings(found)}
        head["trace_digest"] = _digest(trace)
        stored = known.get(point["fingerprint"], {})
        if not force and not stored.get("reasons") and all(stored.get(key) == value for key, value in head.items()):
            continue
        line = head | measure(trace, found)
        if line != stored:
            store.append_convergence(line)
            done += 1
    return done


def _digest(stored: StoredTrace) -> str:
    trace = stored.trace
    return hashlib.sha256(json.dumps([trace.done, trace.tokens, trace.texts]).encode()).hexdigest()[:16]


def _settings(measures: Measures) -> Record:
    judge, metric = measures.data.judge, quality_metric(measures.metrics)
    return {
        "judge": judge.settings() if judge else None,
        "metric": [metric.name, metric.version] if metric else None,
        "masks": "left out",
    }


def quality_metric(metrics: Sequence[Metric]) -> Metric | None:
    """The first that is better when higher and can be measured of a few texts by themselves."""
    return next((m for m in metrics if m.better == "higher" and m.needs <= _GIVEN), None)


def without_masks(text: str) -> str:
    """`text` with one space for each run of masks and the space around it."""
    return " ".join(part for part in _MASKS.split(text) if part)


def measure(stored: StoredTrace, measures: Measures) -> Record:
    """The figures of every kept state, oldest first."""
    trace = stored.trace
    texts = [[without_masks(measures.written(i, t)) for i, t in enumerate(state)] for state in trace.texts]
    draws = _draws(len(trace.texts[0]))
    shares, why_no_shares = _shares(trace, draws)
    judged, why_not_judged = _judged(texts, measures, draws)
    metric = quality_metric(measures.metrics)
    entropy = next((m for m in measures.metrics if m.name == ENTROPY), None)
    states = [
        {
            "done": trace.done[i],
            **shares[i],
            **judged[i],
            "entropy": _figure(entropy, texts[i], measures.data),
            "metric": _figure(metric, texts[i], measures.data),
        }
        for i in range(len(texts))
    ]
    reasons = {"tokens": why_no_shares, "ppl": why_not_judged}
    return {
        "steps": stored.steps,
        "sequences": len(trace.texts[0]),
        "of_samples": stored.of_samples,
        "seconds": stored.seconds,
        "metric": metric.name if metric else None,
        "reasons": {key: reason for key, reason in reasons.items() if reason},
        "states": states,
    }


def _draws(sequences: int) -> Floats:
    """How often each resample [R] draws each sequence [B]; R is 0 for a single one, which has no interval."""
    rng = np.random.default_rng(0)
    resamples = stats.RESAMPLES if sequences > 1 else 0
    return rng.multinomial(sequences, [1 / sequences] * sequences, size=resamples).astype(np.float64)


def _shares(trace: Trace, draws: Floats) -> tuple[list[Record], str | None]:
    """settled, same and masked of each state, and why they are not known."""
    nothing: Record = dict.fromkeys(("settled", "same", "masked"))
    lengths = np.array([len(row) for row in trace.tokens[-1]] if trace.tokens else [0.0], dtype=np.float64)
    if not trace.tokens:
        return [nothing] * len(trace.texts), "recorded by an earlier version, which kept no token ids"
    if not lengths.sum():
        return [nothing] * len(trace.texts), "no token was written"
    kept: list[list[bool]] = [[True] * len(row) for row in trace.tokens[-1]]
    out = []
    for state in reversed(trace.tokens):
        same = [
            [now == end for now, end in zip(*rows, strict=True)] for rows in zip(state, trace.tokens[-1], strict=True)
        ]
        kept = [[a and b for a, b in zip(*rows, strict=True)] for rows in zip(kept, same, strict=True)]
        counts = {"settled": map(sum, kept), "same": map(sum, same), "masked": (row.count(None) for row in state)}
        out.append(
            {name: _ratio(np.array(list(each), dtype=np.float64), lengths, draws) for name, each in counts.items()}
        )
    return out[::-1], None


def _ratio(part: Floats, whole: Floats, draws: Floats) -> list[float | None]:
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = (draws @ part) / (draws @ whole)
    return [float(part.sum() / whole.sum()), *percentile_ends(resampled)]


def _judged(texts: list[list[str]], measures: Measures, draws: Floats) -> tuple[list[Record], str | None]:
    """ppl and ratio of each state, and why they are not known."""
    nothing: Record = dict.fromkeys(("ppl", "ratio"))
    judge = measures.data.judge
    if judge is None:
        return [nothing] * len(texts), measures.problem or "no judge: give one with judge=FOLDER"
    distinct = list(dict.fromkeys(text for state in texts for text in state))
    found = dict(zip(distinct, judge.nll(distinct), strict=True))
    final = [found[text] for text in texts[-1]]
    bad, first = judge.unscorable(texts[-1])
    if bad:
        return [nothing] * len(texts), f"the judge cannot encode {bad} of {len(final)} finished texts: {first}"
    end = _per_token(final, draws)
    if end is None:
        return [nothing] * len(texts), "all finished texts are empty"
    return [_against(_per_token([found[text] for text in state], draws), end) for state in texts], None


def _per_token(nlls: Sequence[Any], draws: Floats) -> tuple[float, Floats] | None:
    """Nats a judge token, of the sequences and of each resample; None where a text is unscorable or all are empty."""
    if any(nll is None for nll in nlls):
        return None
    nats, tokens = (np.array([nll[i] for nll in nlls], dtype=np.float64) for i in (0, 1))
    if not tokens.sum():
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(nats.sum() / tokens.sum()), (draws @ nats) / (draws @ tokens)


def _against(state: tuple[float, Floats] | None, end: tuple[float, Floats]) -> Record:
    if state is None:
        return dict.fromkeys(("ppl", "ratio"))
    return {
        "ppl": [math.exp(state[0]), *map(_exp, percentile_ends(state[1]))],
        "ratio": [math.exp(state[0] - end[0]), *map(_exp, percentile_ends(state[1] - end[1]))],
    }


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def _figure(metric: Metric | None, texts: list[str], data: ScoreInput) -> Figure:
    """A metric of one state; None where it has no figure, as of a state of nothing but masks."""
    if metric is None or not any(texts):
        return None
    count = len(texts)
    mine = replace(
        data,
        texts=texts,
        sources=data.sources[:count] if data.sources else None,
        paired_references=data.paired_references[:count] if data.paired_references else None,
        judge=None,
    )
    score = metric.score(mine)
    return None if score.value is None else [score.value, score.low, score.high]
