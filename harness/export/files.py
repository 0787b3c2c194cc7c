"""The files beside a report, and the formats that `tdbench export` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.export.latex import latex_text
from harness.export.tabular import csv_text, json_text, parquet_bytes
from harness.export.text import encodable
from harness.report.data import rows_of
from harness.report.page import Page
from harness.worker.jsonl import write_bytes

#: Format -> the files of the table in it.
FILES: Mapping[str, tuple[str, ...]] = {
    "csv": ("table.csv", "scores.csv"),
    "parquet": ("table.parquet",),
    "json": ("table.json",),
    "latex": ("table.tex",),
}


#: Columns of scores.csv where there are none.
_SCORE = (
    *("point", "metric", "version", "settings", "samples_digest", "value", "low", "high", "unit", "better", "reason"),
    "detail",
)


def data_files(page: Page, formats: tuple[str, ...] = tuple(FILES)) -> dict[str, bytes]:
    """The table of a report in some formats, by file name."""
    makers = {
        "table.csv": lambda: csv_text(page.rows, [str(name) for name in page.data.table.columns]).encode(),
        "scores.csv": lambda: csv_text(rows_of(page.data.scores), _SCORE).encode(),
        "table.parquet": lambda: parquet_bytes(page),
        "table.json": lambda: json_text(page).encode(),
        "table.tex": lambda: encodable(latex_text(page)).encode(),
    }
    return {name: makers[name]() for format in formats for name in FILES[format]}


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, each whole or not at all; folders that their names have are made."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
