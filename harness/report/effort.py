"""What each model takes: its card's facts beside each other, and what its rows cost in this report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from markupsafe import Markup

from harness import comparable
from harness.effort import COUNTED, CodeSize, Effort, Stated, month_of
from harness.report.data import Row, as_text, group_by, number, unique
from harness.report.entries import Entry
from harness.report.format import figure
from harness.report.looks import swatch
from harness.report.page import Page

UNKNOWN = "not known"
_YEAR = 365.25
_LARGE = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


class Cell(NamedTuple):
    """One cell of the comparison: text, a smaller second line, and what to sort by (None sorts last)."""

    text: str
    small: str = ""
    sort: float | None = None


class ModelEffort(NamedTuple):
    """One model: `cells` in the order of `COLUMNS`, and what stands below the table.

    Attributes:
        look: its marker.
        facts: name and text of each further fact.
        checkpoints: one sentence each.
        took: what it took to run the authors' code here.
        costs: what its rows cost, one sentence for each set of conditions.
        caveats: known oddities.
    """

    model: str
    title: str
    role: str
    summary: str
    look: Markup
    cells: list[Cell]
    facts: list[tuple[str, str]]
    checkpoints: list[str]
    took: Sequence[str]
    costs: list[str]
    caveats: Sequence[str]


class EffortPart(NamedTuple):
    """The section: `sentences` are what the table comes to, `missing` models of the report without a card."""

    sentences: list[str]
    columns: Sequence[str]
    models: list[ModelEffort]
    missing: list[str]
    counted: str


COLUMNS = (
    *("parameters", "training data", "training compute", "licence", "age", "authors' code", "dependencies"),
    *("code here", "time / sequence here", "memory here"),
)


def build(page: Page) -> EffortPart:
    """One line and one card for each model and baseline of the report, in the order of its cards."""
    today = _day(page.data.created)
    cards = {name: card for name, card in page.data.cards.items() if card.get("role") != "control"}
    controls = {row.get("model") for row in page.rows if row.get("role") == "control"}
    cards = {name: card for name, card in cards.items() if name not in controls}
    models = [_model(page, name, card, today) for name, card in cards.items()]
    rows = [row for row in page.rows if row.get("role") != "control"]
    missing = [str(name) for name in unique(row.get("model") for row in rows) if name not in page.data.cards]
    return EffortPart(list(_sentences(cards.values())), COLUMNS, models, missing, COUNTED)


def _sentences(cards: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Smallest and largest among the models, baselines aside, in size, code and training, where that is known."""
    mine = [(str(card.get("title")), card, card.get("effort") or Effort()) for card in cards if _is_model(card)]
    sizes = {title: size for title, card, _ in mine if (size := _smallest(card)) is not None}
    yield from _ends("Published networks", sizes, lambda size: f"{large(size)} parameters")
    lines = {title: float(effort.code.lines) for title, _, effort in mine if effort.code}
    yield from _ends("Authors' code", lines, lambda count: f"{count:,.0f} lines")
    days = {title: days for title, _, effort in mine if (days := _gpu_days(effort)) is not None}
    yield from _ends("Training as published", days, lambda count: f"about {count:g} GPU-days")
    silent = [title for title, *_ in mine if title not in days]
    if days and silent:
        yield f"GPUs and days of training are not known for {' and '.join(silent)}."


def _is_model(card: Mapping[str, Any]) -> bool:
    return card.get("role", "model") == "model"


def _smallest(card: Mapping[str, Any]) -> float | None:
    """Parameters of the smallest published checkpoint."""
    known = (entry["parameters"] for entry in card.get("checkpoints", ()) if entry["kind"] == "published")
    return min((count for count in known if count), default=None)


def _gpu_days(effort: Effort) -> float | None:
    return next((fact.gpu_days for fact in effort.compute if fact.gpu_days is not None), None)


def _ends(what: str, known: Mapping[str, float], text: Callable[[float], str]) -> Iterator[str]:
    """From the least to the most, or the only one that is known; nothing where none is."""
    ordered = sorted(known, key=lambda name: known[name])
    if ordered:
        least, most = (f"{text(known[name])} ({name})" for name in (ordered[0], ordered[-1]))
        yield f"{what}: from {least} to {most}." if len(ordered) > 1 else f"{what}: {least}."


