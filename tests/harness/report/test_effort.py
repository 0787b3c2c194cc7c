from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd
import pytest

from adapters.cards import get_card
from harness import comparable
from harness.effort import CodeSize, Effort, Needs, Stated
from harness.report import ReportData, effort
from harness.report.collect import card_summary
from harness.report.effort import COLUMNS, large
from harness.report.page import Page
from harness.report.render import templates
from tests.harness.report_fixture import both_run, synthetic_run

KNOWN = Effort(
    paper="2023-05",
    last_commit=date(2025, 7, 2),
    data=(Stated("Books, 10 million words", "README", brief="Books"), Stated("more books", "paper")),
    compute=(Stated("30 days on 8 GPUs", "paper", gpu_days=240),),
    weights_licence=Stated("none stated", "README"),
    code=CodeSize(10, 1234),
    needed=CodeSize(3, 400),
    cuda_files=2,
    needs=Needs("requirements.txt", python="3.9", torch="2.0.1", cuda="11.8", packages=12, compiled="a kernel"),
    took=("a stand-in for a kernel",),
)
CARD = {
    "title": "Big",
    "role": "model",
    "summary": "A model",
    "repo": "https://example.org/big",
    "commit": "c" * 40,
    "licence": None,
    "checkpoints": [
        {"name": "tiny", "kind": "tiny", "parameters": 200_000, "size": None, "is": ""},
        {"name": "big", "kind": "published", "parameters": 1_280_000_000, "size": "about 5 GB", "is": "Large"},
    ],
    "code": (CodeSize(5, 900), CodeSize(4, 600)),
    "caveats": ["slow"],
    "effort": KNOWN,
}


def made(data: ReportData, /, **cards: Any) -> effort.EffortPart:
    return effort.build(Page(replace(data, cards=cards or data.cards)))


def cells(part: effort.EffortPart, number: int = 0) -> dict[str, effort.Cell]:
    return dict(zip(COLUMNS, part.models[number].cells, strict=True))


def test_the_line_of_a_model_has_its_facts_and_what_it_cost_here():
    mine = cells(made(synthetic_run(models=("nanodd",)), nanodd=CARD))
    assert mine["parameters"] == ("1.28 B", "here 370 k (tiny)", 1_280_000_000)
    assert mine["training data"][:2] == ("Books", "and 1 more below")
    assert mine["training compute"] == ("30 days on 8 GPUs", "", 240)
    assert mine["licence"][:2] == ("none stated", "weights: none stated")
    assert mine["age"][:2] == ("2.7 years", "last commit 6 months ago")
    assert mine["authors' code"] == ("1,234 lines", "400 of them to sample and score", 1234)
    assert mine["dependencies"] == ("12 packages", "Python 3.9, torch 2.0.1, CUDA 11.8", 12)
    assert mine["code here"] == ("900 lines", "and 600 shared with its family", 900)
    assert mine["time / sequence here"][:2] == ("1.32 ms to 21.1 ms", "tiny, 4 to 64 steps")
    assert mine["memory here"].text == "296 MiB"


def test_what_is_not_known_is_said_and_never_guessed():
    part = made(synthetic_run(models=("nanodd",)), nanodd={"title": "N"})
    mine = cells(part)
    unknown = {name for name, cell in mine.items() if cell.text == effort.UNKNOWN}
    assert unknown == set(COLUMNS) - {"time / sequence here", "memory here"}
    assert all(mine[name].sort is None for name in unknown)
    assert mine["licence"].small == "weights: not known"
    assert part.sentences == []


def test_a_licence_that_the_authors_do_not_state_is_not_one_that_nobody_looked_for():
    assert cells(made(synthetic_run(), nanodd={**CARD, "repo": None}))["licence"].text == effort.UNKNOWN


@pytest.mark.parametrize("created", ["not a date", "", "2020-01-01T00:00:00+00:00"])
def test_without_a_day_after_the_paper_there_is_no_age(created):
    mine = cells(made(replace(synthetic_run(), created=created), nanodd=CARD))
    assert mine["age"] == (effort.UNKNOWN, "", None)


