"""Puts the report together and writes it: one HTML file, with tables and plots beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import comparable
from harness.report import svg
from harness.report.command import row_command
from harness.report.data import (
    Names,
    ReportData,
    Row,
    as_text,
    clean,
    kind_label,
    unique,
)
from harness.report.figures import Plot, all_series, draw, not_drawn
from harness.report.looks import swatch
from harness.report.markdown import markdown_of
from harness.report.method import method_notes
from harness.report.page import Page
from harness.report.parts import PARTS
from harness.report.places import Place
from harness.report.problems import not_run
from harness.report.samples import browser, script_json
from harness.report.summary import Remark, remarks
from harness.report.tables import Style, Table, table_of
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
    sections = _sections(page, parts["verdict"].rows())
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{plot.name}.svg": svg.file_svg(plot.inline) for section in sections for plot in section.plots}
    told = [(section.place, section.remarks, section.table) for section in sections]
    files["table.md"] = markdown_of(page, parts["verdict"], parts["quality_steps"], told)
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


def templates(anchors: Collection[str] | None = None) -> Environment:
    """The templates of all pages, everything escaped.

    Args:
        anchors: ids of the rows that the page's tables show: a link to another is plain text; None: all are shown.
    """
    made = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["shown"] = lambda anchor: anchors is None or anchor in anchors
    made.filters["script_json"] = lambda value: Markup(script_json(value))
    return made


def _html(page: Page, parts: Mapping[str, Any], sections: Sequence[Section]) -> str:
    data, rows, names = page.data, page.rows, page.names
    anchors = frozenset(row.anchor for section in sections for row in section.table.rows)
    return (
        templates(anchors)
        .get_template("report.html")
        .render(
            data=data,
            parts=parts,
            label=kind_label(rows),
            machine=_machine(data.environment),
            **shell(),
            what_ran=parts["verdict"].ran,
            warnings=parts["verdict"].warnings,
            sections=sections,
            swatches={model: swatch(look) for model, look in page.looks.items()},
            has_plots=any(section.plots for section in sections),
            problems=not_run(rows, names),
            samples=browser(data, [row for section in sections for row in section.place.rows], names),
            has_imports=any(map(comparable.is_imported, rows)),
            metrics=page.metrics,
            notes=method_notes(rows, page.metrics),
            environment=flatten(data.environment),
            benchmarks={name: data_facts(facts) for name, facts in data.benchmarks.items() if facts},
            commands=_commands(data, rows, names),
            MOST=MOST,
            NAMED=NAMED,
        )
    )


def shell() -> dict[str, str]:
    """Style sheet, script and policy of every page."""
    css, js = style_sheet(), assets("js")
    return {"css": css, "js": js, "policy": content_policy(css, js)}


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
