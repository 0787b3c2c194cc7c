"""`tdbench export`: a stored run, or several as one, in the formats of other tools."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from harness import provenance
from harness.config import ReportConfig
from harness.errors import UserError, counted, unknown
from harness.export.files import FILES, data_files, write_files
from harness.export.hub import hub_files
from harness.export.request import ALL_FILES, HUB, ExportRequest
from harness.export.text import encodable
from harness.export.trackers.base import Answer, Request
from harness.export.trackers.to_mlflow import to_mlflow
from harness.export.trackers.to_trackio import to_trackio
from harness.export.trackers.to_wandb import to_wandb
from harness.report.markdown import markdown_text
from harness.report.merge import runs_as_one
from harness.report.page import Page

#: Of `harness.export.request.TRACKERS`.
TRACKERS: Mapping[str, Callable[[Request], Answer]] = {
    "mlflow": to_mlflow,
    "trackio": to_trackio,
    "wandb": to_wandb,
}


def export(request: ExportRequest) -> int:
    """Write the files and tell the trackers.

    Returns:
        exit code 0, 1 when a run could not be read and the export is of the others.

    Raises:
        UserError: for an unknown format or run, a folder that cannot be written, or a package that is not installed.
    """
    for name in request.formats:
        if name not in ALL_FILES and name not in TRACKERS:
            raise unknown("format", name, (*ALL_FILES, *TRACKERS))
    runs = [name for given in request.runs for name in given.split(",") if name]
    config = ReportConfig(run=runs, results=str(request.results), reports=str(request.reports))
    data, problems = runs_as_one(config, provenance.command_line())
    page = Page(data)
    report = request.reports.expanduser() / data.run
    _write_files(page, request, request.to.expanduser() if request.to else report)
    for name in request.formats:
        if name in TRACKERS:
            print(TRACKERS[name](_tracked(page, request, report)))
    for note in data.missing:
        print(f"note: {note}", file=sys.stderr)
    return int(bool(problems))


def _write_files(page: Page, request: ExportRequest, folder: Path) -> None:
    wanted = [name for name in ALL_FILES if name in request.formats]
    if not wanted:
        return
    files = data_files(page, tuple(name for name in wanted if name in FILES))
    if "markdown" in wanted:
        files["table.md"] = encodable(markdown_text(page)).encode()
    hub = hub_files(page, [name for name in wanted if name in HUB], request.model_ids, request.source_url)
    files |= hub.files
    try:
        write_files(folder, files)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}. Choose another with --to.") from None
    print(f"export: {counted(len(files), 'file')} in {folder}: {', '.join(files)}")
    for note in hub.notes if any(name in HUB for name in wanted) else ():
        print(f"note: {note}", file=sys.stderr)


def _tracked(page: Page, request: ExportRequest, report: Path) -> Request:
    there = (report / "index.html").is_file()
    if not there:
        print(
            f"note: there is no report in {report}, so none is attached; make one with tdbench report.", file=sys.stderr
        )
    results = request.results.expanduser()
    return Request(page, request.project or "tdbench", results, report if there else None, request.tracking_uri)
