"""`tdbench import` into new runs and beside rows of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import cli
from harness.importing import imported_points
from harness.store import RunStore
from harness.table import table
from harness.worker.jsonl import read_lines, write_json

PAIRS = [("how do i cook?", "how can one cook?"), ("who is he?", "who is that man?"), ("why so?", "why is it so?")]
WRITTEN = {10: ["how can i cook?", "who is he?", "why?"], 11: ["how can one cook?", "who is that?", "why so?"]}


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.chdir(tmp_path)
    if "with_report" not in request.keywords:  # its plots take longer than all the rest
        monkeypatch.setattr("harness.commands._report", lambda store, reports: reports / store.run)


def write_diffuseq(path: Path, texts: list[str], pairs: list[tuple[str, str]] = PAIRS) -> Path:
    records = [
        {"recover": f"[CLS] {text} [SEP]", "reference": f"[CLS] {true} [SEP]", "source": f"[CLS] {source} [SEP] [SEP]"}
        for text, (source, true) in zip(texts, pairs, strict=True)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, texts in WRITTEN.items():
        write_diffuseq(tmp_path / "out" / f"seed{seed}.json", texts)
    return tmp_path / "out"


def tdbench(*words: object) -> int:
    return cli.main([str(word) for word in words])


def bring(*words: object, steps: int = 20, model: str = "theirs") -> int:
    base = ["import", "--format", "diffuseq", "--model", model, "--steps", steps, "--run", "r"]
    names = "bleu_diffuseq,rouge_l,div_4"
    return tdbench(*base, *([] if "--metrics" in words else ["--metrics", names]), *words)


def rows() -> pd.DataFrame:
    return table(RunStore(Path("results/r")))


@pytest.mark.with_report
def test_a_folder_becomes_rows_with_an_mbr_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mbr.jsonl").write_text("")
    assert bring(folder) == 0
    frame = rows()
    assert list(frame["status"]) == ["done"] * 3
    assert list(frame["seed"].astype(object).where(frame["seed"].notna(), None)) == [10, 11, None]
    assert set(frame["engine"]) == {"imported"}
    assert set(frame["role"]) == {"model"}
    assert frame.loc[2, "selection"] == "mbr"
    assert frame.loc[2, "candidates"] == 2
    assert frame["bleu_diffuseq"].notna().all()
    assert frame["div_4"].isna().tolist() == [True, True, False]
    unknown = ["nfe_mean", "seconds_total", "tokens_per_second", "peak_memory_bytes", "length", "batch_size", "device"]
    assert frame.reindex(columns=unknown).isna().all(axis=None), "what nobody measured is missing, never 0"
    assert "left out: mbr.jsonl" in capsys.readouterr().err
    page = Path("reports/r/index.html").read_text()
    assert "theirs" in page


def test_again_adds_nothing_and_other_steps_add_rows(folder: Path) -> None:
    bring(folder)
    lines = len(RunStore(Path("results/r")).scores())
    batches = list(Path("results/r/jobs").glob("*/batches.jsonl"))
    sizes = [path.stat().st_size for path in batches]
    bring(folder)
    assert [path.stat().st_size for path in batches] == sizes
    assert len(RunStore(Path("results/r")).scores()) == lines
    bring(folder, steps=50)
    bring(folder, model="others")
    frame = rows()
    assert sorted(zip(frame["model"], frame["steps"], strict=True)) == sorted(
        [("theirs", 20), ("theirs", 50), ("others", 20)] * 3
    )
    imports = RunStore(Path("results/r")).plan["imports"]
    assert len(imports) == 4


def test_more_seeds_make_a_new_choice_and_other_texts_replace(folder: Path) -> None:
    bring(folder)
    bring(write_diffuseq(folder / "seed12.json", WRITTEN[10]))
    frame = rows()
    assert list(frame["seed"].dropna()) == [10, 11, 12]
    assert frame.iloc[-1]["candidates"] == 3
    bring(write_diffuseq(folder / "seed12.json", WRITTEN[11]))
    assert rows()["bleu_diffuseq"].iloc[2] == rows()["bleu_diffuseq"].iloc[1]
    assert len(rows()) == 4


def test_given_cost_is_marked(folder: Path) -> None:
    bring(folder, "--seconds", 6, "--nfe", 20, "--scheduler", "ddim")
    frame = rows()
    assert list(frame["nfe_mean"]) == [20, 20, 40]
    assert list(frame["seconds_per_sequence"]) == [2, 2, 4]
    assert frame["tokens_per_second"].isna().all()
    assert "not measured here" in frame.loc[0, "notes"][0]
    assert set(frame["scheduler"]) == {"ddim"}


def test_without_mbr(folder: Path) -> None:
    bring(folder, "--no-mbr")
    assert len(rows()) == 2


def test_a_model_of_ours_and_a_benchmark_of_ours_keep_their_facts(folder: Path) -> None:
    assert bring(folder, "--benchmark", "toy_paraphrase", model="gpt2") == 0
    facts = json.loads(Path("results/r/data/toy_paraphrase/benchmark.json").read_text())
    assert facts["metrics"]
    assert set(rows()["role"]) == {"baseline"}


def test_texts_with_sources_and_true_texts_beside_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(WRITTEN[10]) + "\n")
    (tmp_path / "s.txt").write_text("\n".join(source for source, _ in PAIRS) + "\n")
    (tmp_path / "r.txt").write_text("\n".join(true for _, true in PAIRS) + "\n")
    (tmp_path / "r2.txt").write_text("\n".join(WRITTEN[10]) + "\n")
    base = [
        "import",
        "a.txt",
        "--format",
        "text",
        "--model",
        "m",
        "--steps",
        4,
        "--run",
        "r",
        "--metrics",
        "bleu_diffuseq",
    ]
    beside = ["--sources", "s.txt", "--references", "r.txt", "--references", "r2.txt"]
    assert tdbench(*base, *beside) == 0
    assert rows().loc[0, "bleu_diffuseq"] == pytest.approx(1, abs=0.5)
    store = RunStore(Path("results/r"))
    assert store.prompts(store.points()[0])[1] == {
        "prefix": "", "suffix": "", "reference": "who is that man?", "source": "who is he?",
        "references": ["who is that man?", "who is he?"],
    }  # fmt: skip


def test_text_alone_is_unconditional_and_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text\nmore text\n")
    base = ["import", "a.txt", "--format", "text", "--model", "m", "--steps", 4, "--run", "r"]
    assert tdbench(*base, "--metrics", "bleu,unigram_entropy") == 0
    row = rows().iloc[0]
    assert row["task"] == "unconditional"
    assert row["bleu"] is None or pd.isna(row["bleu"])
    assert row["bleu_reason"] == "no true text for each sample: the task is unconditional"
    assert row["unigram_entropy"] > 0


def test_sources_without_true_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "t", "source": s}) + "\n" for s, _ in PAIRS))
    base = ["import", "a.jsonl", "--format", "jsonl", "--model", "m", "--steps", 4, "--run", "r"]
    assert tdbench(*base, "--metrics", "bleu,dist_1") == 0
    assert rows().loc[0, "bleu_reason"] == "no true text for each sample: the task is seq2seq"
    assert rows().loc[0, "dist_1"] == 1


# --- beside rows of ours --------------------------------------------------------------------------------------------


def make_run(pairs: list[tuple[str, str]] = PAIRS) -> RunStore:
    """What bench leaves of a benchmark of pairs: one finished point of ours."""
    store = RunStore(Path("results/r"))
    data = store.benchmark_data("pairs")
    data.mkdir(parents=True)
    prompts = [
        {"prefix": "", "suffix": "", "reference": true, "source": source, "references": [true, f"{true} indeed"]}
        for source, true in pairs
    ]
    (data / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
    (data / "references.jsonl").write_text("".join(json.dumps({"text": p["reference"]}) + "\n" for p in prompts))
    facts = {"name": "pairs", "tasks": ["seq2seq"], "metrics": ["bleu_diffuseq"], "judge": None, "tokens": "words"}
    write_json(data / "benchmark.json", facts | {"pairs": True, "digest": "d" * 64})
    store.write_plan({"points": [], "config": {"judge": None}, "command": "tdbench bench", "created": "then"})
    (store.folder / "run.json").write_text(json.dumps(store.plan | {"environment": {}, "notes": [], "points": [OURS]}))
    return RunStore(store.folder)


OURS: dict[str, Any] = {
    "fingerprint": "ours", "model": "diffuseq", "role": "model", "checkpoint": "tiny", "checkpoint_kind": "tiny",
    "engine": "native", "runtime": "local", "benchmark": "pairs", "data": "d" * 16, "tokenizer": "t",
    "kind": "generate", "task": "seq2seq", "scheduler": "ddim", "steps": 4, "estimator": None, "precision": None,
    "selection": None, "candidates": None, "length": 16, "batch_size": 4, "device": "cpu", "dtype": "float32",
    "trace": False, "seed": 0, "samples": 3, "options": {}, "job": "diffuseq-1", "notes": [],
}  # fmt: skip


def test_beside_ours_with_the_same_true_texts(folder: Path) -> None:
    make_run()
    assert bring(folder) == 0
    frame = rows()
    assert list(frame["engine"]) == ["native", "imported", "imported", "imported"]
    assert set(frame["benchmark"]) == {"pairs"}
    assert set(frame["data"]) == {"d" * 16}
    store = RunStore(Path("results/r"))
    own = store.prompts(imported_points(store)[0])
    assert own == read_lines(store.benchmark_data("pairs") / "prompts.jsonl"), "the run's further true texts count too"


def test_text_alone_takes_the_runs_sources(tmp_path: Path) -> None:
    make_run()
    (tmp_path / "a.txt").write_text("\n".join(WRITTEN[10][:2]) + "\n")
    base = ["import", "a.txt", "--format", "text", "--model", "m", "--steps", 4, "--run", "r"]
    assert tdbench(*base) == 0
    assert rows().loc[1, "task"] == "seq2seq"
    assert rows().loc[1, "bleu_diffuseq"] > 0
    (tmp_path / "a.txt").write_text("x\n" * 4)
    assert tdbench(*base) == 2


def test_another_spelling_keeps_its_own_true_texts_and_says_so(folder: Path) -> None:
    make_run([(source.upper(), true.title()) for source, true in PAIRS])
    assert bring(folder) == 0
    assert "spelled unlike the run's data" in rows().loc[1, "notes"][0]
    store = RunStore(Path("results/r"))
    assert store.prompts(imported_points(store)[0])[0]["references"] == ["how can one cook?"]


def test_other_sources_are_refused_and_nothing_is_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run([PAIRS[0], ("who are you?", PAIRS[1][1]), PAIRS[2]])
    before = sorted(p for p in Path("results").rglob("*"))
    assert bring(folder) == 2
    message = capsys.readouterr().err
    assert "line 2: the source is 'who is he?'" in message
    assert "benchmark 'pairs' of run 'r' has 'who are you?'" in message
    assert sorted(p for p in Path("results").rglob("*")) == before


def test_other_true_texts_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run([*PAIRS[:2], (PAIRS[2][0], "another")])
    assert bring(folder) == 2
    assert "line 3: the true text is 'why is it so?'" in capsys.readouterr().err


def test_a_later_bench_keeps_imported_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text\nmore text\n")
    base = ["import", "a.txt", "--format", "text", "--model", "m", "--steps", 4, "--run", "r"]
    assert tdbench(*base, "--metrics", "unigram_entropy") == 0
    ours = (
        "model=unigram controls=[] benchmark=toy task=unconditional samples=4 likelihood=none metrics=unigram_entropy"
    )
    for _ in range(2):
        assert tdbench("bench", "run=r", *ours.split()) == 0
        assert list(rows()["engine"]) == ["native", "imported"]
        assert list(rows()["status"]) == ["done", "done"]
        assert rows()["unigram_entropy"].notna().all()


# --- bad input ------------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert tdbench("import", *words) == 2
    assert not Path("results").exists(), "nothing is written"
    message = capsys.readouterr().err
    assert message.startswith("tdbench: ")
    assert message.count("\n") == 1
    return message


BASE = ("--model", "m", "--steps", 4, "--format", "diffuseq")


def test_bad_requests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'diffuseq'" in refused(capsys, folder, "--model", "m", "--steps", 4, "--format", "difuseq")
    assert "cannot be read" in refused(capsys, "absent.json", *BASE)
    assert "unknown metric 'blue'" in refused(capsys, folder, *BASE, "--metrics", "blue")
    assert "1 seeds for 2 files" in refused(capsys, folder, *BASE, "--seed", 3)
    assert "whole numbers, 1 or more" in refused(capsys, folder, "--model", "m", "--steps", 0, "--format", "text")
    assert "number above 0" in refused(capsys, folder, *BASE, "--seconds", -1)
    assert "is no folder name" in refused(capsys, folder, *BASE, "--run", "a/b")
    assert "--model 'a b' is no name" in refused(capsys, folder, "--model", "a b", "--steps", 4, "--format", "text")


def test_files_that_do_not_belong_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_diffuseq(folder / "seed11.json", WRITTEN[11][:2], PAIRS[:2])
    assert "has 3 lines but" in refused(capsys, folder, *BASE)
    write_diffuseq(folder / "seed11.json", WRITTEN[11], [*PAIRS[:2], ("other?", PAIRS[2][1])])
    assert "differ in the source of line 3: 'why so?' and 'other?'" in refused(capsys, folder, *BASE)


def test_texts_beside_that_do_not_fit(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.txt").write_text("a\nb\n")
    assert "holds a source on each line already" in refused(capsys, folder, *BASE, "--sources", "s.txt")
    (tmp_path / "a.txt").write_text("a\nb\nc\n")
    text = ("a.txt", "--model", "m", "--steps", 4, "--format", "text")
    assert "has 3 lines but s.txt has 2" in refused(capsys, *text, "--sources", "s.txt")
    (tmp_path / "s.txt").write_text("a\n\nb\n")
    assert "s.txt, line 2: the reference is empty" in refused(capsys, *text, "--references", "s.txt")
