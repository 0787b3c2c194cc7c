"""Plain sentences made from the figures. They never say more than the intervals do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harness import comparable
from harness.errors import counted
from harness.report.contest import primary
from harness.report.data import Estimate, Metric, Names, Row, estimate, group_by, is_done, number, of_kind, unique
from harness.report.figures import main_metrics
from harness.report.format import figure, with_interval
from harness.report.places import Place
from harness.report.tables import floor_of
from harness.table import BELOW_SOURCE


def what_ran(rows: Sequence[Row]) -> str:
    """What ran, in one sentence."""
    if not rows:
        return "This run has no points yet."
    words = {
        "done": "finished",
        "failed": "failed",
        "not_available": "not available",
        "same_as": "same as another point",
        "partial": "stopped half-way",
    }
    found = {status: sum(r.get("status") == status for r in rows) for status in words}
    open_points = len(rows) - sum(found.values())
    parts = [f"{n} {words[s]}" for s, n in found.items() if n] + ([f"{open_points} not run yet"] if open_points else [])
    models = unique(r.get("model") for r in rows if _is_model(r))
    return f"{counted(len(rows), 'point')} of {counted(len(models), 'model')}: {', '.join(parts)}."


class Remark(NamedTuple):
    """What is said of one subject: the first sentence, and what must be read with it."""

    first: str
    more: str = ""

    def __str__(self) -> str:
        return self.first + self.more


def remarks(place: Place, names: Names) -> list[Remark]:
    """An item a subject: its likelihoods, or the best figures of a place in what the verdict does not tell of."""
    if place.kind == "likelihood":
        return _likelihood(place, names)
    done = [r for r in place.rows if is_done(r) and _is_model(r)]
    told = primary(place)
    directed = [m for m in main_metrics(place.metrics) if m.better != "none" and m != told]
    return [remark for metric in directed for remark in _best(metric, done, place, names)]


def warnings(rows: Sequence[Row], names: Names) -> list[str]:
    """What a reader must know before any figure is believed."""
    out = _below_source(rows, names)
    if any(r.get("checkpoint_kind") == "tiny" and _is_model(r) for r in of_kind(rows, "generate")):
        out.append(
            "Checkpoints labelled tiny are small ones for trying the tool: they say nothing about published models."
        )
    return out


def _is_model(row: Row) -> bool:
    """Controls and baselines are there to compare with: they are never named as the best."""
    return row.get("role") not in ("control", "baseline")


def overlap(a: Estimate, b: Estimate) -> bool | None:
    """Whether two intervals share a value; None where either interval is unknown."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return None
    return a.low <= b.high and b.low <= a.high


def _verdict(a: Estimate, b: Estimate) -> str:
    return {
        True: "The intervals overlap, so they alone do not tell the two apart.",
        False: "The intervals do not overlap.",
        None: "An interval is unknown, so nothing is said about the difference.",
    }[overlap(a, b)]


def _best(metric: Metric, done: Sequence[Row], place: Place, names: Names) -> list[Remark]:
    sign = -1 if metric.better == "higher" else 1
    beside = _differing(metric, place)
    figures = [(r, e) for r in done if (e := estimate(r, metric.name))]
    ranked = sorted(((r, e) for r, e in figures if not beside.why(r)), key=lambda pair: sign * pair[1].value)
    if not ranked:
        return []
    (row, best), rest = ranked[0], ranked[1:]
    word = "Highest" if metric.better == "higher" else "Lowest"
    more = _over_seeds(row, best, rest) + _beside_entropy(metric, row, best, beside)
    more += _runner_up(row, best, rest, names)
    more += _fewest_steps(row, best, rest) + _controls(metric, best, beside, names) + _baselines(metric, beside, names)
    more += _left_out([beside.why(r) for r, _ in figures])
    return [Remark(f"{word} {metric.title}: {with_interval(best)} by {names.row(row)}{_cost(row)}.", more)]


class _Compared(NamedTuple):
    """Rows, and for each by `id` what keeps it from being ranked with most of them."""

    rows: Sequence[Row]
    phrases: dict[int, tuple[str, ...]]

    def why(self, row: Row) -> str:
        """What differs, "" where the row may be ranked."""
        return "; ".join(self.phrases.get(id(row), ()))


def _compared(rows: Sequence[Row], fields: Sequence[comparable.Field]) -> _Compared:
    phrases = comparable.differences(rows, fields)
    return _Compared(rows, {id(row): mine for row, mine in zip(rows, phrases, strict=True)})


def _differing(metric: Metric, place: Place) -> _Compared:
    """Rows that have the metric, compared in everything it depends on."""
    mine = [row for row in of_kind(place.rows, "generate") if estimate(row, metric.name)]
    fields = comparable.quality_fields(place.task)
    return _compared(mine, (*fields, *comparable.metric_fields(mine, metric.name)))


def _left_out(reasons: Sequence[str]) -> str:
    """How many points a ranking leaves out, and why; "" for none."""
    counts = Counter(reason for reason in reasons if reason)
    if not counts:
        return ""
    parts = [f"{counted(count, 'point')} ({reason})" for reason, count in counts.items()]
    return f" Left out, as not comparable: {', '.join(parts)}."


def _cost(row: Row) -> str:
    seconds, nfe = number(row.get("seconds_per_sequence")), number(row.get("nfe_mean"))
    parts = [f"{figure(nfe, 'count')} NFE"] if nfe is not None else []
    parts += [f"{figure(seconds, 'seconds')} a sequence"] if seconds is not None else []
    return f" ({', '.join(parts)})" if parts else ""


