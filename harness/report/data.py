"""What a report is made from, and the same rows as plain dicts in which every unknown is None."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from harness import comparable
from harness.metrics.base import SampleValues
from harness.worker.trace import StoredTrace

Row = dict[str, Any]
_T = TypeVar("_T")

#: Whole numbers, which pandas turns into floats as soon as one row lacks them.
WHOLE = (
    *("steps", "seed", "samples", "samples_done", "candidates", "batch_size", "length", "batches", "parameters"),
    *("peak_memory_bytes", "tokens", "bytes", "chars", "words", "nfe_min", "nfe_max", "threads"),
)

#: Figures of likelihood rows; every other column with an interval is a metric.
LIKELIHOOD_FIGURES = ("bits_per_byte", "bits_per_char", "bits_per_token", "nats_per_token", "perplexity")

#: Fields of a point that tell two rows of one place, model and scheduler apart, besides steps, seed and selection.
VARIANT_FIELDS = (
    *("engine", "runtime", "options", "batch_size", "length", "samples", "device", "dtype"),
    *("run", "machine", "threads"),
)
#: Those of them that only a row which ran has, and that its run tells as well where each run has one of them.
_OF_THE_RUN = ("machine", "threads")


@dataclass(frozen=True)
class Given:
    """What a user may ask of a report.

    Attributes:
        steps_budget: "best at up to N steps"; None: chosen from the data.
        seconds_budget: "best within S seconds a sequence"; None: chosen from the data.
        step_pair: the two step counts that are set against each other for every model.
    """

    steps_budget: int | None = None
    seconds_budget: float | None = None
    step_pair: tuple[int, int] = (10, 20)


@dataclass(frozen=True)
class RunFacts:
    """One of the runs that a report is made from.

    Attributes:
        run: its name, different from that of all others in the report.
        folder: where it was read from.
        command: the command that made it.
        created: date and time of its latest invocation.
        machines: what its rows ran on.
        points: how many rows of the report are its own.
        remarks: what was left out of it, or could not be read.
    """

    run: str
    folder: str
    command: str
    created: str
    machines: Sequence[str] = ()
    points: int = 0
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class ReportData:
    """One run, finished or not.

    Attributes:
        run: name of the run.
        command: the command that made it, as typed.
        created: date and time, as run.json has it.
        table: one row a point, columns as `harness.store.table` gives them; any column may be missing.
        samples: by fingerprint, the first texts of a generate point: ``{"index", "text", "nfe"}``, and for a text that
            was chosen ``{"candidates", "chosen"}``.
        sources: by benchmark of pairs, ``{"source", "references"}`` of sample 0, 1, ...
        environment: where the run was made, nested mappings allowed.
        benchmarks: by benchmark, its facts (name, version, metrics, entropy rate, ...).
        scores: long form, one row a point and metric, with settings and detail.
        cards: by model, a summary of its card.
        notes: sentences about what was settled for the user while planning.
        imports: the commands that brought imported rows into the run.
        values: by fingerprint and metric, what a figure is made of, sample by sample; a metric may be missing.
        traces: by fingerprint, the intermediate states of a traced point.
        convergence: by fingerprint of a traced point, what was measured of its states (`harness.convergence`).
        given: what the user asked of the report (`harness.config.ReportConfig`).
        runs: what the report is made from; () for one run that nothing needs to be said of.
        missing: sentences about what could not be read, or was left out in merging.
        sessions: by fingerprint, the worker sessions that measured the point; two rows with the same ones are copies.
    """

    run: str
    command: str
    created: str
    table: pd.DataFrame
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    sources: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    benchmarks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    imports: Sequence[str] = ()
    values: Mapping[str, Mapping[str, SampleValues]] = field(default_factory=dict)
    traces: Mapping[str, StoredTrace] = field(default_factory=dict)
    convergence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    given: Given = field(default_factory=lambda: Given())
    runs: Sequence[RunFacts] = ()
    missing: Sequence[str] = ()
    sessions: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Metric(NamedTuple):
    """A metric of the run: `better` is "higher", "lower" or "none"; settings are the distinct ones, as text."""

    name: str
    title: str
    unit: str
    better: str
    versions: tuple[str, ...]
    settings: tuple[str, ...]


class Estimate(NamedTuple):
    """A figure with its interval; `low` and `high` are None where no interval is known."""

    value: float
    low: float | None
    high: float | None


_TITLES = {
    "gen_ppl": "generative perplexity",
    "gen_ppl_mean": "generative perplexity, mean over sequences",
    "toy_valid_sentences": "share of valid sentences",
    "toy_valid_tokens": "share of words in valid sentences",
    "toy_nll": "true NLL of valid sentences",
    "mauve": "MAUVE",
    "bleu": "BLEU",
    "chrf": "chrF",
    "self_bleu": "self-BLEU",
    "bleu_diffuseq": "BLEU, DiffuSeq's",
    **{f"bleu_diffuseq_{order}": f"BLEU-{order}, DiffuSeq's" for order in (1, 2, 3)},
    "bleu_fairseq": "BLEU, fairseq's",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "dist_1": "dist-1",
    "self_bleu_candidates": "self-BLEU of candidates",
    "div_4": "div-4 of candidates",
    "bertscore": "BERTScore",
    "paraphrase_success": "share of good paraphrases",
    "paraphrase_valid": "share of valid sentences",
    "paraphrase_meaning": "share that keeps the meaning",
    "paraphrase_copy": "share that copies the source",
}


def clean(value: Any) -> Any:
    """`value` as plain Python; NaN, NaT and pandas' NA become None; infinities stay."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, Mapping):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    return value


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame as dicts; unknown values are None, whole numbers are ints again."""
    rows = [{str(k): clean(v) for k, v in record.items()} for record in frame.to_dict("records")]
    for row in rows:
        row |= {k: int(row[k]) for k in WHOLE if isinstance(row.get(k), float) and row[k].is_integer()}
    return rows


def as_text(value: Any) -> str:
    """One line for any value; mappings as ``key=value`` pairs in key order."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{k}={as_text(v)}" for k, v in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(v) for v in value)
    return str(value)


