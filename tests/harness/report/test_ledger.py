from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from adapters.cards import all_cards
from harness import comparable
from harness.benchmarks import all_benchmarks
from harness.metrics.base import SampleValues
from harness.published import PublishedFigure
from harness.report import ReportData, ledger
from harness.report.page import Page
from harness.report.protocol import LIKELIHOOD
from harness.report.render import templates

BOUND = PublishedFigure(
    metric="bits_per_char",
    value="1.37",
    source="README",
    checkpoints=("big",),
    dataset="text8",
    fields={"estimator": "d3pm", "bound": "upper_bound", "split": "test", "windows": "256 characters"},
    protocol="random crops",
    cause="bfloat16",
)
BLEU = PublishedFigure(
    metric="bleu_diffuseq",
    value="0.241",
    source="table 1",
    checkpoints=("big",),
    dataset="qqp",
    fields={"scheduler": "ddpm", "steps": 2000, "candidates": 10},
)
FACTS = {
    "text8": {"split": "test", "length": 256, "unit": "characters", "marks": []},
    "qqp": {"split": "test", "pairs": True},
}


def likelihood(**more: Any) -> dict[str, Any]:
    row = {"model": "m", "role": "model", "checkpoint": "big", "checkpoint_kind": "published", "engine": "native"}
    row |= {"benchmark": "text8", "kind": "likelihood", "task": None, "estimator": "d3pm", "bound": "upper_bound"}
    row |= {"status": "done", "fingerprint": "f1", "samples": 1000, "bits_per_char": 1.38}
    return row | {"bits_per_char_low": 1.36, "bits_per_char_high": 1.40} | more


def generated(**more: Any) -> dict[str, Any]:
    row = likelihood(estimator=None, bound=None, bits_per_char=None, bits_per_char_low=None, bits_per_char_high=None)
    row |= {"benchmark": "qqp", "kind": "generate", "task": "seq2seq", "scheduler": "ddpm", "steps": 2000}
    row |= {"selection": "mbr", "candidates": 10, "seed": None, "samples": 2500, "options": {}}
    return row | {"bleu_diffuseq": 0.24, "bleu_diffuseq_low": 0.23, "bleu_diffuseq_high": 0.25} | more


def made(rows: list[dict[str, Any]], *figures: PublishedFigure, facts: Any = None, values: Any = None) -> ledger.Ledger:
    table = comparable.annotate(pd.DataFrame(rows)) if rows else pd.DataFrame()
    data = ReportData(
        run="r",
        command="tdbench bench",
        created="2026-01-02T03:04:05+00:00",
        table=table,
        benchmarks=facts or FACTS,
        cards={"m": {"title": "M", "published": figures}},
        values=values or {},
    )
    return ledger.build(Page(data))


def only(rows: list[dict[str, Any]], figure: PublishedFigure, **more: Any) -> ledger.LedgerRow:
    (row,) = made(rows, figure, **more).models["m"]
    return row


def test_a_figure_inside_our_interval_under_the_same_protocol_is_reproduced():
    row = only([likelihood()], BOUND)
    assert (row.verdict, row.ours, row.link) == ("reproduced", "1.380 [1.360, 1.400]", "row-f1")
    assert row.difference == "+0.01 (+0.7%)"
    assert row.reasons == ["our interval reaches 0.02 to either side, 1.5% of the published figure"]
    assert (row.cause, row.command) == ("", "")


def test_a_figure_outside_our_interval_is_not_reproduced_and_says_what_is_known_of_it():
    row = only([likelihood(bits_per_char=1.30, bits_per_char_low=1.29, bits_per_char_high=1.31)], BOUND)
    assert (row.verdict, row.difference, row.cause) == ("not reproduced", "\u22120.07 (\u22125.1%)", "bfloat16")


@pytest.mark.parametrize(
    ("ours", "verdict"), [(1.3749, "reproduced"), (1.3651, "reproduced"), (1.376, "not reproduced")]
)
def test_without_an_interval_the_published_rounding_decides(ours, verdict):
    row = only([likelihood(bits_per_char=ours, bits_per_char_low=None, bits_per_char_high=None)], BOUND)
    assert (row.verdict, row.reasons) == (verdict, ["no interval of ours is known"])


def test_a_published_interval_counts():
    row = only([likelihood(bits_per_char=1.5, bits_per_char_low=1.45, bits_per_char_high=1.55)], BOUND)
    assert row.verdict == "not reproduced"
    wide = replace(BOUND, low=1.2, high=1.46)
    row = only([likelihood(bits_per_char=1.5, bits_per_char_low=1.45, bits_per_char_high=1.55)], wide)
    assert row.verdict == "reproduced"
    assert "published interval 1.2 to 1.46" in row.protocol


