"""The table that a person reads in the terminal after a run."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness import comparable

GENERATION_COLUMNS = ["model", "scheduler", "steps", "status", "nfe_mean", "seconds_per_sequence", "tokens_per_second"]
LIKELIHOOD_COLUMNS = ["model", "estimator", "bound", "status"]
#: Likelihood figures that have an interval.
WITH_INTERVAL = ("bits_per_token", "bits_per_char", "bits_per_byte", "perplexity")
#: How many of a benchmark's own metrics are shown; the report shows all.
HEADLINE_METRICS = 5


def print_summary(frame: pd.DataFrame, metrics: Sequence[str]) -> None:
    """Generation with its main metrics, then likelihood, then what marks and notes mean.

    Args:
        frame: the table of a run.
        metrics: names of the metrics to show.
    """
    marks = comparable.marks(frame)
    frame = frame.assign(mark=marks.rows)
    mark = ["mark"] if marks.lines else []
    engine = ["engine"] if frame["engine"].nunique() > 1 else []
    generated, scored = frame[frame["kind"] == "generate"], frame[frame["kind"] == "likelihood"]
    if len(generated):
        shown = [name for name in metrics if name in frame.columns]
        print(_plain(generated[GENERATION_COLUMNS[:1] + engine + GENERATION_COLUMNS[1:] + shown + mark]))
    if len(scored):
        texts = scored.copy()
        for name in WITH_INTERVAL:
            texts[name] = _with_interval(scored, name)
        columns = LIKELIHOOD_COLUMNS[:1] + engine + LIKELIHOOD_COLUMNS[1:] + list(WITH_INTERVAL) + mark
        print("\n" + _plain(texts.reindex(columns=columns)))
    if marks.lines:
        print("\n" + "\n".join(marks.lines))


def _with_interval(frame: pd.DataFrame, name: str) -> list[str | None]:
    """Each figure of a column with its 95 % interval; None where it is unknown."""
    ends = frame.reindex(columns=[name, f"{name}_low", f"{name}_high"]).astype(float)
    texts: list[str | None] = []
    for value, low, high in ends.itertuples(index=False):
        interval = "" if pd.isna(low) or pd.isna(high) else f" [{low:.4g}, {high:.4g}]"
        texts.append(None if pd.isna(value) else f"{value:.4g}{interval}")
    return texts


def _plain(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.4g}")
