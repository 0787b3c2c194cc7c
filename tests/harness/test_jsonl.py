from __future__ import annotations

import json

import pytest

from harness.worker.jsonl import append_line, read_lines, write_json, write_text


def test_lines_come_back_in_order(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read_lines(path) == []
    for i in range(3):
        append_line(path, {"i": i, "text": "zeile\nzwei \u2588"})
    assert [line["i"] for line in read_lines(path)] == [0, 1, 2]
    assert read_lines(path)[0]["text"] == "zeile\nzwei \u2588"


@pytest.mark.parametrize("cut", [1, 5, 200_000])
def test_a_half_written_last_line_is_left_out_and_cut_off_by_the_next_append(tmp_path, cut):
    path = tmp_path / "a.jsonl"
    append_line(path, {"i": 0})
    append_line(path, {"i": 1, "filler": "x" * 300_000})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert [line["i"] for line in read_lines(path)] == [0]
    append_line(path, {"i": 2})
    assert [line["i"] for line in read_lines(path)] == [0, 2]


def test_a_file_with_nothing_but_half_a_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"i": ')
    assert read_lines(path) == []
    append_line(path, {"i": 1})
    assert read_lines(path) == [{"i": 1}]


def test_damage_in_the_middle_is_said_not_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"i": 0}\nnonsense\n{"i": 2}\n')
    with pytest.raises(ValueError, match="line 2 is damaged"):
        read_lines(path)


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        append_line(tmp_path / "a.jsonl", {"value": float("nan")})


def test_whole_files_are_replaced_at_once(tmp_path):
    write_json(tmp_path / "run.json", {"a": 1})
    write_text(tmp_path / "run.json", '{"a": 2}')
    assert json.loads((tmp_path / "run.json").read_text()) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_halves_of_surrogate_pairs_become_question_marks_and_whole_pairs_stay(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"half": "a\\ud800b", "\\uDFFF": ["\\udcff"]}\n{"whole": "\\ud83d\\ude00 \\\\ud800"}\n')
    assert read_lines(path) == [{"half": "a?b", "?": ["?"]}, {"whole": "\U0001f600 \\ud800"}]