def test_a_tiny_checkpoint_checks_nothing():
    book = made([likelihood(checkpoint="tiny", checkpoint_kind="tiny")], BOUND, BLEU)
    assert [row.verdict for row in book.models["m"]] == ["not run", "not run"]
    assert not book.any_run
    assert book.sentence == "0 of 2 published figures could be checked in this run: it ran tiny checkpoints only."


@pytest.mark.parametrize(
    ("change", "facts", "phrase"),
    [
        ({"bound": "exact"}, {}, "kind exact, published upper bound"),
        ({"estimator": "other"}, {}, "estimator other, published d3pm"),
        ({}, {"split": "validation"}, "split validation, published test"),
        ({}, {"length": 1024}, "windows 1024 characters, published 256 characters"),
        ({}, {"unit": None}, "windows not recorded, published 256 characters"),
        ({}, {"marks": ["<unk>"]}, "marks in the text <unk>, published none"),
    ],
)
def test_another_protocol_is_no_verdict_but_says_what_differs(change, facts, phrase):
    figure = replace(BOUND, fields={**BOUND.fields, "marks": []})
    row = only([likelihood(**change)], figure, facts={"text8": {**FACTS["text8"], **facts}})
    assert (row.verdict, row.reasons) == ("protocol differs", [phrase])
    assert row.ours != "\u2013"
    assert row.cause == "bfloat16"
    assert row.command.startswith("make bench MODEL=m CHECKPOINT=big BENCHMARK=text8 TASK=none")


def test_the_nearest_of_several_rows_is_shown():
    rows = [
        likelihood(fingerprint="far", estimator="other", bound="exact"),
        likelihood(fingerprint="near", estimator="other"),
        likelihood(fingerprint="folder", checkpoint="/a/b", checkpoint_kind="local"),
    ]
    assert only(rows, BOUND).link == "row-near"


def test_a_choice_among_candidates_and_single_ones_are_told_apart():
    single = replace(BLEU, value="0.188", fields={**BLEU.fields, "candidates": 1})
    rows = [generated(fingerprint="mbr"), generated(fingerprint="one", selection=None, candidates=None, seed=0)]
    rows[1] |= {"bleu_diffuseq": 0.19, "bleu_diffuseq_low": 0.18, "bleu_diffuseq_high": 0.2}
    found = made(rows, BLEU, single).models["m"]
    assert [(row.link, row.verdict) for row in found] == [("row-mbr", "reproduced"), ("row-one", "reproduced")]


def test_fewer_candidates_are_another_protocol():
    row = only([generated(candidates=3)], BLEU)
    assert (row.verdict, row.reasons) == ("protocol differs", ["candidates 3, published 10"])
    assert "SEEDS=0,1,2,3,4,5,6,7,8,9" in row.command


def test_rows_that_differ_in_the_seed_are_taken_together():
    published = replace(BLEU, value="0.200", fields={"scheduler": "ddpm", "steps": 2000, "candidates": 1})
    rows, values = [], {}
    for seed, level in ((0, 0.1), (1, 0.3)):
        name = f"s{seed}"
        rows.append(
            generated(fingerprint=name, seed=seed, selection=None, candidates=None, samples=50, samples_done=50)
        )
        rows[-1] |= {"bleu_diffuseq": level, "bleu_diffuseq_low": level - 0.01, "bleu_diffuseq_high": level + 0.01}
        lines = [[level + 0.02 * (i % 2), 1.0] for i in range(50)]
        values[name] = {"bleu_diffuseq": SampleValues("mean", lines)}
    row = only(rows, published, values=values)
    assert row.value == pytest.approx(0.21)
    assert row.verdict == "not reproduced"
    assert "our interval" in row.reasons[0]


def test_each_step_count_of_a_published_list_finds_its_row():
    figures = [
        replace(BLEU, value=v, fields={"steps": n}) for n, v in ((500, "0.015"), (1000, "0.141"), (2000, "0.157"))
    ]
    rows = [
        generated(
            fingerprint=f"n{n}", steps=n, bleu_diffuseq=v, bleu_diffuseq_low=v - 0.01, bleu_diffuseq_high=v + 0.01
        )
        for n, v in ((500, 0.02), (1000, 0.10))
    ]
    found = made(rows, *figures).models["m"]
    assert [row.verdict for row in found] == ["reproduced", "not reproduced", "protocol differs"]
    assert [row.link for row in found[:2]] == ["row-n500", "row-n1000"]
    assert found[2].reasons == ["steps 500, published 2000"]


