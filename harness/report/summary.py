"""Plain sentences made from the figures. They never say more than the intervals do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harness import comparable
from harness.report.data import Estimate, Metric, Names, ReportData, Row, estimate, group_by, number, of_kind, unique
from harness.report.figures import MAIN_METRICS
from harness.report.format import figure, with_interval
from harness.report.tables import floor_of
from harness.table import BELOW_SOURCE


def sentences(data: ReportData, rows: Sequence[Row], metrics: Sequence[Metric], names: Names) -> list[str]:
    """The summary, an item a subject: what ran, best figures and whether they can be told apart, likelihood."""
    if not rows:
        return ["This run has no points yet."]
    out = [_counts(rows)]
    done = [r for r in of_kind(rows, "generate") if _is_model(r)]
    if done and not metrics:
        out.append("Nothing is scored yet: run tdbench score.")
    by_name = {m.name: m for m in metrics}
    for name in MAIN_METRICS:
        if name in by_name and by_name[name].better != "none":
            out += _best(by_name[name], done, rows, names)
    out += _likelihood(data, rows, names)
    out += _below_source(rows, names)
    if "tiny" in {r.get("checkpoint_kind") for r in done}:
        out.append(
            "Checkpoints labelled tiny are small ones for trying the tool: they say nothing about published models."
        )
    return out


def _is_model(row: Row) -> bool:
    """Controls and baselines are there to compare with: they are never named as the best."""
    return row.get("role") not in ("control", "baseline")


def _counts(rows: Sequence[Row]) -> str:
    words = {
        "done": "finished",
        "failed": "failed",
        "not_available": "not available",
        "same_as": "same as another point",
        "partial": "stopped half-way",
    }
    counts = {status: sum(r.get("status") == status for r in rows) for status in words}
    open_points = len(rows) - sum(counts.values())
    parts = [f"{n} {words[s]}" for s, n in counts.items() if n] + (
        [f"{open_points} not run yet"] if open_points else []
    )
    models = unique(r.get("model") for r in rows if _is_model(r))
    return f"{_plural(len(rows), 'point')} of {_plural(len(models), 'model')}: {', '.join(parts)}."


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def overlap(a: Estimate, b: Estimate) -> bool | None:
    """Whether two intervals share a value; None where either interval is unknown."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return None
    return a.low <= b.high and b.low <= a.high


def _verdict(a: Estimate, b: Estimate) -> str:
    return {
        True: "The intervals overlap: not separable.",
        False: "The intervals do not overlap (no paired test was made).",
        None: "An interval is unknown, so nothing is said about the difference.",
    }[overlap(a, b)]


def _best(metric: Metric, done: Sequence[Row], rows: Sequence[Row], names: Names) -> list[str]:
    out = []
    for (benchmark, task), mine in group_by(done, lambda r: (r.get("benchmark"), r.get("task"))).items():
        sign = -1 if metric.better == "higher" else 1
        beside = _differing(metric, [r for r in rows if r.get("benchmark") == benchmark and r.get("task") == task])
        figures = [(r, e) for r in mine if (e := estimate(r, metric.name))]
        ranked = sorted(((r, e) for r, e in figures if not beside.why(r)), key=lambda pair: sign * pair[1].value)
        if not ranked:
            continue
        (row, best), rest = ranked[0], ranked[1:]
        word = "Highest" if metric.better == "higher" else "Lowest"
        several = len({(r.get("benchmark"), r.get("task")) for r in done}) > 1
        place = f" ({benchmark}, {task})" if several else ""
        text = f"{word} {metric.title}{place}: {with_interval(best)} by {names.row(row)}{_cost(row)}."
        text += _beside_entropy(metric, row, best, beside) + _runner_up(row, best, rest, names)
        text += _fewest_steps(row, best, rest) + _baselines(metric, beside, names)
        out.append(text + _left_out([beside.why(r) for r, _ in figures]))
    return out


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


def _differing(metric: Metric, rows: Sequence[Row]) -> _Compared:
    """Rows that have the metric, compared in everything it depends on."""
    mine = [row for row in of_kind(rows, "generate") if estimate(row, metric.name)]
    return _compared(mine, (*comparable.QUALITY, *comparable.metric_fields(mine, metric.name)))


def _left_out(reasons: Sequence[str]) -> str:
    """How many points a ranking leaves out, and why; "" for none."""
    counts = Counter(reason for reason in reasons if reason)
    if not counts:
        return ""
    parts = [f"{_plural(count, 'point')} ({reason})" for reason, count in counts.items()]
    return f" Left out, as not comparable: {', '.join(parts)}."


def _cost(row: Row) -> str:
    seconds, nfe = number(row.get("seconds_per_sequence")), number(row.get("nfe_mean"))
    parts = [f"{figure(nfe)} NFE"] if nfe is not None else []
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
    more = (
        f" So does the best of {_plural(near, 'further model' if by_model else 'further scheduler')}." if near else ""
    )
    return f"{text} {_verdict(best, second)}{more}"


def _fewest_steps(row: Row, best: Estimate, rest: Sequence[tuple[Row, Estimate]]) -> str:
    """Fewer steps of the same model and scheduler whose interval still reaches the best one's."""
    same = ("model", "checkpoint", "scheduler", "options", "seed")
    steps = [
        int(s)
        for r, e in rest
        if all(r.get(f) == row.get(f) for f in same) and overlap(best, e) and (s := number(r.get("steps"))) is not None
    ]
    own = number(row.get("steps"))
    if own is None or not steps or min(steps) >= own:
        return ""
    return f" The same model and scheduler at {_plural(min(steps), 'step')} is not separable from this best."


def _baselines(metric: Metric, beside: _Compared, names: Names) -> str:
    mine = [(r, e) for r in beside.rows if r.get("role") == "baseline" and (e := estimate(r, metric.name))]
    return "".join(
        f" Baseline {names.row(r)}: {with_interval(e)}{_cost(r)}"
        + (f", not comparable ({beside.why(r)})." if beside.why(r) else ".")
        for r, e in mine
    )


def _likelihood(data: ReportData, rows: Sequence[Row], names: Names) -> list[str]:
    done = [r for r in of_kind(rows, "likelihood") if _is_model(r) and estimate(r, "bits_per_byte")]
    floor = floor_of(data.benchmark, rows).get("bits_per_byte")
    out = []
    for kind, mine in group_by(done, lambda r: (r.get("benchmark"), r.get("bound"))).items():
        compared = _compared(mine, comparable.LIKELIHOOD)
        figures = [(r, e) for r in mine if not compared.why(r) and (e := estimate(r, "bits_per_byte"))]
        ranked = sorted(figures, key=lambda pair: pair[1].value)
        row, best = ranked[0]
        label = str(kind[1] or "unknown kind").replace("_", " ")
        text = f"Lowest bits per byte ({label}): {with_interval(best)} by {names.row(row)}"
        text += f"; the entropy of the source is {figure(floor)}." if floor is not None else "."
        out.append(text + _runner_up(row, best, ranked[1:], names) + _left_out([compared.why(r) for r in mine]))
    return out


def _below_source(rows: Sequence[Row], names: Names) -> list[str]:
    """A warning where a likelihood is better than any model's can be."""
    found = [names.row(r) for r in rows if any(BELOW_SOURCE in note for note in comparable.notes_of(r))]
    return [f"{'; '.join(found)}: {BELOW_SOURCE}, which no model can be: something is wrong."] if found else []
