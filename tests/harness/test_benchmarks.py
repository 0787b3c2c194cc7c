"""Preparing a benchmark's data: files, digests, reading back, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.tokenizers import load_tokenizer
from harness.benchmarks import Benchmark, all_benchmarks, chosen_options, get_benchmark, prepare, read_benchmark
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
        assert benchmark.licence
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


WHOLE = (
    "name: x\nversion: 1\nsummary: s\nlabel: l\nlicence: c\nsource: m\ntasks: [prefix]\nlength: 4\nmetrics: [gen_ppl]\n"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "not a mapping"),
        ("name: x", r"x\.yaml lacks 'version', 'summary', 'label', 'licence', 'source', 'tasks', 'length', 'metrics'"),
        (WHOLE.replace("licence: c\n", ""), r"x\.yaml lacks 'licence'\."),
        (WHOLE + "judg: a", r"unknown key in .*x\.yaml 'judg'\. Did you mean 'judge'"),
        ("name: [x", r"x\.yaml is no YAML"),
    ],
)
def test_bad_benchmark_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_benchmark(path)
    assert "\n" not in str(caught.value)


def test_whole_benchmark_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(WHOLE, encoding="utf-8")
    assert read_benchmark(path).tasks == ("prefix",)


def test_options_replace_the_benchmarks_own(toy: Benchmark) -> None:
    ptb = get_benchmark("ptb")
    assert chosen_options(ptb, {"split": "train"}) == {**ptb.options, "split": "train"}
    assert chosen_options(ptb, {"train_characters": None})["train_characters"] is None
    assert chosen_options(toy, {}) == {"train_tokens": 2000}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"splitt": "test"}, "unknown option of benchmark ptb 'splitt'. Did you mean 'split'"),
        ({"split": 3}, "benchmark.options.split of ptb must be a word, got '3'"),
        ({"wrapped": "yes"}, "must be true or false"),
        ({"wrapped": None}, "must be true or false"),
        ({"train_characters": 0}, "must be a whole number, 1 or more"),
        ({"train_characters": 1.5}, "must be a whole number"),
        ({"train_characters": True}, "must be a whole number"),
    ],
)
def test_bad_options(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen_options(get_benchmark("ptb"), given)


def test_local_files_in_place_of_a_download(tmp_path: Path) -> None:
    benchmark, folder = get_benchmark("ptb"), tmp_path / "files"
    folder.mkdir()
    for name in ("test", "valid"):
        (folder / f"ptb.{name}.txt").write_text(f"{name} words did n't end \n" * 100, encoding="utf-8")
    first = prepare(benchmark, tmp_path / "data", samples=50, length=64, path=folder)
    assert (first.references, first.prompts, first.windows) == (17, 17, 17)
    assert first.facts["detokenize"].startswith("SEDD")
    assert first.facts["licence"] == benchmark.licence
    assert "didn't" in (first.folder / "heldout.txt").read_text(encoding="utf-8")
    times = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert prepare(benchmark, tmp_path / "data", samples=50, length=64, path=folder) == first
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == times
    (folder / "ptb.test.txt").write_text("other words \n" * 100, encoding="utf-8")
    assert prepare(benchmark, tmp_path / "data", samples=50, length=64, path=folder).digest != first.digest


@pytest.mark.parametrize(("normalize", "tokenizer"), [(None, "folder"), ("none", "folder"), ("text8", "text8")])
def test_corpora_are_natural_text_unless_asked(tmp_path: Path, normalize: str | None, tokenizer: str) -> None:
    file = tmp_path / "ptb.test.txt"
    file.write_text("Words, and 7 more.\n" * 100, encoding="utf-8")
    data = prepare(get_benchmark("ptb"), tmp_path / "data", samples=5, length=64, path=file, normalize=normalize)
    assert data.facts["tokenizer"] == tokenizer
    assert data.facts["train"] == "none"
    assert (data.folder / "train.txt").read_text(encoding="utf-8") == ""


def test_prompts_without_references(tmp_path: Path) -> None:
    file = tmp_path / "ctx50.jsonl"
    file.write_text("".join(json.dumps({"context_string": f"prompt {i}"}) + "\n" for i in range(5)), encoding="utf-8")
    data = prepare(get_benchmark("owt_prompts"), tmp_path / "data", samples=4, path=file)
    assert (data.references, data.prompts, data.windows) == (0, 4, 0)
    assert lines(data.folder / "references.jsonl") == []
    assert lines(data.folder / "prompts.jsonl")[3] == {"prefix": "prompt 3", "suffix": "", "reference": None}


def test_wrong_ways_to_give_files(tmp_path: Path, toy: Benchmark) -> None:
    with pytest.raises(UserError, match=r"'ptb' has files of its own: no DATA, but benchmark\.path="):
        prepare(get_benchmark("ptb"), tmp_path, samples=1, data=tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"'toy' takes no benchmark\.path=\. These do: enwik8, "):
        prepare(toy, tmp_path, samples=1, path=tmp_path)
    with pytest.raises(UserError, match=r"benchmark\.path=.*none: there is no such file or folder"):
        prepare(get_benchmark("ptb"), tmp_path, samples=1, path=tmp_path / "none")
    with pytest.raises(UserError, match="Did you mean 'text8'"):
        prepare(toy, tmp_path, samples=1, normalize="text9")
