"""The score stage: from the stored samples of a run to scores.jsonl. Works offline, on finished and half-finished runs.

A score is kept as long as its key is the same: point, metric, version, settings, samples. A metric that gives no figure
is a row with the reason; it is tried again by the next run, since a package or a judge may be there then. So is a
figure that was stored before rows had the values of single samples.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from harness.convergence import Measures, converge
from harness.errors import UserError
from harness.metrics import Metric, Score, ScoreInput, get_metric, missing
from harness.metrics.base import SampleValues
from harness.progress import describe
from harness.store import Record, RunStore
from harness.worker.jsonl import read_lines

if TYPE_CHECKING:
    from harness.metrics.judge import Judge

ERROR_LOG = "score_errors.log"
_DIGITS = 10


@dataclass
class ScoreSummary:
    """What a score run did.

    Attributes:
        computed: figures computed and stored.
        kept: figures that were there already.
        missing: metrics without a figure; the rows say why.
        exceptions: those of them where a metric broke; tracebacks are in `ERROR_LOG` in the run folder.
        unfinished: points whose samples are not complete, in words.
    """

    computed: int = 0
    kept: int = 0
    missing: int = 0
    exceptions: int = 0
    unfinished: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for a person."""
        parts = [f"{self.computed} figures computed", f"{self.kept} kept", f"{self.missing} not available"]
        if self.exceptions:
            parts.append(f"{self.exceptions} of them by an exception, see {ERROR_LOG}")
        if self.unfinished:
            parts.append(f"{len(self.unfinished)} points not finished")
        return "scores: " + ", ".join(parts)


def score(
    store: RunStore,
    metrics: Sequence[str] | None = None,
    judge: str | None = None,
    force: bool = False,
    progress: TextIO = sys.stderr,
) -> ScoreSummary:
    """Compute metrics of every finished generate point of a run and append them to scores.jsonl; of traced points also
    figures of their states, to convergence.jsonl.

    Args:
        store: the run.
        metrics: names; None for those the benchmark lists.
        judge: folder or Hub name; None for the benchmark's own.
        force: compute again what is there already.
        progress: where progress is shown.

    Raises:
        UserError: for an unknown metric, or a judge named here that cannot be used.
    """
    scorer = _Scorer(store, judge, force)
    points, unfinished = _finished_points(store)
    scorer.summary.unfinished.extend(describe(point) for point in unfinished)
    plans = [(point, scorer.metrics_of(point, metrics)) for point in points]
    bar = tqdm(plans, file=progress, desc="score", disable=not progress.isatty(), leave=False)
    for point, wanted in bar:
        began = time.monotonic()
        scorer.score_point(point, wanted)
        if not progress.isatty():
            print(f"score {describe(point)}: {time.monotonic() - began:.1f} s", file=progress, flush=True)
    for point in unfinished:
        print(f"score {describe(point)}: left out, its samples are not complete", file=progress)
    began = time.monotonic()
    traced = converge(store, points, lambda point: scorer.measures_of(point, metrics), force)
    if traced:
        print(f"score states of {traced} traced points: {time.monotonic() - began:.1f} s", file=progress, flush=True)
    print(scorer.summary.line(), file=progress, flush=True)
    return scorer.summary


def digest_of(texts: Sequence[str] | Sequence[Sequence[str]]) -> str:
    """Digest of texts, or of lists of texts, in order, 16 hex digits."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]


def _finished_points(store: RunStore) -> tuple[list[Record], list[Record]]:
    """Generate points with all their samples, and those without. Points with another's samples are in neither."""
    rows = store.rows()
    finished: list[Record] = []
    unfinished: list[Record] = []
    for point in store.points():
        status = rows.get(point["fingerprint"], {}).get("status")
        if point["kind"] != "generate" or status in ("same_as", "not_available"):
            continue
        complete = len(store.samples(point["fingerprint"])) == point["samples"]
        (finished if complete else unfinished).append(point)
    return finished, unfinished


