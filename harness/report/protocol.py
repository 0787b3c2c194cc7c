"""Protocols of published figures against those of rows: what differs, and the command that would follow one.

Each field of a protocol is read from a row in its own way and, where the user can choose it, becomes settings of
`tdbench bench`. A field that is not listed here is the row's column of that name.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from harness.benchmarks import all_benchmarks
from harness.published import PublishedFigure
from harness.report.data import LIKELIHOOD_FIGURES, Row, as_text, number

Facts = Mapping[str, Any]

#: Figures of likelihood rows; `word_perplexity` is derived from nats and words (`harness.report.ledger`).
LIKELIHOOD = (*LIKELIHOOD_FIGURES, "word_perplexity")
#: Of English text under GPT-2's tokenizer, about.
_CHARACTERS_A_TOKEN = 4.5


class Field(NamedTuple):
    """One thing in which a row may follow a protocol.

    Attributes:
        title: for people.
        of: its value in a row, from the row, its benchmark's facts and the name of the metric; None where unknown.
        settings: what the user types to get a value.
    """

    title: str
    of: Callable[[Row, Facts, str], Any]
    settings: Callable[[Any], dict[str, str]]


def _column(title: str, name: str, setting: str | None = None) -> Field:
    return Field(title, lambda row, facts, metric: row.get(name), lambda v: {setting: str(v)} if setting else {})


def _windows(row: Row, facts: Facts, metric: str) -> str | None:
    """Size and unit of the held-out windows."""
    length, unit = facts.get("length"), facts.get("unit")
    return f"{length} {unit}" if length and unit else None


def _window(published: str) -> dict[str, str]:
    """The setting that comes nearest to windows of so many tokens: they are cut in characters here."""
    size, _, unit = published.partition(" ")
    return {"window": str(round(int(size) * _CHARACTERS_A_TOKEN))} if unit == "tokens" else {}


def _judge(row: Row, facts: Facts, metric: str) -> str | None:
    """The judge's name without its owner on a hub."""
    settings = row.get(f"{metric}_settings")
    judge = settings.get("judge") if isinstance(settings, Mapping) else None
    return str(judge).rsplit("/", 1)[-1] if judge else None


def _nfe(row: Row, facts: Facts, metric: str) -> int | None:
    """Whole evaluations, as figures are labelled."""
    nfe = number(row.get("nfe_mean"))
    return None if nfe is None else round(nfe)


def _nothing(value: Any) -> dict[str, str]:
    return {}


#: By the name that cards use.
FIELDS: Mapping[str, Field] = {
    "task": _column("task", "task", "task"),
    "scheduler": _column("scheduler", "scheduler", "schedulers"),
    "steps": _column("steps", "steps", "steps"),
    "samples": _column("samples", "samples", "samples"),
    "length": _column("length", "length", "length"),
    "precision": _column("sampling precision", "precision"),
    "bound": _column("kind", "bound"),
    "estimator": Field(
        "estimator", lambda row, facts, metric: row.get("estimator"), lambda v: {"likelihood": str(v), "task": "none"}
    ),
    # A text that was not chosen among several is its own only candidate.
    "candidates": Field(
        "candidates",
        lambda row, facts, metric: row.get("candidates") or 1,
        lambda v: {"seeds": ",".join(map(str, range(int(v))))},
    ),
    "nfe": Field("NFE", _nfe, _nothing),
    "judge": Field("judge", _judge, lambda v: {"judge": str(v)}),
    "split": Field(
        "split", lambda row, facts, metric: facts.get("split"), lambda v: {"benchmark.options": f"{{split: {v}}}"}
    ),
    "windows": Field("windows", _windows, _window),
    "marks": Field("marks in the text", lambda row, facts, metric: facts.get("marks"), _nothing),
}


def in_words(figure: PublishedFigure, name: str) -> str:
    """One field of a figure's protocol ("steps 2000"), "" where it has none of that name."""
    return f"{_field(name).title} {_shown(figure.fields[name])}" if name in figure.fields else ""


def differences(figure: PublishedFigure, row: Row, facts: Facts) -> list[str]:
    """In which fields a row does not follow the protocol of a figure, one phrase each: "steps 200, published 2000"."""
    phrases = []
    for name, published in figure.fields.items():
        field = _field(name)
        ours = field.of(row, facts, figure.metric)
        if not _agrees(ours, published):
            phrases.append(f"{field.title} {_shown(ours)}, published {_shown(published)}")
    return phrases


def _field(name: str) -> Field:
    return FIELDS.get(name) or _column(name.replace("_", " "), name)


def _agrees(ours: Any, published: Any) -> bool:
    mine, theirs = number(ours), number(published)
    return mine == theirs if mine is not None and theirs is not None else bool(ours == published)


def _shown(value: Any) -> str:
    if value is None:
        return "not recorded"
    return "none" if value == [] else as_text(value).replace("_bound", " bound")


#: Variables of the Makefile, by setting; every other setting goes into OVERRIDES.
MAKE = {
    "model": "MODEL",
    "checkpoint": "CHECKPOINT",
    "benchmark": "BENCHMARK",
    "task": "TASK",
    "schedulers": "SCHEDULERS",
    "steps": "STEPS",
    "samples": "SAMPLES",
    "seeds": "SEEDS",
    "length": "LENGTH",
    "metrics": "METRICS",
    "judge": "JUDGE",
}


def settings_of(model: str, figure: PublishedFigure) -> dict[str, str] | None:
    """Settings of `tdbench bench` that make a row to check a figure with.

    Returns:
        None where there is no such run: the weights have no name, or no benchmark has the data.
    """
    known = all_benchmarks()
    if not figure.checkpoints or (figure.dataset is not None and figure.dataset not in known):
        return None
    settings = {"model": model, "checkpoint": figure.checkpoints[0]}
    if figure.dataset is not None:
        settings["benchmark"] = figure.dataset
    if figure.metric in LIKELIHOOD:
        settings["task"] = "none"
    elif figure.dataset is None or figure.metric not in known[figure.dataset].metrics:
        settings["metrics"] = figure.metric
    mine = known.get(figure.dataset or "")
    usual = {**mine.options, **mine.counts} if mine else {}
    for name, value in figure.fields.items():
        if name in FIELDS and usual.get(name) != value:
            settings |= FIELDS[name].settings(value)
    return settings


def make_command(settings: Mapping[str, str]) -> str:
    """`make bench` with settings of `tdbench bench`, for a shell."""
    words = [f"{MAKE[key]}={shlex.quote(value)}" for key, value in settings.items() if key in MAKE]
    others = " ".join(f"'{key}={value}'" for key, value in settings.items() if key not in MAKE)
    return " ".join(["make bench", *words, *([f'OVERRIDES="{others}"'] if others else [])])
