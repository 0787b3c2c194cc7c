"""Puts the report together and writes it: one HTML file, with tables and plots beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from harness import comparable
from harness.report import svg
from harness.report.command import row_command
from harness.report.data import (
    Metric,
    Names,
    ReportData,
    Row,
    as_text,
    clean,
    group_by,
    kind_label,
    rows_of,
    unique,
)
from harness.report.figures import Plot, all_series, draw
from harness.report.page import Page
from harness.report.parts import PARTS
from harness.report.places import Place
from harness.report.samples import browser, script_json
from harness.report.summary import Remark, remarks, warnings, what_ran
from harness.report.tables import Table, markdown, table_of
from harness.worker.jsonl import write_text


def write_report(data: ReportData, folder: Path) -> Path:
    """Write the report of a run: index.html (needs nothing beside it), table.csv, table.md, scores.csv, fig-*.svg.

    Each file is replaced whole; plots of an earlier report that this one does not have are removed.

    Returns:
        The path of index.html.

    Raises:
        OSError: when the folder cannot be written.
    """
    page = Page(data)
    rows, names = page.rows, page.names
    sections = _sections(page.places, names)
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{plot.name}.svg": svg.file_svg(plot.inline) for section in sections for plot in section.plots}
    files["table.csv"] = _csv(data.table)
    files["scores.csv"] = _csv(data.scores)
    files["table.md"] = _markdown_file(data, rows, sections, names)
    files["index.html"] = _html(page, sections)
    for name, text in files.items():
        # Lone surrogates, which a broken text may hold, cannot be written as UTF-8.
        write_text(folder / name, text.encode("utf-8", "replace").decode("utf-8"))
    for old in folder.glob("fig-*.svg"):
        if old.name not in files:
            old.unlink()
    return folder / "index.html"


class Section(NamedTuple):
    """A place with everything that is said of it; `series` are the lines of its plots, for the page's script."""

    place: Place
    remarks: list[Remark]
    plots: list[Plot]
    series: str
    table: Table


def _sections(places: Sequence[Place], names: Names) -> list[Section]:
    return [
        Section(
            place=place,
            remarks=remarks(place, names),
            plots=draw(place, series, names),
            series=script_json([{"i": s.number, "m": s.model, "s": s.method} for s in series.values()]),
            table=table_of(place, names),
        )
        for place, series in zip(places, all_series(places, names), strict=True)
    ]


class Line(NamedTuple):
    """A line of the summary, with the place that tells more, None for most."""

    text: str
    place: Place | None = None


def _summary(rows: Sequence[Row], sections: Sequence[Section], names: Names) -> list[Line]:
    """What stands above all sections: all remarks of a run of one place, else what comes first in each."""
    lines = [Line(what_ran(rows))]
    for place, found, *_ in sections:
        lines += [Line(str(remark)) for remark in found] if place.alone else [Line(r.first, place) for r in found[:1]]
    return lines + [Line(text) for text in (warnings(rows, names) if rows else [])]


def _csv(frame: pd.DataFrame) -> str:
    """All columns; lists and mappings as JSON, unknown values empty."""
    flat = pd.DataFrame([{k: _csv_value(v) for k, v in row.items()} for row in rows_of(frame)], dtype=object)
    return flat.to_csv(index=False) if len(flat.columns) else ""


