"""LaTeX tables."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness import comparable
from harness.export.latex import MOST_ROWS, ROWS_OF_A_PAGE, latex_text
from harness.metrics.base import SampleValues
from harness.report import ReportData
from harness.report.page import Page
from tests.harness.report_fixture import both_run, differing_run, synthetic_run

HOSTILE = (
    'ra_dd%&$#{}~^\\ \x07[x] \u4e2d \u0645\u202e \u00e9 "q" <b> -- \ud800 `*` \\end{tabular}\\input{/etc/hosts} \u221e'
)
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs,graphicx,rotating}
\begin{document}
\input{table}
\end{document}
"""


def hostile_run() -> ReportData:
    data = both_run()
    names = [HOSTILE if name == "radd" else f"[{name}*" for name in data.table["model"]]
    table = data.table.assign(model=pd.Series(names, dtype=object))
    return dataclasses.replace(data, run="a_b%\n\\c", table=comparable.annotate(table))


def alignments(text: str) -> list[tuple[int, set[int]]]:
    """For each table its number of columns, and how many cells its rows have."""
    found = []
    for layout, body in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.rstrip().endswith(("\\\\", "ex]"))]
        found.append((len(layout), {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows}))
    return found


def balanced(text: str) -> bool:
    plain = re.sub(r"\\[\\{}]", "", "\n".join(line for line in text.splitlines() if not line.startswith("%")))
    return plain.count("{") == plain.count("}")


@pytest.mark.parametrize("data", [synthetic_run(), both_run(), differing_run(), hostile_run()])
def test_every_row_has_a_cell_for_each_column(data: ReportData) -> None:
    text = latex_text(Page(data))
    assert alignments(text)
    assert all(cells == {columns} for columns, cells in alignments(text))
    assert balanced(text)


def test_hostile_names_are_printed_and_run_nothing() -> None:
    text = latex_text(Page(hostile_run()))
    assert "\\input" not in text
    assert text.count("\\end{tabular}") == text.count("\\begin{tabular}")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    assert r"ra\_dd\%\&\$\#\{\}" in text
    assert text.splitlines()[0].startswith("% Tables of the run a_b% \\c (")


def test_a_table_for_each_place_with_caption_label_and_units() -> None:
    text = latex_text(Page(both_run()))
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels == ["tab:both-toy-unconditional", "tab:both-toy-likelihood", "tab:both-toy_paraphrase-seq2seq"]
    assert text.count(r"\caption{") == 3
    assert "perplexity $\\downarrow$" in text
    assert "sentences $\\uparrow$" in text
    assert "{\\scriptsize nats/token}" in text
    assert "MAUVE is left out: MAUVE needs at least 1,000 samples a side" in text
    assert "Points without figures: 1 failed." in text


def test_figures_are_those_of_the_table_with_intervals_below() -> None:
    data = synthetic_run(models=("radd",), steps=(4,), schedulers=("ancestral",))
    row = data.table[data.table["model"] == "radd"].iloc[0]
    lines = latex_text(Page(data)).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("radd & ancestral & 4 &"))
    assert f"{row['gen_ppl']:.2f}" in lines[at]
    assert f"[{row['gen_ppl_low']:.2f}, {row['gen_ppl_high']:.2f}]" in lines[at + 1]
    assert "& 3.72 &" in lines[at], "NFE, as it was counted"


def test_rows_that_are_not_ranked_bear_their_letter() -> None:
    text = latex_text(Page(differing_run()))
    assert re.search(r"radd\\textsuperscript\{a\} & confidence", text)
    assert "a: not ranked with the unmarked rows: sampling precision float16" in text


def test_seeds_are_one_row_and_counted() -> None:
    text = latex_text(Page(both_run()))
    assert re.search(r"^diffuseq & ddpm & 4 & 3 &", text, re.MULTILINE)