def number(value: Any) -> float | None:
    """`value` as a finite float, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def estimate(row: Row, metric: str) -> Estimate | None:
    """The figure of `metric` in `row`, or None where it is unknown or not finite."""
    value = number(row.get(metric))
    if value is None:
        return None
    return Estimate(value, number(row.get(f"{metric}_low")), number(row.get(f"{metric}_high")))


def unique(values: Iterable[Any]) -> list[Any]:
    """The distinct values in order of first appearance, None left out."""
    return list(dict.fromkeys(v for v in values if v is not None))


def metric_title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " "))


def metrics_of(data: ReportData) -> list[Metric]:
    """Every metric of the run, in order of first appearance in the scores, then those only the table knows."""
    of_metrics = ("metric", "unit", "better", "version", "settings")
    scores = rows_of(data.scores[[column for column in of_metrics if column in data.scores]])
    by_name = group_by(scores, lambda score: score.get("metric"))
    in_order = [str(c) for c in data.table.columns]
    columns = set(in_order)
    only_table = [c for c in in_order if {f"{c}_low", f"{c}_high"} <= columns and c not in LIKELIHOOD_FIGURES]
    found = []
    for name in unique([s.get("metric") for s in scores] + only_table):
        mine = by_name.get(name, [])
        found.append(
            Metric(
                name=str(name),
                title=metric_title(str(name)),
                unit=next((str(s["unit"]) for s in mine if s.get("unit")), ""),
                better=next((str(s["better"]) for s in mine if s.get("better")), "none"),
                versions=tuple(unique(as_text(s.get("version")) for s in mine)),
                settings=tuple(unique(as_text(s.get("settings")) for s in mine)),
            )
        )
    return found


def _model_key(row: Row) -> tuple[Any, ...]:
    return comparable.place(row), row.get("model")


def _variants_key(row: Row) -> tuple[Any, ...]:
    method = row.get("estimator") if row.get("kind") == "likelihood" else row.get("scheduler")
    return *_model_key(row), method, row.get("selection")


def _varying(rows: Sequence[Row]) -> dict[Any, tuple[str, ...]]:
    """By place, model and method, the fields of `VARIANT_FIELDS` in which its rows differ."""
    mine = [r for r in rows if r.get("status") != "same_as"]
    return {key: _differing(same) for key, same in group_by(mine, _variants_key).items()}


def _differing(rows: Sequence[Row]) -> tuple[str, ...]:
    fields = [f for f in VARIANT_FIELDS if len({json.dumps(row.get(f), default=str) for row in rows}) > 1]
    return tuple(f for f in fields if f not in _OF_THE_RUN or _tells_apart(f, rows))


def _tells_apart(field: str, rows: Sequence[Row]) -> bool:
    """Whether rows of one run differ in `field`, those where it is unknown aside."""
    by_run = group_by(rows, lambda row: row.get("run"))
    return any(len(unique(row.get(field) for row in mine)) > 1 for mine in by_run.values())


class Names:
    """Names of rows that are as short as this run allows: what never differs in a place (benchmark and task) within a
    model is left out.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._varying = _varying(rows)
        by_model = group_by(rows, _model_key)
        self._many_seeds = {k for k, mine in by_model.items() if len(unique(r.get("seed") for r in mine)) > 1}
        own = group_by((r for r in rows if not comparable.is_imported(r)), _model_key)
        self._many_checkpoints = {k for k, mine in own.items() if len(unique(r.get("checkpoint") for r in mine)) > 1}
        self._tasks = {
            benchmark: len(unique(r.get("task") for r in mine))
            for benchmark, mine in group_by(rows, lambda r: comparable.place(r)[1]).items()
        }

    def model(self, row: Row) -> str:
        """Model, with its checkpoint where the place has several of that model."""
        name = str(row.get("model") or "?")
        several = _model_key(row) in self._many_checkpoints
        return f"{name} {row.get('checkpoint')}" if several and not comparable.is_imported(row) else name

    def method(self, row: Row) -> str:
        """Scheduler (or estimator) with whatever else tells this row apart from others of its model."""
        varying = self._varying.get(_variants_key(row), ())
        words = [as_text(row.get("estimator") if row.get("kind") == "likelihood" else row.get("scheduler"))]
        words += [_variant(f, row.get(f)) for f in varying]
        words += ["imported"] if comparable.is_imported(row) and "engine" not in varying else []
        return " ".join(w for w in [*words, selection(row)] if w)

    def where(self, row: Row) -> str:
        """The run of a row, where the report has the same model and method from several runs."""
        return _variant("run", row.get("run")) if "run" in self._varying.get(_variants_key(row), ()) else ""

    def row(self, row: Row) -> str:
        """Name in its place: model, method, steps, and the seed where the model has several there."""
        control = row.get("role") == "control" and not row.get("estimator")
        words = [self.model(row), *([selection(row), self.where(row)] if control else [self.method(row)])]
        if row.get("steps") is not None and row.get("role") != "control":
            words.append("1 step" if row["steps"] == 1 else f"{as_text(row['steps'])} steps")
        if row.get("seed") is not None and _model_key(row) in self._many_seeds:
            words.append(f"seed {as_text(row.get('seed'))}")
        return " \u00b7 ".join(w for w in words if w)

    def place(self, row: Row) -> str:
        """Its benchmark where the run has several, and its task where the benchmark has; "" where neither is needed."""
        _, benchmark, task = comparable.place(row)
        words = [as_text(benchmark)] if len(self._tasks) > 1 else []
        words += [as_text(task)] if self._tasks.get(benchmark, 0) > 1 and task else []
        return " ".join(w for w in words if w)

    def full(self, row: Row) -> str:
        """`row`, after its place where that is needed."""
        where = self.place(row)
        return f"{where}: {self.row(row)}" if where else self.row(row)


