"""Puts the report together and writes it: one HTML file, with tables and plots beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from html import unescape
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import comparable
from harness.report import quality_steps, svg, verdict
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
    unique,
)
from harness.report.figures import Plot, all_series, draw, not_drawn
from harness.report.looks import swatch
from harness.report.page import Page
from harness.report.parts import PARTS
from harness.report.places import Place
from harness.report.samples import browser, script_json
from harness.report.summary import Remark, remarks, warnings, what_ran
from harness.report.tables import Style, Table, markdown, table_of
from harness.report.text import visible
from harness.worker.jsonl import write_text

#: Commands, and groups of points without figures, that the page shows at most; table.csv holds every row.
MOST = 1_000
#: Points named at most where many share a reason.
NAMED = 20


def write_report(data: ReportData, folder: Path) -> Path:
    """Write the report of a run: index.html (needs nothing beside it), its table for other programs (`harness.export`),
    table.md, fig-*.svg.

    Each file is replaced whole; plots of an earlier report that this one does not have are removed.

    Returns:
        The path of index.html.

    Raises:
        OSError: when the folder cannot be written.
    """
    return write_page(Page(data), folder)


def write_page(page: Page, folder: Path) -> Path:
    """As `write_report`, of a page."""
    from harness.export.files import data_files, write_files  # made from this package

    parts = {part.id: part.build(page) for part in PARTS}
    sections = _sections(page, _linked(parts["verdict"]))
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{plot.name}.svg": svg.file_svg(plot.inline) for section in sections for plot in section.plots}
    files["table.md"] = _markdown_file(page, parts["verdict"], parts["quality_steps"], sections)
    files["index.html"] = _html(page, parts, sections)
    for name, text in files.items():
        write_text(folder / name, visible(text))
    write_files(folder, data_files(page))
    for old in folder.glob("fig-*.svg"):
        if old.name not in files:
            old.unlink()
    return folder / "index.html"


class Section(NamedTuple):
    """A place with everything that is said of it; `series` are the lines of its plots, for the page's script."""

    place: Place
    remarks: list[Remark]
    plots: list[Plot]
    not_drawn: list[str]
    series: list[dict[str, Any]]
    table: Table


def _sections(page: Page, linked: Collection[str] = ()) -> list[Section]:
    places, names, style = page.places, page.names, Style(page.looks, linked)
    return [
        Section(
            place=place,
            remarks=remarks(place, names),
            plots=(plots := draw(page, place, series)),
            not_drawn=not_drawn(page, place, plots),
            series=[{"i": s.number, "m": s.model, "s": s.method} for s in series.values()],
            table=table_of(place, names, style),
        )
        for place, series in zip(places, all_series(page), strict=True)
    ]


def _linked(part: Any) -> set[str]:
    """Fingerprints of the rows which the verdict links to."""
    text = templates().from_string('{% from "verdict.html" import section %}{{ section(part) }}').render(part=part)
    return {unescape(fingerprint) for fingerprint in re.findall(r'href="#row-([^"]*)"', text)}


def markdown_text(page: Page) -> str:
    """The report as Markdown, as table.md has it."""
    return _markdown_file(page, verdict.build(page), quality_steps.build(page), _sections(page))


def _markdown_file(
    page: Page, said: verdict.Verdict, steps: quality_steps.QualitySteps, sections: Sequence[Section]
) -> str:
    data, rows, names = page.data, page.rows, page.names
    parts = [f"# {data.run}", "", f"{data.created} \u00b7 `{data.command}` \u00b7 {kind_label(rows)}", ""]
    parts += [*(f"- {line}" for line in verdict.lines(said)), ""]
    if found := quality_steps.lines(steps):
        parts += ["## Steps to quality", "", *(f"- {line}" for line in found), ""]
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
    made = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["script_json"] = lambda value: Markup(script_json(value))
    return made


