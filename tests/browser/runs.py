"""The runs whose reports are opened in a browser, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from harness import comparable
from harness.report import ReportData
from tests.harness.big_run import big_run, many_rows
from tests.harness.report_fixture import both_run, differing_run, pair_run, synthetic_run

__all__ = ["differing_run"]

#: Harmful where it is not escaped, hidden or wide where it is not tamed.
EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 2'><b onclick=window.evil=3>x</b>"
ODD = "\x00\x07\x1b[31m \u202egnp.exe\u202c \u5bfc\u5165\u6587\u672c \u0645\u0631\u062d\u0628\u0627 \ud800 &amp; "
LONG = "w" * 3_000
HOSTILE = EVIL + ODD + LONG
#: The same as a column of a table can hold it.
IN_TABLE = HOSTILE.replace("\ud800", "")


def big() -> ReportData:
    return big_run()


def both() -> ReportData:
    return both_run()


def pairs() -> ReportData:
    return pair_run()


def small() -> ReportData:
    return synthetic_run()


def differing() -> ReportData:
    return differing_run()


def many() -> ReportData:
    return many_rows(10_000)


def hostile() -> ReportData:
    """Everything that comes from a file or a model is harmful."""
    run = both_run()
    table = run.table.assign(notes=[[HOSTILE]] * len(run.table), engine=IN_TABLE, message=IN_TABLE)
    table["model"] = table["model"].replace({"radd": IN_TABLE})
    table["scheduler"] = table["scheduler"].replace({"confidence": IN_TABLE})
    table.loc[:2, "precision"] = IN_TABLE
    text = {"index": 0, "text": HOSTILE, "nfe": 1, "candidates": [HOSTILE], "chosen": 0}
    return dataclasses.replace(
        run,
        run=HOSTILE,
        command=HOSTILE,
        table=comparable.annotate(table),
        samples={key: [text] for key in run.samples},
        sources={"toy_paraphrase": [{"source": HOSTILE, "references": [HOSTILE]}]},
        cards={HOSTILE: {"title": HOSTILE, "caveats": [HOSTILE]}},
        environment={HOSTILE: {HOSTILE: HOSTILE}},
        benchmarks={"toy": {"name": HOSTILE, HOSTILE: [HOSTILE]}, HOSTILE: {"name": HOSTILE}},
        notes=[HOSTILE],
        missing=[HOSTILE],
        imports=[HOSTILE],
    )


# --- what may be missing ---------------------------------------------------------------------------------------------


def empty() -> ReportData:
    return ReportData(run="empty", command="tdbench bench", created="", table=pd.DataFrame())


def nothing_finished() -> ReportData:
    table = synthetic_run().table.assign(status="failed", reason="exception", message="it broke")
    return ReportData(run="none", command="tdbench bench", created="2026-01-02", table=table)


def one_model() -> ReportData:
    return synthetic_run(("radd",))


def one_step() -> ReportData:
    return synthetic_run(steps=(16,))


def no_metrics() -> ReportData:
    run = synthetic_run()
    kept = [c for c in run.table.columns if not c.startswith(("gen_ppl", "unigram", "toy_", "distinct", "mauve"))]
    return dataclasses.replace(run, table=run.table[kept], scores=pd.DataFrame())


def not_finite() -> ReportData:
    run = synthetic_run()
    table = run.table.copy()
    for i, value in enumerate((np.nan, np.inf, -np.inf)):
        table.loc[i, ["gen_ppl", "gen_ppl_low", "gen_ppl_high", "seconds_per_sequence", "nfe_mean"]] = value
    return dataclasses.replace(run, table=table)


def newer() -> ReportData:
    """Rows of a later version: an unknown status, kind and columns, and values of another type."""
    run = synthetic_run()
    table = run.table.assign(energy_joules=12.5, later=[{"a": [1, {"b": 2}]}] * len(run.table)).astype(object)
    changed: list[tuple[int, str, Any]] = [
        (0, "status", "quarantined"),
        (2, "kind", "embedding"),
        (3, "nfe_mean", "many"),
    ]
    for row, column, value in changed:
        table.loc[row, column] = value
    return dataclasses.replace(run, table=table)
