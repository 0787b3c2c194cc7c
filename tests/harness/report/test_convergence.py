"""What the page says and shows of recorded states."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from adapters.traces import Trace
from harness.report import ReportData, convergence, traces, write_report
from harness.report.convergence import build, sentence
from harness.report.curves import curves_of
from harness.report.data import rows_of
from harness.report.page import Page
from harness.worker.trace import StoredTrace
from tests.harness.report_fixture import both_run, synthetic_run

MODEL, SCHEDULER = "radd", "ancestral"


def around(value: float, width: float = 0.02) -> list[float]:
    return [value, value * (1 - width), value * (1 + width)]


def state(done: int, ppl: float, end: float, width: float = 0.02, **more: Any) -> dict[str, Any]:
    known = {"settled": None, "same": None, "masked": [0.0, 0.0, 0.0], "entropy": None, "metric": None}
    return {"done": done, **known, "ppl": around(ppl, width), "ratio": around(ppl / end, width), **more}


def line(states: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    head = {"steps": states[-1]["done"], "sequences": 16, "of_samples": False, "reasons": {}, "metric": None}
    return {**head, "states": states, **more}


def first_row(data: ReportData, model: str = MODEL, scheduler: str = SCHEDULER, steps: int = 64) -> str:
    wanted = {"model": model, "scheduler": scheduler, "steps": steps, "kind": "generate"}
    return next(
        row["fingerprint"] for row in rows_of(data.table) if all(row[key] == value for key, value in wanted.items())
    )


def with_line(record: dict[str, Any], data: ReportData | None = None) -> ReportData:
    data = data or synthetic_run()
    return dataclasses.replace(data, convergence={first_row(data): record})


def said(record: dict[str, Any]) -> str:
    page = Page(with_line(record))
    (curve,) = [curve for place in page.places for curve in curves_of(place, page)]
    return sentence(curve)


def settled(done: int, share: float, masked: float = 0.0) -> dict[str, Any]:
    return state(done, 20, 20) | {"settled": around(share), "masked": [masked] * 3, "ppl": None, "ratio": None}


# --- words -----------------------------------------------------------------------------------------------------------


def late_sense(last: int = 1000) -> dict[str, Any]:
    """As a user saw with SSD-LM: noise up to 600 of 1000 steps, text from there on."""
    dones = [1, *range(50, last, 50), last]
    return line([state(done, 900 - done if done < 600 else 31 - done / 100, 21) for done in dones])


def test_a_text_that_takes_shape_late_is_said_to() -> None:
    words = said(late_sense())
    assert words.startswith("radd ancestral, 1,000 steps: ")
    assert "the text takes shape only after 600 of 1,000 steps" in words
    assert "up to there the judge's perplexity is more than twice its final value" in words
    assert "within 10 % of it from 80 % of the steps (800) on" in words


def test_early_text_that_the_judge_likes_is_not_said_to_be_senseless() -> None:
    """A first guess that repeats one word may have a low perplexity."""
    states = [state(1, 10, 20), state(10, 90, 20), state(30, 80, 20), state(40, 21, 20), state(64, 20, 20)]
    words = said(line(states))
    assert "takes shape only after 40 of 64 steps: just before the judge's perplexity is more than twice" in words
    assert "up to there" not in words


def test_one_step_is_one_step() -> None:
    assert said(line([state(0, 90, 20), state(1, 20, 20)])).startswith("radd ancestral, 1 step: ")


def test_it_is_not_said_where_the_interval_does_not_carry_it() -> None:
    unsure = line([state(done, 45 if done < 600 else 21, 21, width=0.3) for done in range(50, 1001, 50)])
    assert "takes shape" not in said(unsure)
    assert "within 10 % of its final value from 60 % of the steps (600) on" in said(unsure)


def test_settled_tokens_in_words() -> None:
    shares = {4: 0.1, 20: 0.5, 40: 0.8, 50: 0.95, 60: 0.98, 64: 1}
    words = said(line([settled(done, share) for done, share in shares.items()]))
    assert (
        "half of the final tokens are settled after 31 % of the steps (20), 95 % after 78 % of the steps (50)" in words
    )
    assert "stop early" not in words, "2 % change between 60 and 64 of 64 steps"


def test_it_could_stop_early_where_nothing_changes_any_more() -> None:
    words = said(line([settled(16, 0.4), settled(32, 0.9), settled(48, 0.996), settled(64, 1)]))
    assert "it could stop early: after 75 % of the steps (48) the text is as good as finished" in words


@pytest.mark.parametrize(
    ("width", "quality", "early"),
    [(0.03, 0.5, True), (0.08, 0.5, False), (0.03, 0.3, False)],
    ids=["alike", "the interval is too wide", "the quality is lower"],
)
def test_it_could_stop_early_where_the_judge_tells_no_difference(width: float, quality: float, early: bool) -> None:
    states = [state(16, 90, 20, metric=around(0.1)), state(32, 20.2, 20, width, metric=around(quality))]
    words = said(line([*states, state(64, 20, 20, 0, metric=around(0.5))], metric="toy_valid_sentences"))
    assert ("it could stop early: after 50 % of the steps (32)" in words) == early


def test_a_masked_model_cannot_stop_early_and_fragments_are_not_said_to_make_no_sense() -> None:
    half = state(32, 900, 20, settled=around(0.5), masked=[0.5] * 3)
    states = [half, state(60, 22, 20, settled=around(0.95), masked=[0.05] * 3), state(64, 20, 20, settled=around(1))]
    words = said(line(states))
    assert words.endswith("it cannot stop early: masks are left to the end.")
    assert "perplexity" not in words


def test_figures_that_are_not_known_are_not_spoken_of() -> None:
    nothing = {"settled": None, "same": None, "masked": None, "ppl": None, "ratio": None}
    assert said(line([{"done": 64, **nothing}])) == "radd ancestral, 64 steps: nothing could be measured."


# --- the section -----------------------------------------------------------------------------------------------------


def traced_run(data: ReportData | None = None, text: str = "\u2588 b c") -> ReportData:
    data = data or synthetic_run()
    done = [
        r for r in rows_of(data.table) if r["kind"] == "generate" and r["role"] == "model" and r["status"] == "done"
    ]
    lines, states = {}, {}
    for row in done:
        steps = row["steps"]
        kept = [settled(1, 0.2, masked=0.8), settled(steps, 1)]
        lines[row["fingerprint"]] = line(
            [
                state(s["done"], 20 * (3 - 2 * s["settled"][0]), 20) | {k: s[k] for k in ("settled", "masked")}
                for s in kept
            ]
        )
        texts = [["\u2588 \u2588 \u2588"] * 3, [text, "x", "y"], ["a b c", "x", "y"]]
        states[row["fingerprint"]] = StoredTrace(steps, Trace([0, 1, steps], [], texts), False)
    return dataclasses.replace(data, convergence=lines, traces=states)


def test_the_section_has_words_plots_and_a_table() -> None:
    data = traced_run()
    (told,) = build(Page(data)).places
    assert len(told.sentences) == 4, "two models, two schedulers, at the most steps of each"
    assert all(", 64 steps: " in words for words in told.sentences)
    assert [choice.name for choice in told.choices] == [convergence.LARGEST, "4 steps", "16 steps"]
    names = [plot.name for choice in told.choices for plot in choice.plots]
    assert len(set(names)) == len(names) == 6
    assert len(told.lines) == len(data.convergence)
    assert [cell.text for cell in told.lines[0].cells] == ["100 % (4)", "100 % (4)", "100 % (4)", "\u2013", "no"]
    for choice in told.choices:
        for plot in choice.plots:
            assert "style=" not in plot.inline
            for series in told.series:
                assert f'class="s{series["i"]}"' in plot.inline or choice.name != convergence.LARGEST


def test_its_lines_are_switched_apart_from_those_of_the_other_plots() -> None:
    page = Page(traced_run())
    others = {s.number for own in convergence.all_series(page) for s in own.values()}
    (told,) = build(page).places
    assert not others & {s["i"] for s in told.series}


def test_places_are_told_apart(tmp_path: Path) -> None:
    data = both_run()
    row = next(r for r in rows_of(data.table) if r["model"] == "diffuseq")
    one = traced_run(data)
    assert row["fingerprint"] in one.convergence
    text = write_report(one, tmp_path).read_text()
    assert text.count("<h3>toy_paraphrase \u00b7 seq2seq</h3>") >= 1
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))


def test_a_run_without_traces_says_so(tmp_path: Path) -> None:
    made = build(Page(synthetic_run()))
    assert (made.places, made.viewer.entries, made.notes) == ([], [], [])
    assert "Nothing was traced in this run" in write_report(synthetic_run(), tmp_path).read_text()


def test_states_that_were_not_measured_can_be_looked_at(tmp_path: Path) -> None:
    data = dataclasses.replace(traced_run(), convergence={})
    assert build(Page(data)).viewer.entries
    assert "have not been measured yet" in write_report(data, tmp_path).read_text()


def test_damaged_and_unknown_figures_do_not_stop_the_report() -> None:
    bad = [
        {"done": 1, "settled": [float("nan")] * 3, "ppl": "x"},
        {"settled": 3},
        {"done": 64, "ppl": [20.0, None, None]},
    ]
    for record in ({}, {"steps": None, "states": []}, line([*late_sense()["states"]], reasons=None)):
        assert build(Page(with_line(record))).places == [] or record
    (told,) = build(Page(with_line({"steps": 64, "states": bad}))).places
    assert told.sentences == ["radd ancestral, 64 steps: nothing could be measured."]


# --- the viewer ------------------------------------------------------------------------------------------------------


def texts_of(viewer: traces.Viewer, entry: dict[str, Any], number: int) -> list[str]:
    """The states of a text as the page's script decodes them."""
    first, *changes = entry["texts"][number]
    states = [first]
    for change in changes:
        parts, at = [], 0
        for start, removed, *added in change:
            parts += states[-1][at:start] + added
            at = start + removed
        states.append(parts + states[-1][at:])
    return ["".join(viewer.words[part] for part in parts) for parts in states]


