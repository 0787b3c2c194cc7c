"""The reproduction ledger: published figures beside ours, and whether a run of this report says the same.

A published figure is checked by a row of the same checkpoint on the same data under the same protocol, field by field
(`harness.report.protocol`). A row of a tiny checkpoint checks nothing. Where rows of the checkpoint follow another
protocol, the nearest one is shown with what differs, and nothing is concluded from it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from harness import comparable
from harness.benchmarks import all_benchmarks
from harness.published import CERTAINTY, PublishedFigure
from harness.report.data import Estimate, Row, estimate, is_done, metric_title, number
from harness.report.format import DASH, figure, with_interval
from harness.report.page import Page
from harness.report.protocol import LIKELIHOOD, differences, in_words, make_command, settings_of

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
OTHER_PROTOCOL, NOT_RUN = "protocol differs", "not run"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, OTHER_PROTOCOL, NOT_RUN)

_TITLES = {
    "perplexity": "perplexity per token",
    "word_perplexity": "perplexity per word",
    "nats_per_token": "nats per token",
    "bits_per_char": "bits per character",
}
#: Fields of a protocol that stand beside a figure's name.
_TELLING = ("split", "estimator", "steps", "candidates", "nfe")


class Ours(NamedTuple):
    """What this report has beside a published figure.

    Attributes:
        row: the row, or the first of those that differ in the seed alone.
        name: for people.
        estimate: its figure; None where it has none.
        differs: in what it does not follow the protocol, one phrase each.
    """

    row: Row
    name: str
    estimate: Estimate | None
    differs: list[str]


class LedgerRow(NamedTuple):
    """One published figure, its texts ready for print.

    Attributes:
        checkpoint: the card's name of the weights, or which network it is.
        title: metric and data.
        setting: those fields of the protocol that tell figures of one title apart.
        published: as printed.
        certainty: how sure the published figure is, "" where it was read in its source; `tag` in one word.
        protocol: in words.
        source: where it was published.
        ours: with interval, a dash where there is none.
        link: id of our row on the page, "" where there is none.
        name: of our row.
        value: ours as a number, to sort by.
        difference: ours against published, "" where there is nothing to compare.
        gap: the same as a share of the published figure, to sort by.
        verdict: one of `VERDICTS`.
        reasons: what differs, or why it was not run.
        cause: why ours may differ, as far as that is known.
        command: what would run it, "" where nothing here can or needs to.
    """

    model: str
    checkpoint: str
    title: str
    setting: str
    published: str
    certainty: str
    tag: str
    protocol: str
    source: str
    ours: str
    link: str
    name: str
    value: float | None
    difference: str
    gap: float | None
    verdict: str
    reasons: list[str]
    cause: str
    command: str


class Ledger(NamedTuple):
    """All published figures of the models of a report; `sentence` counts them, `models` has them by model, `any_run`
    says whether anything stands beside one.
    """

    sentence: str
    models: dict[str, list[LedgerRow]]
    any_run: bool


def build(page: Page) -> Ledger:
    """The ledger of all models of the report, in the order of its cards."""
    entries = _entries(page)
    models: dict[str, list[LedgerRow]] = {}
    for model, card in page.data.cards.items():
        figures = card.get("published") or ()
        mine = [own for own in entries if own[0].get("model") == model]
        if figures:
            models[model] = [_ledger_row(model, each, mine, page.data.benchmarks) for each in figures]
    rows = [row for mine in models.values() for row in mine]
    return Ledger(_sentence(rows, page.rows), models, any(row.verdict != NOT_RUN for row in rows))


#: A row with its name and a function that gives its figure of a metric.
Own = tuple[Row, str, Callable[[str], Estimate | None]]


def _entries(page: Page) -> list[Own]:
    """Every row of a model: generated text over its seeds, likelihoods one by one, and what has no figures."""
    found: list[Own] = []
    for place in page.places:
        entries = page.entries(place)
        pooled = {row_id for entry in entries for row_id in entry.fingerprints()}
        found += [(entry.rows[0], entry.name, entry.estimate) for entry in entries]
        others = [row for row in place.rows if str(row.get("fingerprint")) not in pooled]
        found += [(row, page.names.full(row), _of_row(row)) for row in others if not row.get("same_as")]
    return [own for own in found if own[0].get("role") != "control"]


def _of_row(row: Row) -> Callable[[str], Estimate | None]:
    return lambda metric: _DERIVED[metric](row) if metric in _DERIVED else estimate(row, metric)


def _word_perplexity(row: Row) -> Estimate | None:
    """exp(nats / words); its interval is that of the nats per token, as though every text had as many words a token."""
    nats, words, tokens = (number(row.get(name)) for name in ("nats", "words", "tokens"))
    if nats is None or not words or not tokens:
        return None
    ends = [number(row.get(f"nats_per_token_{end}")) for end in ("low", "high")]
    low, high = (None if end is None else math.exp(end * tokens / words) for end in ends)
    return Estimate(math.exp(nats / words), low, high)


#: Figures that are no column of the table.
_DERIVED: Mapping[str, Callable[[Row], Estimate | None]] = {"word_perplexity": _word_perplexity}


def _ledger_row(model: str, published: PublishedFigure, mine: Sequence[Own], facts: Mapping[str, Any]) -> LedgerRow:
    ours = _nearest(published, mine, facts)
    verdict, reasons = _verdict(published, ours)
    settings = settings_of(model, published) if verdict in (NOT_RUN, OTHER_PROTOCOL) else None
    if ours is None:
        reasons = [_why_not_run(published, mine)]
    value = ours.estimate if ours else None
    title = _TITLES.get(published.metric, metric_title(published.metric))
    return LedgerRow(
        model=model,
        checkpoint=" or ".join(published.checkpoints) or published.network or "not said",
        title=f"{title} \u00b7 {published.dataset}" if published.dataset else title,
        setting=", ".join(phrase for name in _TELLING if (phrase := in_words(published, name))),
        published=published.value,
        certainty="" if published.certainty == "read" else CERTAINTY[published.certainty],
        tag=published.certainty,
        protocol=_protocol(published),
        source=published.source,
        ours=with_interval(value) if value else DASH,
        link=f"row-{ours.row.get('fingerprint')}" if ours else "",
        name=ours.name if ours else "",
        value=value.value if value else None,
        difference=_difference(published, value) if value else "",
        gap=(value.value - published.number) / abs(published.number) if value and published.number else None,
        verdict=verdict,
        reasons=reasons,
        cause=(published.cause or "") if verdict != REPRODUCED else "",
        command=make_command(settings) if settings else "",
    )


def _nearest(published: PublishedFigure, mine: Sequence[Own], facts: Mapping[str, Any]) -> Ours | None:
    """Our row that differs least from the protocol, those with a figure and of the published weights first; None where
    no row could be one.
    """
    found = []
    for row, name, figure_of in mine:
        weights = _other_weights(published, row)
        if weights is None or not _same_kind(published, row):
            continue
        value = figure_of(published.metric) if is_done(row) else None
        differs = differences(published, row, facts.get(str(row.get("benchmark")), {}))
        found.append(((value is None, len(weights), len(differs)), Ours(row, name, value, weights + differs)))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _same_kind(published: PublishedFigure, row: Row) -> bool:
    """Whether a row is of the data of a published figure, and has figures of its kind."""
    kind = "likelihood" if published.metric in LIKELIHOOD else "generate"
    return row.get("kind") == kind and published.dataset in (None, row.get("benchmark"))


def _other_weights(published: PublishedFigure, row: Row) -> list[str] | None:
    """[] where a row is of the published weights; a phrase where they may be (a folder of the user's, imported texts),
    which takes the same data; None where they are not.
    """
    kind, name = row.get("checkpoint_kind"), row.get("checkpoint")
    if kind == "published" and name in published.checkpoints:
        return []
    if published.dataset is None or (kind != "local" and not comparable.is_imported(row)):
        return None
    shown = "of imported texts" if comparable.is_imported(row) else f"the folder {name}"
    return [f"weights {shown}, published {' or '.join(published.checkpoints) or published.network or 'not said'}"]


def _verdict(published: PublishedFigure, ours: Ours | None) -> tuple[str, list[str]]:
    if ours is None:
        return NOT_RUN, []
    if ours.estimate is None:
        return NOT_RUN, [_why_no_figure(published, ours)]
    if ours.differs:
        return OTHER_PROTOCOL, ours.differs
    (low, high), (mine_low, mine_high) = published.reach, _reach(ours.estimate)
    same = mine_low <= high and mine_high >= low
    return (REPRODUCED if same else NOT_REPRODUCED), [_sharpness(published, ours.estimate)]


def _sharpness(published: PublishedFigure, ours: Estimate) -> str:
    """How large a difference our interval would have shown."""
    if ours.low is None or ours.high is None:
        return "no interval of ours is known"
    half = (ours.high - ours.low) / 2
    share = f", {half / abs(published.number):.1%} of the published figure" if published.number else ""
    return f"our interval reaches {figure(half)} to either side{share}"


def _reach(ours: Estimate) -> tuple[float, float]:
    """The interval, or the figure alone where none is known."""
    if ours.low is None or ours.high is None:
        return ours.value, ours.value
    return ours.low, ours.high


def _why_no_figure(published: PublishedFigure, ours: Ours) -> str:
    row = ours.row
    status = str(row.get("status") or "pending").replace("_", " ")
    if not is_done(row):
        return f"{ours.name} is {status}: {row.get('message') or row.get('reason') or 'no reason recorded'}"
    title = metric_title(published.metric)
    return f"{ours.name} has no {title}: {row.get(f'{published.metric}_reason') or 'it was not scored'}"


def _why_not_run(published: PublishedFigure, mine: Sequence[Own]) -> str:
    if not published.checkpoints:
        return f"no weights by name: {published.network or 'which network is not said'}"
    if published.dataset is not None and published.dataset not in all_benchmarks():
        return f"there is no benchmark {published.dataset} here"
    names = " or ".join(published.checkpoints)
    if any(row.get("checkpoint") in published.checkpoints for row, *_ in mine):
        what = "likelihood" if published.metric in LIKELIHOOD else "generated text"
        return f"{names} was run, but has no {what}{f' on {published.dataset}' if published.dataset else ''} here"
    return f"{names} was not run"


def _protocol(published: PublishedFigure) -> str:
    """The protocol in words, the network where that is more than the checkpoint's name, and the published interval."""
    parts = [published.protocol, published.network if published.checkpoints else None]
    if published.low is not None and published.high is not None:
        parts.append(f"published interval {published.low:g} to {published.high:g}")
    return "; ".join(part for part in parts if part)


def _difference(published: PublishedFigure, ours: Estimate) -> str:
    """Ours less the published figure, and that in per cent of it."""
    gap = ours.value - published.number
    share = f" ({_signed(gap / abs(published.number), '.1%')})" if published.number else ""
    return f"{_sign(gap)}{figure(abs(gap))}{share}"


def _signed(value: float, form: str) -> str:
    return f"{_sign(value)}{abs(value):{form}}"


def _sign(value: float) -> str:
    return "+" if value > 0 else "\u2212" if value < 0 else ""


def _sentence(rows: Sequence[LedgerRow], table: Sequence[Row]) -> str:
    """What the ledger comes to, in one or two sentences."""
    if not rows:
        return "The cards of this report's models list no published figures."
    count = Counter(row.verdict for row in rows)
    checked = count[REPRODUCED] + count[NOT_REPRODUCED]
    words = f"{checked} of {len(rows)} published figures could be checked in this run"
    if not checked:
        return f"{words}: {_why_none(count, table)}."
    parts = [f"{count[verdict]} {verdict}" for verdict in (REPRODUCED, NOT_REPRODUCED) if count[verdict]]
    left = _left(count)
    return f"{words}: {', '.join(parts)}." + (f" Of the others {left}." if left else "")


def _why_none(count: Counter[str], table: Sequence[Row]) -> str:
    kinds = {row.get("checkpoint_kind") for row in table if row.get("role") not in ("control", "baseline")}
    if count[OTHER_PROTOCOL]:
        return _left(count)
    if kinds == {"tiny"}:
        return "it ran tiny checkpoints only"
    return "it has no row of the published checkpoints and their data"


def _left(count: Counter[str]) -> str:
    """What was not checked, and why; "" where everything was."""
    said = ((OTHER_PROTOCOL, "run under another protocol"), (NOT_RUN, "not run"))
    parts = [f"{count[v]} {'was' if count[v] == 1 else 'were'} {text}" for v, text in said if count[v]]
    return " and ".join(parts)
