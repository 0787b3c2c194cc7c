"""Preparing a benchmark's data: files, digests, reading back, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.tokenizers import load_tokenizer
from harness.benchmarks import Benchmark, all_benchmarks, get_benchmark, prepare, read_benchmark
from harness.errors import UserError
from harness.metrics.registry import get_metric


@pytest.fixture
def toy() -> Benchmark:
    return replace(get_benchmark("toy"), options={"train_tokens": 2000})


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_benchmark_is_whole() -> None:
    assert {"toy", "text"} <= set(all_benchmarks())
    for name, benchmark in all_benchmarks().items():
        assert benchmark.name == name
        assert benchmark.summary
        for metric in benchmark.metrics:
            get_metric(metric)


def test_unknown_benchmark_has_a_hint() -> None:
    with pytest.raises(UserError, match=r"unknown benchmark 'tory'\. Did you mean 'toy'"):
        get_benchmark("tory")


def test_listing_benchmarks_brings_no_torch() -> None:
    code = "import sys, harness.benchmarks as b; b.all_benchmarks(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_files_and_facts(tmp_path: Path, toy: Benchmark) -> None:
    data = prepare(toy, tmp_path / "a" / "toy", samples=5)
    facts = json.loads((data.folder / "benchmark.json").read_text(encoding="utf-8"))
    assert facts == data.facts
    assert (data.references, data.windows) == (facts["references"], facts["windows"]) == (5, 5)
    assert facts["tokens"] == "words"
    assert facts["entropy_rate_nats_per_token"] > 0
    references, prompts, second = (lines(data.folder / f"{n}.jsonl") for n in ("references", "prompts", "data"))
    assert [p["reference"] for p in prompts] == [r["text"] for r in references]
    assert {r["text"] for r in references}.isdisjoint(r["text"] for r in second)
    for prompt in prompts:
        assert prompt["reference"].startswith(prompt["prefix"])
        assert prompt["reference"].endswith(prompt["suffix"])
    tokenizer = load_tokenizer(facts["tokenizer"], data.folder)
    for name in ("train.txt", "heldout.txt"):
        assert len(tokenizer.encode((data.folder / name).read_text(encoding="utf-8"))) >= 2000
    assert set(facts["files"]) | {"benchmark.json"} == set(contents(data.folder))


def test_same_inputs_are_read_back_and_not_written_again(tmp_path: Path, toy: Benchmark) -> None:
    first = prepare(toy, tmp_path, samples=5)
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert prepare(toy, tmp_path, samples=5) == first
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


@pytest.mark.parametrize("change", [{"samples": 6}, {"seed": 1}, {"length": 32}])
def test_other_inputs_give_other_data(tmp_path: Path, toy: Benchmark, change: dict[str, int]) -> None:
    first = prepare(toy, tmp_path, samples=5)
    second = prepare(toy, tmp_path, **{"samples": 5, **change})  # type: ignore[arg-type]
    assert second.digest != first.digest
    assert json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))["digest"] == second.digest


def test_data_depend_on_nothing_but_the_inputs(tmp_path: Path, toy: Benchmark) -> None:
    one, two = prepare(toy, tmp_path / "one", samples=3, seed=9), prepare(toy, tmp_path / "two", samples=3, seed=9)
    assert one.digest == two.digest
    assert contents(one.folder) == contents(two.folder)


@pytest.mark.parametrize("name", ["train.txt", "references.jsonl", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["change", "remove", "truncate"])
def test_damaged_files_are_made_again(tmp_path: Path, toy: Benchmark, name: str, damage: str) -> None:
    prepare(toy, tmp_path, samples=3)
    whole = contents(tmp_path)
    if damage == "remove":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(whole[name][:10] + (b"\xff" if damage == "change" else b""))
    prepare(toy, tmp_path, samples=3)
    assert contents(tmp_path) == whole


def test_preparing_that_was_killed_is_done_again(tmp_path: Path, toy: Benchmark) -> None:
    prepare(toy, tmp_path, samples=3)
    whole = contents(tmp_path)
    (tmp_path / "benchmark.json").unlink()
    (tmp_path / "data.jsonl").write_text("half", encoding="utf-8")
    prepare(toy, tmp_path, samples=3)
    assert contents(tmp_path) == whole


def test_text_benchmark_follows_its_file(tmp_path: Path) -> None:
    benchmark, file = get_benchmark("text"), tmp_path / "a.txt"
    file.write_text("some words here " * 1000, encoding="utf-8")
    first = prepare(benchmark, tmp_path / "data", samples=50, data=file)
    assert first.references < 50
    assert first.facts["tokenizer"] == "text8"
    assert not (first.folder / "tokenizer.json").exists()
    file.write_text("other words here " * 1000, encoding="utf-8")
    second = prepare(benchmark, tmp_path / "data", samples=50, data=file)
    assert second.digest != first.digest
    assert "other" in (second.folder / "train.txt").read_text(encoding="utf-8")


def test_bad_input_leaves_the_data_as_they_were(tmp_path: Path) -> None:
    benchmark, file = get_benchmark("text"), tmp_path / "a.txt"
    file.write_text("some words here " * 1000, encoding="utf-8")
    prepare(benchmark, tmp_path / "data", samples=5, data=file)
    whole = contents(tmp_path / "data")
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="byte 0"):
        prepare(benchmark, tmp_path / "data", samples=5, data=file)
    assert contents(tmp_path / "data") == whole


def test_files_where_none_belong_and_none_where_one_belongs(tmp_path: Path, toy: Benchmark) -> None:
    with pytest.raises(UserError, match=r"'toy' makes its own text: no DATA\. For a file: text"):
        prepare(toy, tmp_path, samples=1, data=tmp_path / "a.txt")
    with pytest.raises(UserError, match="'text' needs a text file"):
        prepare(get_benchmark("text"), tmp_path, samples=1)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(tmp_path: Path, toy: Benchmark) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write benchmark data"):
        prepare(toy, tmp_path / "file" / "data", samples=1)


@pytest.mark.parametrize(("text", "message"), [("- a", "not a mapping"), ("name: x", "missing"), ("nam: x", "nam")])
def test_bad_benchmark_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_benchmark(path)
