"""The table that a person reads in the terminal after a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from harness import comparable

GENERATION_COLUMNS = ["model", "scheduler", "steps", "status", "nfe_mean", "seconds_per_sequence", "tokens_per_second"]
LIKELIHOOD_COLUMNS = ["model", "estimator", "bound", "status"]
#: Likelihood figures that have an interval.
WITH_INTERVAL = ("bits_per_token", "bits_per_char", "bits_per_byte", "perplexity")
#: How many of a benchmark's own metrics are shown; the report shows all.
HEADLINE_METRICS = 5


#: Columns that stand beside the model or its settings where the rows need them to be told apart.
SEVERAL = {"engine": "model", "task": "scheduler", "candidates": "steps", "seed": "steps"}


def print_summary(frame: pd.DataFrame, metrics: Mapping[str, Sequence[str]]) -> None:
    """For each benchmark generation with its main metrics, then likelihood; last what marks and notes mean.

    Args:
        frame: the table of a run.
        metrics: by benchmark, names of the metrics to show.
    """
    marks = comparable.marks(frame)
    frame = frame.assign(mark=marks.rows)
    mark = ["mark"] if marks.lines else []
    several = frame["benchmark"].nunique() > 1
    blocks = []
    for name, rows in frame.groupby("benchmark", sort=False):
        mine = _tables(rows, metrics.get(str(name), ()), mark)
        blocks += [f"{name}\n{mine[0]}", *mine[1:]] if several else mine
    print("\n\n".join([*blocks, *(["\n".join(marks.lines)] if marks.lines else [])]))


def _tables(frame: pd.DataFrame, metrics: Sequence[str], mark: list[str]) -> list[str]:
    """The rows of one benchmark: generation, then likelihood."""
    generated, scored = frame[frame["kind"] == "generate"], frame[frame["kind"] == "likelihood"]
    blocks = []
    if len(generated):
        shown = [name for name in metrics if name in frame.columns]
        blocks.append(_plain(generated[_with_several(GENERATION_COLUMNS, generated) + shown + mark]))
    if len(scored):
        texts = scored.copy()
        for name in WITH_INTERVAL:
            texts[name] = _with_interval(scored, name)
        columns = _with_several(LIKELIHOOD_COLUMNS, scored) + list(WITH_INTERVAL) + mark
        blocks.append(_plain(texts.reindex(columns=columns)))
    return blocks


def _with_several(columns: Sequence[str], frame: pd.DataFrame) -> list[str]:
    """The columns with those of `SEVERAL` in which the rows differ, or of which any has something to say."""
    out = list(columns)
    for name, before in SEVERAL.items():
        values = list(frame[name].dropna().unique()) if name in frame.columns else []
        told = len(values) > 1 or "imported" in values or (name == "candidates" and len(values) > 0)
        if told and before in out:
            out.insert(out.index(before) + 1, name)
    return out


def _with_interval(frame: pd.DataFrame, name: str) -> list[str | None]:
    """Each figure of a column with its 95 % interval; None where it is unknown."""
    ends = frame.reindex(columns=[name, f"{name}_low", f"{name}_high"]).astype(float)
    texts: list[str | None] = []
    for value, low, high in ends.itertuples(index=False):
        interval = "" if pd.isna(low) or pd.isna(high) else f" [{low:.4g}, {high:.4g}]"
        texts.append(None if pd.isna(value) else f"{value:.4g}{interval}")
    return texts


def _plain(frame: pd.DataFrame) -> str:
    frame = frame.where(frame.notna(), float("nan"))  # None, where a column holds objects, would be printed as such
    return frame.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4g}")