def _model(page: Page, name: str, card: Mapping[str, Any], today: date | None) -> ModelEffort:
    effort = card.get("effort") or Effort()
    rows = [row for row in page.rows if row.get("model") == name]
    costs = _costs(page, name)
    cells = [
        _parameters(card, rows),
        _first(effort.data),
        _first(effort.compute),
        Cell(_licence(card), f"weights: {effort.weights_licence.text if effort.weights_licence else UNKNOWN}"),
        _age(effort, today),
        _size(effort.code, f"{effort.needed.lines:,} of them to sample and score" if effort.needed else ""),
        _dependencies(effort),
        _own_code(card),
        *_cost_cells(costs),
    ]
    return ModelEffort(
        model=name,
        title=str(card.get("title") or name),
        role=str(card.get("role") or "model"),
        summary=str(card.get("summary") or ""),
        look=swatch(page.looks.get(name)),
        cells=cells,
        facts=list(_facts(card, effort)),
        checkpoints=[_checkpoint(entry) for entry in card.get("checkpoints", ())],
        took=effort.took,
        costs=[cost.sentence for cost in costs],
        caveats=card.get("caveats") or (),
    )


def large(value: float) -> str:
    """A count for people: 221 k, 162 M, 1.28 B."""
    for limit, unit in _LARGE:
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f}"


def _parameters(card: Mapping[str, Any], rows: Sequence[Row]) -> Cell:
    """Those of the published checkpoints; below them those that ran here."""
    published = [c["parameters"] for c in card.get("checkpoints", ()) if c["kind"] == "published" and c["parameters"]]
    ran = group_by((row for row in rows if number(row.get("parameters"))), lambda row: row["parameters"])
    here = ", ".join(f"{large(count)} ({as_text(same[0].get('checkpoint'))})" for count, same in ran.items())
    text = " to ".join(unique(map(large, (min(published), max(published))))) if published else UNKNOWN
    return Cell(text, f"here {here}" if here else "", min(published, default=None))


def _first(facts: Sequence[Stated]) -> Cell:
    """The first fact; the others stand below the table."""
    if not facts:
        return Cell(UNKNOWN)
    more = f"and {len(facts) - 1} more below" if len(facts) > 1 else ""
    return Cell(facts[0].brief or facts[0].text, more, facts[0].gpu_days)


def _licence(card: Mapping[str, Any]) -> str:
    return str(card.get("licence") or ("none stated" if card.get("repo") else UNKNOWN))


def _age(effort: Effort, today: date | None) -> Cell:
    """Age of the paper and of the pinned commit on the day of the run."""
    paper, commit = _years(month_of(effort), today), _years(effort.last_commit, today)
    if paper is None:
        return Cell(UNKNOWN)
    return Cell(_span(paper), f"last commit {_span(commit)} ago" if commit is not None else "", paper)


def _years(since: date | None, today: date | None) -> float | None:
    """Years between two days; None where one is unknown, or they are in the wrong order."""
    if since is None or today is None or today < since:
        return None
    return (today - since).days / _YEAR


def _span(years: float) -> str:
    if years >= 1:
        return f"{years:.1f} years"
    months = round(years * 12)
    return f"{months} month{'' if months == 1 else 's'}"


def _day(created: str) -> date | None:
    try:
        return datetime.fromisoformat(created).date()
    except ValueError:
        return None


def _size(code: CodeSize | None, small: str = "") -> Cell:
    return Cell(f"{code.lines:,} lines", small, code.lines) if code else Cell(UNKNOWN, small)


def _dependencies(effort: Effort) -> Cell:
    needs = effort.needs
    if needs is None:
        return Cell(UNKNOWN)
    versions = [("Python", needs.python), ("torch", needs.torch), ("CUDA", needs.cuda)]
    small = ", ".join(f"{name} {version}" for name, version in versions if version)
    return Cell(f"{needs.packages} packages" if needs.packages else UNKNOWN, small, needs.packages)


def _own_code(card: Mapping[str, Any]) -> Cell:
    own, family = card.get("code") or (None, None)
    return _size(own, f"and {family.lines:,} shared with its family" if family else "")


def _facts(card: Mapping[str, Any], effort: Effort) -> Iterator[tuple[str, str]]:
    """Everything further that is known, sources included."""
    commit = card.get("commit")
    yield "authors' code", " at ".join(str(part) for part in (card.get("repo"), commit) if part) or UNKNOWN
    yield "paper", str(card.get("paper") or UNKNOWN)
    for name, facts in (("training data", effort.data), ("training compute", effort.compute)):
        for fact in facts:
            yield name, f"{fact.text} (source: {fact.source})"
    yield "licence of the code", _licence(card)
    if effort.weights_licence:
        yield "licence of the weights", f"{effort.weights_licence.text} (source: {effort.weights_licence.source})"
    if effort.code:
        yield "size of the authors' code", _counted(effort.code, effort, commit)
    if effort.needed:
        yield "needed to sample and score", f"{effort.needed.files} of their files, {effort.needed.lines:,} lines"
    if effort.needs:
        yield "dependencies stated in", effort.needs.source
        yield "to be compiled", effort.needs.compiled or "nothing"
    yield "likelihood", as_text(card.get("likelihood")).replace("_", " ") or "none"
    yield "schedulers here", ", ".join(card.get("schedulers", ())) or UNKNOWN


