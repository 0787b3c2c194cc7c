"""What `tdbench export` may be asked. Importing this is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Format -> what it is, for `--help`.
FORMATS = {
    "csv": "table.csv, scores.csv",
    "parquet": "table.parquet, for pandas, Polars or DuckDB",
    "json": "table.json, with where the run comes from",
    "latex": "table.tex, booktabs, one table for each benchmark and task",
    "markdown": "table.md",
    "eval_results": "hub/OWNER--NAME/.eval_results/*.yaml, for a model repository on the Hugging Face Hub",
    "model_index": "hub/OWNER--NAME/model-index.yaml, for the head of a model card",
    "mlflow": "one run for each row of the LaTeX table, in a local store or at --tracking-uri",
    "trackio": "one run for each line of the plots, in trackio's local store",
    "wandb": "the same as offline runs of Weights & Biases",
}
TRACKERS = ("mlflow", "trackio", "wandb")
HUB = ("eval_results", "model_index")
#: What is written where no format is named: all files.
ALL_FILES = tuple(name for name in FORMATS if name not in TRACKERS)


@dataclass(frozen=True)
class ExportRequest:
    """What `tdbench export` is asked.

    Attributes:
        runs: names of stored runs, also joined by commas; several are merged as their report is.
        formats: of `ALL_FILES` and `TRACKERS`.
        to: folder of the files; None: the folder of the run's report.
        model_ids: repositories on the Hub by checkpoint, as the user gives them (`harness.export.hub`).
        source_url: a page that shows the results, named in the Hub's files.
        project: name of the trackers' project; None: tdbench.
        tracking_uri: address of the MLflow store.
        results: folder that holds run folders.
        reports: folder that holds reports.
    """

    runs: list[str]
    formats: list[str]
    to: Path | None = None
    model_ids: tuple[str, ...] = ()
    source_url: str | None = None
    project: str | None = None
    tracking_uri: str | None = None
    results: Path = Path("results")
    reports: Path = Path("reports")
