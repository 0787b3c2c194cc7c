"""The command printed for a row must make that row: the same fingerprint, from the same data."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness import points as building
from harness.commands import prepare_data
from harness.config import BenchConfig, build
from harness.plan import chosen_benchmarks, make_plan
from harness.report import row_command
from harness.upstream import Checkout


def planned(words, place):
    config = build(BenchConfig, words)
    data = {b.name: prepare_data(b, config, place / b.name) for b in chosen_benchmarks(config)}
    return make_plan(config, data).points


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog and runs away " * 200)
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["model=radd,nanodd", "steps=4,16", "seeds=0,1", "samples=8"],
        ["model=radd", "schedulers=radd_direct,first_hitting", "options={strategy: top_p}", "length=32", "samples=8"],
        ["model=radd", "task=prefix,infill", "likelihood=k_dce,t_dse", "draws=4", "samples=8", "batch_size=2"],
        ["model=radd", "benchmark=text", "data=TEXT", "window=128", "samples=8", "tokenizer=text8", "trace=true"],
    ],
    ids=["sweep", "options and length", "tasks and likelihood", "text"],
)
def test_every_printed_command_gives_its_row_again(words, text_file, tmp_path):
    words = [word.replace("TEXT", str(text_file)) for word in [*words, "device=cpu"]]
    points = planned(words, tmp_path / "data")
    assert points
    for point in points:
        command = shlex.split(row_command(point, shlex.join(["tdbench", "bench", *words])))
        again = planned(command[2:], tmp_path / "data")
        assert [p["fingerprint"] for p in again] == [point["fingerprint"]], command


def test_the_command_of_a_row_names_its_engine_and_only_its_checkout(tmp_path, monkeypatch):
    asked = []

    def find(card, config):
        asked.append((card.name, config.upstream_path))
        return Checkout(Path("/checkout"), "c" * 40, "d" * 64)

    monkeypatch.setattr(building, "find_checkout", find)
    words = ["model=radd,nanodd", "engine=native,upstream", "upstream.path={radd: a b, nanodd: c}", "samples=8"]
    words += ["steps=1000", "schedulers=radd_direct,nanodd_d3pm", "device=cpu"]
    points = planned(words, tmp_path / "data")
    assert {(p["model"], p["engine"]) for p in points} >= {
        ("radd", "native"), ("radd", "upstream"), ("nanodd", "upstream"), ("data", "native")
    }  # fmt: skip
    for point in points:
        asked.clear()
        command = shlex.split(row_command(point, shlex.join(["tdbench", "bench", *words])))
        again = planned(command[2:], tmp_path / "data")
        assert [p["fingerprint"] for p in again] == [point["fingerprint"]], command
        wanted = [(point["model"], {"radd": "a b", "nanodd": "c"})] if point["engine"] == "upstream" else []
        assert asked == wanted
        assert any(word.startswith("upstream.") for word in command) == (point["engine"] == "upstream")


def test_the_command_of_a_row_keeps_the_benchmarks_own_files_and_settings(tmp_path):
    (tmp_path / "ptb.test.txt").write_text(" mr. <unk> said N times that it would not sell \n" * 400)
    (tmp_path / "ptb.train.txt").write_text(" the company said N times that it would <unk> \n" * 400)
    (tmp_path / "ptb.valid.txt").write_text(" it would not say \n" * 400)
    words = ["model=radd", "benchmark=ptb", f"benchmark.path={tmp_path}", "benchmark.options={split: validation}"]
    words += ["normalize=text8", "tokenizer=text8", "steps=4", "samples=4", "likelihood_samples=4", "window=64"]
    words += ["controls=unigram", "device=cpu"]
    points = planned(words, tmp_path / "data")
    assert len(points) > 2
    for point in points:
        command = shlex.split(row_command(point, shlex.join(["tdbench", "bench", *words])))
        assert f"benchmark.path={tmp_path}" in command
        again = planned(command[2:], tmp_path / "data")
        assert [p["fingerprint"] for p in again] == [point["fingerprint"]], command


def test_settings_given_entry_by_entry_are_not_kept_beside_the_rows_own():
    row = {"model": "radd", "kind": "generate", "engine": "native", "options": {"temperature": 0.5}, "steps": 4}
    base = "tdbench bench options.temperature=0.5 options.grid=cosine upstream.folder=x benchmark.options.split=test"
    command = shlex.split(row_command(row, base))
    assert "benchmark.options.split=test" in command
    assert not [word for word in command if word.startswith(("options.", "upstream."))]