def _key(row: Record) -> str:
    parts = [row["point"], row["metric"], row["version"], row["settings"], row["samples_digest"]]
    return json.dumps(parts, sort_keys=True)


def written_part(text: str, prefix: str, suffix: str) -> str:
    """`text` without what was given of it; a text that does not hold the given part is returned whole."""
    if text.startswith(prefix) and text.endswith(suffix) and len(text) >= len(prefix) + len(suffix):
        return text[len(prefix) : len(text) - len(suffix)].strip()
    return text


class _Scorer:
    """State of one score run: what is stored, the judges loaded so far, the benchmarks read so far."""

    def __init__(self, store: RunStore, judge: str | None, force: bool) -> None:
        self.summary = ScoreSummary()
        self._store = store
        self._judge_name = judge
        self._force = force
        self._stored = {_key(row): row for row in store.scores()}
        self._judges: dict[str, tuple[Judge | None, str | None]] = {}

    def metrics_of(self, point: Record, names: Sequence[str] | None) -> list[Metric]:
        """The metrics of a point: those asked for, or those of its benchmark."""
        return [get_metric(name) for name in (names or self._facts(point)["metrics"])]

    def score_point(self, point: Record, metrics: Sequence[Metric]) -> None:
        """Compute what is not stored yet; one row a metric."""
        facts = self._facts(point)
        needs_judge = any("judge" in metric.needs for metric in metrics)
        judge, problem = self._judge(facts) if needs_judge else (None, None)
        data = self._input(point, facts, judge)
        for metric in metrics:
            row = {"point": point["fingerprint"], "metric": metric.name, "version": metric.version}
            row |= {"settings": _settings(metric, data), "samples_digest": _scored_digest(metric, data)}
            stored = self._stored.get(_key(row))
            known = stored is not None and stored["value"] is not None and not self._force
            if known and "samples" in (stored or {}):
                self.summary.kept += 1
                continue
            lacks_judge = problem is not None and "judge" in metric.needs
            result = missing(problem or "") if lacks_judge else self._compute(metric, data, point)
            if known and result.value is None:  # what gave the figure is gone, the figure is not
                self.summary.kept += 1
                continue
            self._append(row | _outcome(metric, result), stored)

    def measures_of(self, point: Record, names: Sequence[str] | None) -> Measures:
        """What the states of a traced point are measured with."""
        facts = self._facts(point)
        judged = self._judge_name or any("judge" in metric.needs for metric in self.metrics_of(point, names))
        judge, problem = self._judge(facts) if judged else (None, None)
        data = self._input(point, facts, judge)
        if point["task"] not in ("prefix", "infill"):
            return Measures(data, self.metrics_of(point, None), problem, lambda _, text: text)
        given = self._given(point)
        return Measures(data, self.metrics_of(point, None), problem, lambda i, text: written_part(text, *given[i]))

    def _append(self, row: Record, stored: Record | None) -> None:
        self.summary.computed += row["value"] is not None
        self.summary.missing += row["value"] is None
        if row != stored:
            self._store.append_score(row)

    def _compute(self, metric: Metric, data: ScoreInput, point: Record) -> Score:
        try:
            result = metric.score(data)
            # What is no JSON is a fault of the metric too.
            json.dumps([dict(result.detail), _stored_samples(result.samples)], allow_nan=False)
        except UserError as error:
            return missing(str(error))
        except Exception as error:  # the boundary of a metric: whatever breaks inside is a row, and the others go on
            self.summary.exceptions += 1
            with open(self._store.folder / ERROR_LOG, "a", encoding="utf-8") as log:
                log.write(f"{metric.name} of {describe(point)} ({point['fingerprint']})\n{traceback.format_exc()}\n")
            return missing(f"exception: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        figures = (result.value, result.low, result.high)
        if any(figure is not None and not math.isfinite(figure) for figure in figures):
            return missing(f"the figure or its interval is not a finite number: {result.value}")
        return result

    def _judge(self, facts: Record) -> tuple[Judge | None, str | None]:
        """The judge, or why there is none. One that the user named must be there, the benchmark's own need not."""
        name = self._judge_name or facts.get("judge")
        if not name:
            return None, None
        if name not in self._judges:
            from harness.metrics.judge import load_judge  # brings torch and transformers

            try:
                self._judges[name] = (load_judge(name), None)
            except UserError as error:
                if self._judge_name:
                    raise
                self._judges[name] = (None, str(error))
        return self._judges[name]

    def _facts(self, point: Record) -> Record:
        path = self._store.benchmark_data(point["benchmark"]) / "benchmark.json"
        facts: Record = json.loads(path.read_text(encoding="utf-8"))
        return facts

    def _input(self, point: Record, facts: Record, judge: Judge | None) -> ScoreInput:
        folder = self._store.benchmark_data(point["benchmark"])
        samples = self._store.samples(point["fingerprint"])
        texts = [sample["text"] for sample in samples]
        references = [line["text"] for line in read_lines(folder / "references.jsonl")]
        if point["task"] == "unconditional":
            return ScoreInput(texts, references, None, task=point["task"], facts=facts, judge=judge)
        prompts = self._store.prompts(point)[: len(texts)]
        if point["task"] == "seq2seq":
            paired = [line["references"] for line in prompts]
            sources = [line["source"] for line in prompts]
            chosen_from = [sample["candidates"] for sample in samples] if point.get("selection") else None
            return ScoreInput(
                texts,
                references,
                paired if all(paired) else None,
                sources if all(sources) else None,
                chosen_from,
                point["task"],
                facts,
                judge,
            )
        given = self._given(point)[: len(texts)]
        written = [written_part(text, *prompt) for text, prompt in zip(texts, given, strict=True)]
        truth = [written_part(text, *prompt) for text, prompt in zip(references, given, strict=False)]
        # A prompt benchmark has no true continuations: nothing to compare with, rather than an empty list of them.
        paired = [[text] for text in truth]
        return ScoreInput(written, truth, paired or None, task=point["task"], facts=facts, judge=judge)

    def _given(self, point: Record) -> list[tuple[str, str]]:
        """What is given of each text of a point: its start, and for infill its end."""
        suffixed = point["task"] == "infill"
        return [(line["prefix"], line["suffix"] if suffixed else "") for line in self._store.prompts(point)]


def _scored_digest(metric: Metric, data: ScoreInput) -> str:
    """Digest of what a metric reads of the samples."""
    return digest_of((data.candidates if "candidates" in metric.needs else None) or data.texts)


def _settings(metric: Metric, data: ScoreInput) -> dict[str, Any]:
    """The metric's own settings, and the digest of what the samples are compared with."""
    settings = metric.settings(data)
    if "sources" in metric.needs:
        settings = {**settings, "sources_digest": digest_of(data.sources or ())}
    if "paired_references" in metric.needs:
        return {**settings, "references_digest": digest_of(data.paired_references or ())}
    if "references" in metric.needs:
        return {**settings, "references_digest": digest_of(data.references)}
    return settings


def _outcome(metric: Metric, result: Score) -> Record:
    """The figure part of a row."""
    return {
        "value": result.value,
        "low": result.low,
        "high": result.high,
        "unit": metric.unit,
        "better": metric.better,
        "reason": result.reason,
        "detail": dict(result.detail),
        "samples": _stored_samples(result.samples),
    }


def _stored_samples(samples: SampleValues | None) -> Record | None:
    """Of each sample what the figure is made of, to `_DIGITS` digits: the file is many times smaller for it."""
    if samples is None:
        return None
    rows = [[_short(number) for number in row] for row in samples.rows]
    return {"statistic": samples.statistic, "rows": rows}


def _short(number: float) -> float:
    """Whole numbers as such, others rounded."""
    value = float(number)
    return int(value) if value.is_integer() else float(f"{value:.{_DIGITS}g}")