@pytest.mark.parametrize(
    "states",
    [
        ["\u2588 \u2588", "a \u2588", "a b"],
        ["one two three", "one 2 3 four", "", "one"],
        ["\u2588\u2588\u2588", "th\u2588", "the cat\n sat "],
        ["\u05d0\u05d1 \u05d2", "\u4f60\u597d <b>x</b>", "\u202eabc"],
    ],
)
def test_states_come_back_from_their_changes(states: list[str]) -> None:
    data = synthetic_run()
    stored = StoredTrace(64, Trace([0, 1, 2, 64][: len(states)], [], [[text, "other"] for text in states]), False)
    viewer = traces.viewer_of(Page(dataclasses.replace(data, traces={first_row(data): stored})))
    (entry,) = viewer.entries
    assert texts_of(viewer, entry, 0) == states
    assert texts_of(viewer, entry, 1) == ["other"] * len(states)
    assert entry["texts"][1][1:] == [[]] * (len(states) - 1), "nothing changed, nothing is stored"


def test_an_entry_says_what_it_is_of_and_keeps_two_texts() -> None:
    viewer = traces.viewer_of(Page(traced_run()))
    entry = next(e for e in viewer.entries if e["model"] == MODEL and e["method"] == SCHEDULER and e["steps"] == 64)
    assert entry["place"] == "toy \u00b7 unconditional"
    assert entry["done"] == [0, 1, 64]
    assert len(entry["texts"]) == traces.SHOWN
    assert viewer.note == "The first 2 traced texts of each point are here."