def _counted(code: CodeSize, effort: Effort, commit: Any) -> str:
    where = f"commit {code.commit[:12]}" if code.commit else "the pinned commit" if commit else "a commit not recorded"
    cuda = f"; {effort.cuda_files} of the files name CUDA" if effort.cuda_files is not None else ""
    return f"{code.files} Python files, {code.lines:,} {COUNTED.partition(' of ')[0]}, counted at {where}{cuda}"


def _checkpoint(entry: Mapping[str, Any]) -> str:
    parameters = f"{large(entry['parameters'])} parameters" if entry["parameters"] else "parameters not known"
    download = f", download {entry['size']}" if entry["size"] else ""
    return f"{entry['name']} ({entry['kind']}): {parameters}{download}. {entry['is']}".strip()


class Cost(NamedTuple):
    """What the rows of a model cost under one set of conditions: seconds and bytes with the steps they belong to."""

    conditions: str
    cheapest: Entry
    dearest: Entry
    memory: float | None

    @property
    def seconds(self) -> str:
        """Range of seconds a sequence."""
        low, high = figure(self.cheapest.seconds, "seconds"), figure(self.dearest.seconds, "seconds")
        return low if self.cheapest is self.dearest else f"{low} to {high}"

    @property
    def steps(self) -> str:
        """Range of step counts, "" where they are not known."""
        known = sorted({steps for entry in (self.cheapest, self.dearest) if (steps := entry.steps) is not None})
        return f"{' to '.join(map(str, known))} steps" if known else ""

    @property
    def sentence(self) -> str:
        """All of it."""
        memory = f", peak memory {figure(self.memory, 'bytes')}" if self.memory is not None else ""
        steps = f" ({self.steps})" if self.steps else ""
        return f"{self.conditions}: {self.seconds} a sequence{steps}{memory}"


def _costs(page: Page, model: str) -> list[Cost]:
    """One for each benchmark, task, checkpoint, engine and set of conditions under which seconds may be compared.

    A choice among candidates, whose cost is that of all of them, is left out.
    """
    entries = [
        entry
        for place in page.places
        for entry in page.entries(place)
        if entry.rows[0].get("model") == model and entry.seconds is not None and not entry.rows[0].get("selection")
    ]
    groups = group_by(entries, lambda entry: (comparable.place(entry.rows[0]), _weights(entry), entry.clock))
    return [_cost(same) for same in groups.values()]


def _weights(entry: Entry) -> tuple[Any, Any]:
    return entry.rows[0].get("checkpoint"), entry.rows[0].get("engine")


def _cost(entries: Sequence[Entry]) -> Cost:
    ordered = sorted(entries, key=lambda entry: entry.seconds or 0.0)
    memory = [number(row.get("peak_memory_bytes")) for entry in entries for row in entry.rows]
    known = [value for value in memory if value is not None]
    row = entries[0].rows[0]
    words = [
        row.get("benchmark"),
        row.get("task"),
        f"checkpoint {row.get('checkpoint')}",
        f"engine {row.get('engine')}",
    ]
    words += [f"batch of {row['batch_size']}"] if row.get("batch_size") else []
    words += [row.get("device"), row.get("machine")]
    return Cost(", ".join(str(w) for w in words if w), ordered[0], ordered[-1], max(known, default=None))


def _cost_cells(costs: Sequence[Cost]) -> list[Cell]:
    """Time and memory of the first conditions; how many others there are."""
    if not costs:
        return [Cell("not run here"), Cell("not run here")]
    first = costs[0]
    row = first.cheapest.rows[0]
    small = ", ".join(part for part in (as_text(row.get("checkpoint")), first.steps) if part)
    more = f"; {len(costs) - 1} more below" if len(costs) > 1 else ""
    memory = Cell(figure(first.memory, "bytes"), "", first.memory) if first.memory is not None else Cell("not measured")
    return [Cell(first.seconds, f"{small}{more}", first.cheapest.seconds), memory]