def _html(page: Page, parts: Mapping[str, Any], sections: Sequence[Section]) -> str:
    data, rows, names = page.data, page.rows, page.names
    text = (
        templates()
        .get_template("report.html")
        .render(
            data=data,
            parts=parts,
            label=kind_label(rows),
            machine=_machine(data.environment),
            css=style_sheet(),
            js=assets("js"),
            policy=content_policy(style_sheet(), assets("js")),
            what_ran=what_ran(rows),
            warnings=warnings(rows, names) if rows else [],
            sections=sections,
            swatches={model: swatch(look) for model, look in page.looks.items()},
            has_plots=any(section.plots for section in sections),
            problems=not_run(rows, names),
            samples=browser(data, [row for section in sections for row in section.place.rows], names),
            has_imports=any(map(comparable.is_imported, rows)),
            metrics=page.metrics,
            notes=_method_notes(rows, page.metrics),
            environment=flatten(data.environment),
            benchmarks={name: data_facts(facts) for name, facts in data.benchmarks.items() if facts},
            commands=_commands(data, rows, names),
            MOST=MOST,
            NAMED=NAMED,
        )
    )
    return _without_dead_links(text, {row.anchor for section in sections for row in section.table.rows})


def _without_dead_links(text: str, anchors: Collection[str]) -> str:
    """The page with its links to rows that no table shows as plain text."""
    return re.sub(r' (?:xlink:)?href="#(row-[^"]*)"', lambda m: m[0] if unescape(m[1]) in anchors else "", text)


def content_policy(css: str, js: str) -> str:
    """The content-security policy of a page with this style sheet and this script: nothing else is applied or run.

    Hashes as in https://www.w3.org/TR/CSP3/#match-element-to-source-list.
    """
    allowed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, js)]
    rest = "img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; style-src 'sha256-{allowed[0]}'; script-src 'sha256-{allowed[1]}'; {rest}"


class Commands(NamedTuple):
    """What makes each row again: the first `MOST` of them, and how many there are."""

    shown: list[dict[str, str]]
    total: int


def _commands(data: ReportData, rows: Sequence[Row], names: Names) -> Commands:
    """Imported rows come by the commands that imported them."""
    mine = [r for r in rows if r.get("status") != "same_as" and not comparable.is_imported(r)]
    commands = {run.run: run.command for run in data.runs}
    own = [
        {
            "name": names.full(r),
            "model": names.model(r),
            "command": row_command(r, commands.get(str(r.get("run")), data.command)),
        }
        for r in mine[:MOST]
    ]
    imports = [{"name": "imported rows", "model": "", "command": command} for command in data.imports]
    return Commands([*imports, *own][:MOST], len(mine) + len(imports))


def assets(kind: str) -> str:
    """All style sheets or all scripts, the report's own first, then the parts' in the order of their names.

    Args:
        kind: "css", or "js": all scripts in one strict function.
    """
    files = [
        file for file in resources.files("harness.report").joinpath("assets").iterdir() if file.name.endswith(kind)
    ]
    files.sort(key=lambda file: (not file.name.startswith("report."), file.name))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    return f'"use strict";\n(() => {{\n{text}}})();' if kind == "js" else text


def style_sheet() -> str:
    """All style sheets and the colours of the models, in both themes."""
    dark = svg.palette_css(":root", dark=True)
    light = svg.palette_css(":root", dark=False)
    return f"{assets('css')}{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


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
        "Intervals are 95 % bootstrap intervals over samples unless the metric's settings say otherwise. Whether "
        "two of them overlap does not settle whether two points differ.",
        "The verdict and the steps to quality call two entries different only by a paired permutation test over the "
        "same samples. The best is picked on the samples that it is tested on, and any entry might have been: so "
        "Holm's adjustment counts every pair of entries of a place, tested or not, which keeps the chance of any false "
        "claim below 5 % for each place. What could have been seen is the difference that the test would find four "
        "times in five at that level. Less varied than real data: the 95 % interval of the difference in unigram "
        "entropy is below 0, without such an adjustment.",
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