def _beside_entropy(metric: Metric, row: Row, best: Estimate, beside: _Compared) -> str:
    """What must be read with a figure of quality: how varied the text is, and the figures of real data."""
    entropy = estimate(row, "unigram_entropy")
    data = next((r for r in beside.rows if r.get("model") == "data" and not beside.why(r)), None)
    real = estimate(data, "unigram_entropy") if data else None
    less_varied = entropy and real and overlap(entropy, real) is False and entropy.value < real.value
    if "ppl" not in metric.name:
        if not (less_varied and entropy and real):
            return ""
        figures = f"unigram entropy {with_interval(entropy)} against {figure(real.value)}"
        return f" Its text is less varied than real data ({figures}), which alone makes good figures easier."
    text = f" Its unigram entropy is {with_interval(entropy)}" if entropy else " Its unigram entropy is unknown"
    if data is None:
        return f"{text}; the run has no comparable row of real data."
    ppl = estimate(data, metric.name)
    text += f"; real data has {metric.title} {figure(ppl.value)}" if ppl else ""
    text += f" at entropy {figure(real.value)}." if real else "."
    text += " Below real data: not a sign of better text." if ppl and best.value < ppl.value else ""
    return text + (" Its text is less varied than real data, which alone lowers perplexity." if less_varied else "")


def _runner_up(row: Row, best: Estimate, rest: Sequence[tuple[Row, Estimate]], names: Names) -> str:
    """The best of each other model against this one; where there is no other, of each other scheduler."""
    by_model = group_by((r for r, _ in rest if names.model(r) != names.model(row)), names.model)
    by_method = group_by((r for r, _ in rest if names.method(r) != names.method(row)), names.method)
    figures = {id(r): e for r, e in rest}
    others = [(mine[0], figures[id(mine[0])]) for mine in (by_model or by_method).values()]
    if not others:
        return ""
    other, second = others[0]
    text = f" Next {'model' if by_model else 'scheduler'}: {with_interval(second)} by {names.row(other)}."
    near = sum(overlap(best, e) is True for _, e in others[1:])
    further = counted(near, f"further {'model' if by_model else 'scheduler'}")
    more = f" So it is with the best of {further}." if near else ""
    return f"{text} {_verdict(best, second)}{more}"


#: Rows that agree in these and in their steps are of one sampler, run again.
_SAMPLER = ("model", "checkpoint", "engine", "scheduler", "options", "selection", "candidates")


def _over_seeds(row: Row, best: Estimate, rest: Sequence[tuple[Row, Estimate]]) -> str:
    """How far the seeds lie apart, since the best one of several is luck as well."""
    same = (*_SAMPLER, "steps", "batch_size")
    values = [best.value, *(e.value for r, e in rest if all(r.get(f) == row.get(f) for f in same))]
    if len(values) == 1:
        return ""
    return f" The {len(values)} seeds give {figure(min(values))} to {figure(max(values))}."


def _fewest_steps(row: Row, best: Estimate, rest: Sequence[tuple[Row, Estimate]]) -> str:
    """Fewer steps of the same model and scheduler whose interval still reaches the best one's."""
    same = (*_SAMPLER, "seed")
    steps = [
        int(s)
        for r, e in rest
        if all(r.get(f) == row.get(f) for f in same) and overlap(best, e) and (s := number(r.get("steps"))) is not None
    ]
    own = number(row.get("steps"))
    if own is None or not steps or min(steps) >= own:
        return ""
    return f" The same model and scheduler at {counted(min(steps), 'step')} is not separable from this best."


def _controls(metric: Metric, best: Estimate, beside: _Compared, names: Names) -> str:
    """Controls that do as well as the best without having learned anything; real data is none of them."""
    controls = [r for r in beside.rows if r.get("role") == "control" and r.get("model") != "data"]
    figures = {names.model(r): e for r in controls if not beside.why(r) and (e := estimate(r, metric.name))}
    sign = 1 if metric.better == "higher" else -1
    as_good = [f"{name} has {with_interval(e)}" for name, e in figures.items() if sign * (e.value - best.value) >= 0]
    return f" Not better than a control: {', '.join(as_good)}." if as_good else ""


def _baselines(metric: Metric, beside: _Compared, names: Names) -> str:
    mine = [(r, e) for r in beside.rows if r.get("role") == "baseline" and (e := estimate(r, metric.name))]
    return "".join(
        f" Baseline {names.row(r)}: {with_interval(e)}{_cost(r)}"
        + (f", not comparable ({beside.why(r)})." if beside.why(r) else ".")
        for r, e in mine
    )


def _likelihood(place: Place, names: Names) -> list[Remark]:
    done = [r for r in of_kind(place.rows, "likelihood") if _is_model(r) and estimate(r, "bits_per_byte")]
    floor = floor_of(place.facts, place.rows).get("bits_per_byte")
    out = []
    for bound, mine in group_by(done, lambda r: r.get("bound")).items():
        compared = _compared(mine, comparable.LIKELIHOOD)
        figures = [(r, e) for r in mine if not compared.why(r) and (e := estimate(r, "bits_per_byte"))]
        ranked = sorted(figures, key=lambda pair: pair[1].value)
        row, best = ranked[0]
        label = str(bound or "unknown kind").replace("_", " ")
        text = f"Lowest bits per byte ({label}): {with_interval(best)} by {names.row(row)}"
        text += f"; the entropy of the source is {figure(floor)}." if floor is not None else "."
        more = _runner_up(row, best, ranked[1:], names) + _left_out([compared.why(r) for r in mine])
        out.append(Remark(text, more))
    return out


def _below_source(rows: Sequence[Row], names: Names) -> list[str]:
    """A warning where a likelihood is better than any model's can be."""
    found = [names.full(r) for r in rows if any(BELOW_SOURCE in note for note in comparable.notes_of(r))]
    return [f"{'; '.join(found)}: {BELOW_SOURCE}, which no model can be: something is wrong."] if found else []