def test_the_sentences_name_the_least_and_the_most_of_the_models_alone():
    small = {**CARD, "title": "Small", "effort": Effort(code=CodeSize(1, 90))}
    small["checkpoints"] = [{**CARD["checkpoints"][1], "parameters": 5_000_000}]
    baseline = {**CARD, "title": "Base", "role": "baseline", "effort": replace(KNOWN, code=CodeSize(1, 1))}
    part = made(synthetic_run(), nanodd=CARD, radd=small, gpt2=baseline)
    assert part.sentences == [
        "Published networks: from 5 M parameters (Small) to 1.28 B parameters (Big).",
        "Authors' code: from 90 lines (Small) to 1,234 lines (Big).",
        "Training as published: about 240 GPU-days (Big).",
        "GPUs and days of training are not known for Small.",
    ]


def test_controls_have_no_line_and_a_model_without_a_card_is_named():
    part = made(synthetic_run(), nanodd=CARD, data={"title": "data", "role": "control"}, bigram={"title": "old card"})
    assert [model.model for model in part.models] == ["nanodd"]
    assert part.missing == ["radd"]


def test_costs_of_different_conditions_stand_apart():
    data = synthetic_run(models=("nanodd",), schedulers=("ancestral",))
    other = data.table.copy()
    other["machine"], other["fingerprint"] = "another machine", "x" + other["fingerprint"]
    other["seconds_per_sequence"] = other["seconds_per_sequence"] * 10
    table = comparable.annotate(pd.concat([data.table.assign(machine="a machine"), other], ignore_index=True))
    part = made(replace(data, table=table), nanodd=CARD)
    assert len(part.models[0].costs) == 2
    assert "a machine: 1.32 ms to 21.1 ms a sequence (4 to 64 steps), peak memory 296 MiB" in part.models[0].costs[0]
    assert "another machine: 13.2 ms to 211 ms" in part.models[0].costs[1]
    assert cells(part)["time / sequence here"].small.endswith("; 1 more below")


def test_a_choice_among_candidates_is_no_cost_of_the_model():
    part = made(both_run(), diffuseq={"title": "DiffuSeq"})
    (cost,) = part.models[0].costs
    assert "1.32 ms to 5.28 ms a sequence (4 to 16 steps)" in cost


def test_a_model_without_rows_was_not_run_here():
    mine = cells(made(synthetic_run(models=("nanodd",)), other=CARD))
    assert mine["time / sequence here"].text == mine["memory here"].text == "not run here"
    assert mine["parameters"].small == ""


def test_a_report_without_anything_says_so():
    part = made(ReportData(run="r", command="", created="", table=pd.DataFrame()))
    assert (part.models, part.missing) == ([], [])
    assert "No models." in _html(part)


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999"), (221_000, "221 k"), (162_265_682, "162 M"), (1_275_925_506, "1.28 B")]
)
def test_large_counts_are_short(count, text):
    assert large(count) == text


def test_the_card_of_a_real_model_has_sources_checkpoints_and_caveats():
    part = made(synthetic_run(models=("plaid",)), plaid=card_summary(get_card("plaid")))
    (model,) = part.models
    facts = dict(model.facts)
    assert "30 days on 8 A100" in dict(reversed(model.facts))["training compute"]
    assert facts["licence of the code"] == "none stated"
    assert "(source: " in facts["training data"]
    assert "18 Python files, 2,626 non-blank lines, counted at the pinned commit" in facts["size of the authors' code"]
    assert any("about 4.38 GiB" in line or "GB" in line for line in model.checkpoints)
    assert model.took
    assert model.caveats


def test_the_section_escapes_what_cards_say_and_bears_no_style():
    evil = {**CARD, "title": "<b>x</b>", "caveats": ["<img src=x onerror=alert(1)>"]}
    html = _html(made(synthetic_run(models=("nanodd",)), nanodd=evil))
    assert "<b>x" not in html
    assert "<img" not in html
    assert 'style="' not in html
    assert html.count("<tr>") == 2


def test_links_to_cards_need_no_name_that_is_fit_for_an_id():
    cards = {"a b": {**CARD, "title": "A"}, 'a"b': {**CARD, "title": "B"}}
    html = _html(effort.build(Page(replace(synthetic_run(models=tuple(cards)), cards=cards))))
    assert re.findall(r'href="#(effort-[^"]*)"', html) == re.findall(r'id="(effort-\d[^"]*)"', html)
    assert len(set(re.findall(r'href="#(effort-[^"]*)"', html))) == 2


def _html(part: effort.EffortPart) -> str:
    return str(templates().get_template("effort.html").module.section(part))