@pytest.mark.parametrize("wide", [False, True])
def test_a_long_table_is_cut_into_parts(wide: bool) -> None:
    data = synthetic_run(steps=tuple(range(2, 20)))
    more = {f"more_{i}{end}": 0.5 for i in range(4) for end in ("", "_low", "_high")} if wide else {}
    page = Page(dataclasses.replace(data, table=data.table.assign(**more)))
    text = latex_text(page)
    entries = len(page.entries(page.places[0]))
    parts = -(-entries // ROWS_OF_A_PAGE[wide])
    assert parts > 1
    assert text.count(f" of {parts}.}}") == parts
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == parts + 1
    assert ("sidewaystable" in text) == wide
    assert text.count("MAUVE is left out") == 1


@pytest.mark.parametrize("table", [pd.DataFrame(), synthetic_run().table.iloc[:0]])
def test_no_rows_no_table(table: pd.DataFrame) -> None:
    text = latex_text(Page(dataclasses.replace(synthetic_run(), table=table)))
    assert all(line.startswith("%") for line in text.splitlines())


def test_too_many_rows_are_no_table() -> None:
    data = synthetic_run(models=("radd",), steps=(4,), schedulers=("ancestral",))
    table = pd.concat([data.table.iloc[:1]] * (MOST_ROWS + 1), ignore_index=True)
    text = latex_text(Page(dataclasses.replace(data, table=table)))
    assert f"{MOST_ROWS + 1} rows are too many for print" in text
    assert "tabular" not in text


# --- bold -----------------------------------------------------------------------------------------------------------


def valued_run(gap: float) -> ReportData:
    """A run in which radd's 64 steps with `confidence` are better than all else by `gap` of the share, sample by
    sample; all else is equal.
    """
    data = synthetic_run(steps=(4, 64))
    noise = np.random.default_rng(0).normal(0, 0.1, 200)
    values: dict[str, dict[str, SampleValues]] = {}
    table = data.table.copy()
    for i, row in table.iterrows():
        first = (row["model"], row["scheduler"], row["steps"]) == ("radd", "confidence", 64)
        mine = 0.5 + noise + (gap if first else 0.0)
        values[row["fingerprint"]] = {"toy_valid_sentences": SampleValues("mean", [[float(v), 1.0] for v in mine])}
        if row["role"] == "model":
            table.loc[i, ["toy_valid_sentences", "samples_done"]] = [float(mine.mean()), len(mine)]
    return dataclasses.replace(data, table=table, values=values)


def test_bold_is_what_a_paired_test_finds_best() -> None:
    text = latex_text(Page(valued_run(0.2)))
    bold = [line for line in text.splitlines() if "\\textbf" in line]
    assert len(bold) == 1
    assert bold[0].startswith("radd & confidence & 64 & \\textbf{0.7")
    assert "Bold: better than every other model of its column" in text


def test_nothing_is_bold_where_nothing_is_better() -> None:
    text = latex_text(Page(valued_run(0.0)))
    assert "\\textbf" not in text
    assert "Bold: better than every other model of its column" not in text


def test_a_marked_row_is_never_bold() -> None:
    data = valued_run(0.2)
    mine = (data.table["model"] == "radd") & (data.table["scheduler"] == "confidence")
    data.table.loc[mine, "precision"] = "float16"
    text = latex_text(Page(dataclasses.replace(data, table=comparable.annotate(data.table))))
    assert "\\textbf" not in text


# --- the real thing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
@pytest.mark.parametrize("make", [hostile_run, differing_run, lambda: synthetic_run(steps=tuple(range(2, 20)))])
def test_latex_accepts_it(engine: str, make: Any, tmp_path: Path) -> None:
    if shutil.which(engine) is None:
        pytest.skip(f"{engine} is not installed")
    (tmp_path / "table.tex").write_text(latex_text(Page(make())), encoding="utf-8")
    (tmp_path / "main.tex").write_text(DOCUMENT, encoding="utf-8")
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "Missing character" not in (tmp_path / "main.log").read_text(encoding="utf-8", errors="replace")