def test_a_scale_is_applied_to_the_published_figure_alone():
    row = only(
        [generated(bleu_diffuseq=24.5, bleu_diffuseq_low=24.0, bleu_diffuseq_high=25.0)], replace(BLEU, scale=100)
    )
    assert (row.verdict, row.published, row.difference) == ("reproduced", "0.241", "+0.400 (+1.7%)")


def test_perplexity_a_word_is_derived_from_nats_and_words():
    figure = replace(BOUND, metric="word_perplexity", value="29.4", fields={"bound": "upper_bound"})
    more = {"nats": 338.1, "words": 100, "tokens": 130, "nats_per_token_low": 2.59, "nats_per_token_high": 2.61}
    row = only([likelihood(**more)], figure)
    assert row.value == pytest.approx(29.395, abs=0.01)
    assert row.verdict == "reproduced"
    assert row.title == "perplexity per word \u00b7 text8"


def test_a_failed_row_and_a_missing_metric_are_not_run_with_the_reason():
    failed = likelihood(status="failed", message="needed 12 GiB", bits_per_char=None)
    row = only([failed], BOUND)
    assert (row.verdict, row.ours) == ("not run", "\u2013")
    assert row.reasons[0].endswith("is failed: needed 12 GiB")
    assert row.command
    missing = generated(bleu_diffuseq=None, bleu_diffuseq_reason="no package")
    assert only([missing], BLEU).reasons[0].endswith("has no BLEU, DiffuSeq's: no package")


def test_infinite_and_unknown_values_are_no_figure():
    assert only([likelihood(bits_per_char=float("inf"))], BOUND).verdict == "not run"
    assert only([likelihood(bits_per_char=float("nan"))], BOUND).verdict == "not run"


@pytest.mark.parametrize(
    ("more", "phrase"),
    [
        ({"checkpoint": "/my/weights", "checkpoint_kind": "local"}, "weights the folder /my/weights, published big"),
        ({"checkpoint": "imported", "engine": "imported"}, "weights of imported texts, published big"),
    ],
)
def test_weights_that_may_be_the_published_ones_are_another_protocol(more, phrase):
    row = only([generated(**{"checkpoint_kind": None, **more})], BLEU)
    assert (row.verdict, row.reasons) == ("protocol differs", [phrase])


def test_rows_of_other_data_models_or_published_weights_check_nothing():
    rows = [
        likelihood(benchmark="wikitext2"),
        likelihood(model="n", fingerprint="f2"),
        likelihood(checkpoint="other", fingerprint="f3"),
    ]
    row = only(rows, BOUND)
    assert (row.verdict, row.reasons) == ("not run", ["big was run, but has no likelihood on text8 here"])
    assert only(rows[1:], BOUND).reasons == ["big was not run"]


def test_a_figure_of_any_data_is_checked_by_any_benchmark():
    figure = PublishedFigure("gen_ppl_mean", "36", "plot", ("big",), tolerance=5, fields={"nfe": 695, "judge": "gpt2"})
    more = {"benchmark": "wikitext2", "task": "unconditional", "nfe_mean": 694.8, "gen_ppl_mean": 40.0}
    rows = [generated(**more, gen_ppl_mean_settings={"judge": "owner/gpt2"})]
    assert only(rows, figure).verdict == "reproduced"
    local = [rows[0] | {"checkpoint": "/a", "checkpoint_kind": "local"}]
    assert only(local, figure).verdict == "not run"
    rows[0] |= {"nfe_mean": 690.0}
    assert only(rows, figure).reasons == ["NFE 690, published 695"]


def test_weights_without_a_name_and_data_without_a_benchmark_have_no_command():
    unnamed = replace(BOUND, checkpoints=(), network="a network nobody has")
    assert only([likelihood()], unnamed).reasons == ["no weights by name: a network nobody has"]
    elsewhere = replace(BOUND, dataset="nowhere")
    assert only([likelihood()], elsewhere).reasons == ["there is no benchmark nowhere here"]
    for figure in (unnamed, elsewhere):
        assert only([likelihood()], figure).command == ""


def test_a_field_that_only_a_third_party_knows_is_compared_with_the_column_of_that_name():
    figure = replace(BOUND, fields={"colour_of_noise": "pink"})
    assert only([likelihood(colour_of_noise="pink")], figure).verdict == "reproduced"
    row = only([likelihood(colour_of_noise="blue")], figure)
    assert row.reasons == ["colour of noise blue, published pink"]
    assert only([likelihood()], figure).reasons == ["colour of noise not recorded, published pink"]