def test_states_stay_within_their_budget_and_what_is_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    data = traced_run(text=" ".join(f"word{i}" for i in range(300)))
    whole = traces.viewer_of(Page(data))
    monkeypatch.setattr(traces, "BUDGET", 6_000)
    small = traces.viewer_of(Page(data))
    assert 0 < len(small.entries) < len(whole.entries)
    assert min(e["steps"] for e in small.entries) >= 16, "those with the most steps stay"
    assert {len(e["texts"]) for e in small.entries} == {1}
    assert "Fewer than usual" in small.note
    assert f"{len(whole.entries) - len(small.entries)} of {len(whole.entries)} points" in small.note


def test_long_texts_are_cut_and_say_so() -> None:
    data = synthetic_run()
    long = " ".join(["w"] * (traces.LONGEST + 1))
    stored = StoredTrace(64, Trace([1, 64], [], [["a"], [long]]), False)
    (entry,) = traces.viewer_of(Page(dataclasses.replace(data, traces={first_row(data): stored}))).entries
    assert entry["cut"]
    assert len(entry["texts"][0][1][0]) == 2 + traces.LONGEST


def test_control_characters_are_shown_as_signs() -> None:
    data = synthetic_run()
    stored = StoredTrace(64, Trace([1, 64], [], [["a\x00"], ["b\x1b \ud800"]]), False)
    viewer = traces.viewer_of(Page(dataclasses.replace(data, traces={first_row(data): stored})))
    assert texts_of(viewer, viewer.entries[0], 0) == ["a\u2400", "b\u241b \ufffd"]