def selection(row: Row) -> str:
    """What was done to choose among candidates, "" for a row of one text a prompt."""
    if not row.get("selection"):
        return ""
    words = [as_text(row["selection"]).upper()]
    return " of ".join([*words, *([as_text(row["candidates"])] if row.get("candidates") else [])])


def _variant(name: str, value: Any) -> str:
    text = as_text(value)
    return text if not text or name in ("options", "engine", "device", "dtype") else f"{name}={text}"


def is_done(row: Row) -> bool:
    return row.get("status") == "done"


def of_kind(rows: Iterable[Row], kind: str, done: bool = True) -> list[Row]:
    """Rows of kind "generate" or "likelihood"; only finished ones unless `done` is False."""
    return [r for r in rows if r.get("kind") == kind and (not done or is_done(r))]


def row_label(row: Row) -> str:
    """Which kind of checkpoint a row comes from, or that its texts were imported."""
    return "imported" if comparable.is_imported(row) else str(row.get("checkpoint_kind") or "unknown")


def kind_label(rows: Iterable[Row]) -> str:
    """The label every figure and table bears: which kinds of checkpoints its rows come from."""
    labels = {row_label(row) for row in rows} - {"none", "unknown"}
    kinds = sorted(labels - {"imported"})
    parts = [" + ".join(kinds) + " checkpoints"] if kinds else []
    parts += ["imported texts"] if "imported" in labels else []
    return ", ".join(parts) or "no checkpoint"


def key_of(row: Row, fields: Iterable[str]) -> str:
    """Equal for rows that agree in these fields."""
    return json.dumps([row.get(name) for name in fields], sort_keys=True, default=str)


def group_by(rows: Iterable[_T], key: Callable[[_T], Any]) -> dict[Any, list[_T]]:
    """Rows, or whatever else, by `key`, in order of first appearance."""
    groups: dict[Any, list[_T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