def test_the_sentence_counts_what_was_checked_and_what_was_not():
    other = replace(BOUND, fields={**BOUND.fields, "estimator": "other"})
    wrong = replace(BOUND, value="1.20")
    book = made([likelihood()], BOUND, wrong, other, BLEU)
    assert book.sentence == (
        "2 of 4 published figures could be checked in this run: 1 reproduced, 1 not reproduced. Of the others 1 was "
        "run under another protocol and 1 was not run."
    )
    assert book.any_run
    only_other = made([likelihood()], other)
    assert only_other.sentence.endswith("could be checked in this run: 1 was run under another protocol.")


def test_a_run_without_rows_or_published_figures_still_has_a_ledger():
    assert made([], BOUND).sentence.startswith("0 of 1 published figures")
    assert made([]).sentence == "The cards of this report's models list no published figures."
    assert made([]).models == {}


def test_the_section_shows_every_figure_its_verdict_and_nothing_unescaped():
    evil = replace(BOUND, cause="<script>alert(1)</script>", value="9.99", protocol="<b>bold</b>")
    html = _html(made([likelihood()], BOUND, evil))
    assert html.count("data-verdict=") == 2
    assert 'href="#row-f1"' in html
    assert "<script>alert" not in html
    assert "<b>bold" not in html
    assert "<details open><summary>All 2" in html
    assert 'style="' not in html
    assert "<details open>" not in _html(made([], BOUND))


def _html(book: ledger.Ledger) -> str:
    return str(templates().get_template("ledger.html").module.section(book))


# --- the figures of the cards ----------------------------------------------------------------------------------------


def _row_of(model: str, figure: PublishedFigure) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row that follows the protocol of a figure, but for the figure itself, and its benchmark's facts."""
    benchmark = figure.dataset or "qqp"
    fields = dict(figure.fields)
    length, _, unit = str(fields.pop("windows", "")).partition(" ")
    facts = {"split": fields.pop("split", None), "marks": fields.pop("marks", []), "length": length, "unit": unit}
    kind = "likelihood" if figure.metric in LIKELIHOOD else "generate"
    row = {"model": model, "role": "model", "checkpoint": figure.checkpoints[0], "checkpoint_kind": "published"}
    row |= {"engine": "native", "benchmark": benchmark, "kind": kind, "task": fields.pop("task", None)}
    row |= {"status": "done", "fingerprint": "f1", "samples": 10, "nfe_mean": fields.pop("nfe", None)}
    row[f"{figure.metric}_settings"] = {"judge": f"owner/{fields.pop('judge', '')}"}
    return row | fields, {benchmark: facts}


def _with_figure(row: dict[str, Any], metric: str, value: float) -> dict[str, Any]:
    """The row with a figure and an interval of one per cent of it to either side."""
    low, high = 0.99 * value, 1.01 * value
    if metric != "word_perplexity":
        return row | {metric: value, f"{metric}_low": low, f"{metric}_high": high}
    ends = {"nats_per_token_low": math.log(low) / 2, "nats_per_token_high": math.log(high) / 2}
    return row | {"nats": 50 * math.log(value), "words": 50, "tokens": 100, **ends}


def test_every_published_figure_of_the_cards_gets_the_verdict_it_should():
    seen = 0
    for model, card in all_cards().items():
        for figure in card.published_results:
            if not figure.checkpoints or figure.dataset not in (None, *all_benchmarks()):
                continue
            row, facts = _row_of(model, figure)

            def found(value: float, **more: Any) -> ledger.LedgerRow:
                changed = _with_figure(row, figure.metric, value) | {"model": "m"} | more  # noqa: B023
                return only([changed], figure, facts=facts)  # noqa: B023

            same, far = found(figure.number), found(1.5 * figure.number)
            assert (same.verdict, same.gap) == ("reproduced", pytest.approx(0, abs=1e-9)), figure
            assert (far.verdict, far.gap) == ("not reproduced", pytest.approx(0.5)), figure
            assert "(+50.0%)" in far.difference
            assert found(figure.number, checkpoint="tiny", checkpoint_kind="tiny").verdict == "not run", figure
            for name in {"steps", "scheduler", "bound", "candidates", "length"} & set(figure.fields):
                other = found(figure.number, **{name: 77})
                assert other.verdict == "protocol differs", (figure, name)
                assert any("77, published" in reason for reason in other.reasons), other.reasons
            seen += 1
    assert seen > 10