def _csv_value(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def _markdown_file(data: ReportData, rows: list[Row], sections: Sequence[Section], names: Names) -> str:
    parts = [f"# {data.run}", "", f"{data.created} \u00b7 `{data.command}` \u00b7 {kind_label(rows)}", ""]
    summary = _summary(rows, sections, names)
    parts += [*(f"- {f'{line.place.title}: ' if line.place else ''}{line.text}" for line in summary), ""]
    for section in sections:
        if section.place.alone:
            parts.append(markdown(section.table))
        else:
            parts += [f"## {section.place.title}", "", *(f"- {remark}" for remark in section.remarks), ""]
            parts.append(markdown(section.table, level=3))
    problems = not_run(rows, names)
    if problems:
        parts += ["## Points without figures", "", *map(_problem_line, problems), ""]
    return "\n".join(parts)


def _problem_line(problem: Problem) -> str:
    return f"- {'; '.join(problem.points)}: {problem.reason}: {' '.join(problem.why.split())}"


class Problem(NamedTuple):
    """Points without figures that share a reason; `kind` is "failed", "not_available" or "same_as"."""

    kind: str
    points: list[str]
    reason: str
    why: str


def not_run(rows: Sequence[Row], names: Names) -> list[Problem]:
    """Points without figures, failed ones first, then what a model cannot do, then what would be the same twice."""
    found = []
    for kind, reason in (("failed", "reason not recorded"), ("not_available", "not available")):
        mine = [r for r in rows if r.get("status") == kind]
        for (given, why), same in group_by(
            mine, lambda r: (as_text(r.get("reason")), as_text(r.get("message")))
        ).items():
            text = (given or reason).replace("_", " ")
            found.append(Problem(kind, [names.full(r) for r in same], text, why or "no message recorded"))
    return found + _same_as(rows, names)


def _same_as(rows: Sequence[Row], names: Names) -> list[Problem]:
    """One entry for each pair of schedulers that are the same algorithm; `same_as` is a fingerprint or a scheduler."""
    schedulers = {str(r.get("fingerprint")): as_text(r.get("scheduler")) for r in rows}
    mine = [r for r in rows if r.get("status") == "same_as"]
    found = []
    for (scheduler, twin), same in group_by(
        mine, lambda r: (as_text(r.get("scheduler")), _twin(r, schedulers))
    ).items():
        why = f"{scheduler} is the same as {twin} under this schedule: not run twice."
        found.append(Problem("same_as", [names.full(r) for r in same], "same as another", why))
    return found


def _twin(row: Row, schedulers: Mapping[str, str]) -> str:
    other = as_text(row.get("same_as"))
    return schedulers.get(other, other)


def templates() -> Environment:
    """The templates of all pages, everything escaped."""
    return Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _html(page: Page, sections: Sequence[Section]) -> str:
    data, rows, names, metrics = page.data, page.rows, page.names, page.metrics
    samples = browser(data, [row for section in sections for row in section.place.rows], names)
    return (
        templates()
        .get_template("report.html")
        .render(
            data=data,
            parts={part.id: part.build(page) for part in PARTS},
            label=kind_label(rows),
            machine=_machine(data.environment),
            css=assets("css") + _palette(),
            js=assets("js"),
            summary=_summary(rows, sections, names),
            sections=sections,
            alone=all(section.place.alone for section in sections),
            has_plots=any(section.plots for section in sections),
            problems=not_run(rows, names),
            samples_json=script_json({"entries": samples.entries, "given": samples.given}),
            has_samples=bool(samples.entries),
            has_sources=bool(samples.given),
            has_imports=any(map(comparable.is_imported, rows)),
            samples_note=samples.note,
            metrics=metrics,
            notes=_method_notes(rows, metrics),
            environment=flatten(data.environment),
            benchmarks={name: data_facts(facts) for name, facts in data.benchmarks.items() if facts},
            cards={model: flatten(card) for model, card in data.cards.items()},
            commands=_commands(data, rows, names),
        )
    )


def _commands(data: ReportData, rows: Sequence[Row], names: Names) -> list[dict[str, str]]:
    """What makes each row again; imported rows come by the commands that imported them."""
    mine = [r for r in rows if r.get("status") != "same_as" and not comparable.is_imported(r)]
    own = [{"name": names.full(r), "model": names.model(r), "command": row_command(r, data.command)} for r in mine]
    return own + [{"name": "imported rows", "model": "", "command": command} for command in data.imports]


def assets(kind: str) -> str:
    """All style sheets or all scripts, the report's own first, then the parts' in the order of their names."""
    files = [
        file for file in resources.files("harness.report").joinpath("assets").iterdir() if file.name.endswith(kind)
    ]
    files.sort(key=lambda file: (not file.name.startswith("report."), file.name))
    return "".join(file.read_text(encoding="utf-8") for file in files)


def _palette() -> str:
    dark = svg.palette_css(":root", dark=True)
    return f"{svg.palette_css(':root', dark=False)}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def _machine(environment: Mapping[str, Any]) -> str:
    """GPU and CPU as the environment names them, wherever they stand in it."""
    flat = flatten(environment)
    found = [str(v) for k, v in flat if k.rsplit(".", 1)[-1] in ("gpu", "cpu") and v]
    return ", ".join(unique(found)) or "machine not recorded"


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as dotted keys with one line of text each; empty values left out."""
    out: list[tuple[str, str]] = []
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            out += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list) and any(isinstance(v, Mapping) or " " in str(v) for v in value):
            out += flatten({str(i): v for i, v in enumerate(value, start=1)}, f"{prefix}{key}.")
        elif clean(value) not in (None, "", []):
            out.append((f"{prefix}{key}", as_text(clean(value))))
    return out


#: What a reader wants to know of the data first; the other facts follow.
_FIRST_FACTS = (
    *("name", "version", "summary", "source", "revision", "licence", "split", "normalize", "detokenize", "windowing"),
    *("length", "tokens", "tokenizer", "pairs", "references", "windows"),
)


def data_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts of the benchmark as dotted keys with one line of text each, where the text comes from first."""
    ordered = [key for key in _FIRST_FACTS if key in facts] + [key for key in facts if key not in _FIRST_FACTS]
    return flatten({key: facts[key] for key in ordered})


def _method_notes(rows: Sequence[Row], metrics: Sequence[Metric]) -> list[str]:
    """How the figures were got; what the rows say about it is read from them."""
    draws = unique(as_text(r["precision"]) for r in rows if r.get("precision") is not None)
    batches = unique(as_text(r["batch_size"]) for r in rows if r.get("batch_size") is not None)
    notes = [
        "Time: loading, the first call and warm-up are measured apart from the timed part; the device is synchronised "
        "on both sides of a batch. Time per sequence is total seconds by total sequences; the seconds of every batch "
        "are stored.",
        f"Batch size: {', '.join(batches) or 'not recorded'}. Times at different batch sizes are not comparable.",
        "NFE is counted at the network for each sequence, discarded work included; it is not the step count.",
        f"Categorical draws: {', '.join(draws) or 'precision not recorded'}. In single precision rare tokens are lost, "
        "more so with more steps, which fakes a better perplexity.",
        "Intervals are 95 % bootstrap intervals over samples unless the metric's settings say otherwise. Overlapping "
        "intervals mean that the run cannot tell two points apart.",
        "Likelihood: an upper bound and an exact figure are of different kinds; a bound above another model's exact "
        "figure does not show that the model is worse.",
        "Rows are ranked together only where data, tokenizer, length, samples, sampling precision, judge and kind of "
        "likelihood agree (for seconds: device, dtype, batch size). A letter beside a name marks a row that differs; "
        "the heading of its group says in what.",
    ]
    if any("ppl" in m.name for m in metrics):
        notes.append("Generative perplexity rewards dull text: read it beside the entropy and the control rows.")
    return notes + [note for holds, note in _SPECIAL_NOTES if any(map(holds, rows))]


#: What is said where any row is of that kind.
_SPECIAL_NOTES: tuple[tuple[Callable[[Row], bool], str], ...] = (
    (
        lambda row: row.get("task") == "seq2seq",
        "Text written from a source: the length of a row and its tokenizer say nothing about the text that is written, "
        "so rows are ranked together where data, samples, sampling precision and the metric's settings agree.",
    ),
    (
        lambda row: bool(row.get("selection")),
        "MBR rows choose, for each source, the candidate that is most like the other candidates; the candidates are "
        "the texts of the rows with a seed. NFE, seconds and evaluations are sums over all candidates.",
    ),
    (
        comparable.is_imported,
        "Imported rows hold texts that were generated elsewhere. Only their quality was measured here; model, steps "
        "and settings are what the import was told.",
    ),
)
