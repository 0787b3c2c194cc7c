"""The console command as a user meets it, on the real tiny checkpoints."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from adapters import cards
from harness import commands, summary, upstream
from harness import plan as planning
from harness import points as building
from harness.cli import main
from harness.config import BenchConfig
from harness.report import collect
from harness.store import RunStore
from harness.worker.jsonl import read_lines
from tests.harness.conftest import SHAKY

SMALL = [
    "schedulers=ancestral",
    "samples=4",
    "batch_size=2",
    "steps=2",
    "likelihood_samples=2",
    "draws=2",
    "threads=1",
    "warmup_calls=1",
]


@pytest.fixture
def places(tmp_path):
    return [f"results={tmp_path / 'results'}", f"reports={tmp_path / 'reports'}"]


def store_of(places) -> RunStore:
    return RunStore.open(Path(places[0].partition("=")[2]), "r")


@pytest.mark.slow
def test_bench_from_model_to_report(places, capsys):
    assert main(["bench", "model=radd,nanodd", "controls=data", "run=r", *SMALL, *places]) == 0
    shown = capsys.readouterr()
    report = Path(places[1].partition("=")[2]) / "r"
    assert str(report / "index.html") in shown.out
    assert "toy_valid_sentences" in shown.out
    assert "upper_bound" in shown.out
    frame = pd.read_csv(report / "table.csv")
    assert set(frame["status"]) == {"done"}
    generated = frame[frame["kind"] == "generate"].set_index("model")
    assert generated.loc["radd", "nfe_mean"] == 2
    assert generated.loc["data", "toy_valid_sentences"] == 1
    assert generated["gen_ppl"].notna().all()
    assert (report / "table.md").is_file()
    assert list(report.glob("*.svg"))
    page = (report / "index.html").read_text()
    assert "<script src" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    # The same command again computes nothing; score and report work alone, offline.
    before = (store_of(places).folder / "scores.jsonl").read_bytes()
    sizes = {p: p.stat().st_size for p in store_of(places).folder.rglob("batches.jsonl")}
    assert main(["bench", "model=radd,nanodd", "controls=data", "run=r", *SMALL, *places]) == 0
    assert {p: p.stat().st_size for p in sizes} == sizes
    assert (store_of(places).folder / "scores.jsonl").read_bytes() == before
    assert main(["score", "run=r", places[0], "metrics=distinct_1"]) == 0
    assert len((store_of(places).folder / "scores.jsonl").read_bytes()) > len(before)
    (report / "index.html").unlink()
    assert main(["report", "run=r", *places]) == 0
    assert (report / "index.html").is_file()


@pytest.mark.slow
def test_prefix_and_infill_keep_what_was_given(places):
    words = ["bench", "model=radd,nanodd", "task=prefix,infill", "controls=[]", "likelihood=none", "run=r"]
    assert main([*words, "metrics=bleu,chrf", *SMALL, *places]) == 0
    store = store_of(places)
    prompts = read_lines(store.benchmark_data("toy") / "prompts.jsonl")
    for point in store.points():
        for sample, prompt in zip(store.samples(point["fingerprint"]), prompts, strict=False):
            assert sample["text"].startswith(prompt["prefix"])
            assert sample["text"].endswith(prompt["suffix"]) or point["task"] == "prefix"
            assert sample["generated_tokens"] < 64
    values = {score["metric"]: score["value"] for score in store.scores()}
    assert values["bleu"] is not None
    assert values["chrf"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "model=rad"], "unknown model 'rad'. Did you mean 'radd'?"),
        (["bench", "model=radd", "schedulers=ancestrel"], "Did you mean 'ancestral'?"),
        (["bench", "benchmark=toi"], "unknown benchmark 'toi'. Did you mean 'toy'?"),
        (["bench", "model=radd", "metrics=gen_pl"], "unknown metric 'gen_pl'. Did you mean 'gen_ppl'?"),
        (["bench", "steps=0"], "steps must be a whole number"),
        (["bench", "steps=x"], "got 'x'"),
        (["bench", "model=nanodd", "steps=1001"], "steps 1001 is too many for ancestral of nanodd"),
        (["bench", "model=radd", "schedulers=confidence", "steps=65"], "steps 65 is too many for confidence of radd"),
        (["bench", "samples=0"], "samples must be"),
        (["bench", "length=0"], "length must be"),
        (["bench", "benchmark=text"], "needs a text file"),
        (["bench", "benchmark=text", "data=/no/such/file"], "/no/such/file"),
        (["bench", "model=radd", "checkpoint=/no/such/folder"], "no checkpoint folder '/no/such/folder'"),
        (
            ["bench", "model=radd", "schedulers=radd_ordered", "task=infill"],
            "radd_ordered of radd has no task 'infill'",
        ),
        (["score", "run=none"], "no run 'none'"),
        (["report"], "run is missing"),
        (["train", "model=unigram"], "unigram"),
        (
            ["bench", "model=gpt2", "benchmark=text8", "engine=theirs"],
            "unknown engine 'theirs'. Known: native, upstream",
        ),
        (
            ["bench", "model=radd", "engine=upstream"],
            "there is none in /no/cache/upstream/radd: tdbench fetch --upstream",
        ),
        (["bench", "model=radd", "engine=upstream", "upstream.path=/no/such"], "'/no/such' does not exist"),
        (["bench", "model=nanodd,radd", "engine=upstream", "upstream.path=/x"], "2 models need one each"),
        (["parity", "radd"], "there is none in /no/cache/upstream/radd"),
        (["parity", "rad"], "unknown model 'rad'. Did you mean 'radd'?"),
        (["fetch"], "fetch what? tdbench fetch MODEL"),
        (["fetch", "radd:radd-t-dse"], "unknown checkpoint of radd 'radd-t-dse'. Did you mean 'radd-t-dce'?"),
        (["fetch", "radd:tiny"], "radd:tiny ships with the project"),
        (["fetch", "radd", "--to", "x"], "--to is for --upstream"),
        (["fetch", "--upstream"], "whose code? tdbench fetch --upstream MODEL"),
        (["images", "natve"], "unknown image 'natve'. Did you mean 'native'?"),
        (["fetch", "--upstream", "rad"], "unknown model 'rad'. Did you mean 'radd'?"),
        (["fetch", "--upstream", "gpt2"], "gpt2 has no code of its authors to fetch"),
        (["fetch", "--upstream", "radd", "--from", "/no/such"], "cannot clone /no/such for radd"),
        (["fetch", "--upstream", "radd", "--to", "/proc/no/such"], "cannot write into /proc/no"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_a_mistake_gets_one_line_and_exit_code_2(words, message, places, capsys, monkeypatch, tmp_path):
    cache = tmp_path if "--from" in words else "/no/cache"
    monkeypatch.setenv("TDBENCH_CACHE", str(cache))
    extra = places if words[0] == "bench" else places[:1] if words[0] == "score" else []
    assert main([*words, *extra]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert len([line for line in shown.err.splitlines() if line.startswith("tdbench:")]) == 1


@pytest.mark.slow
def test_a_bad_checkpoint_is_one_line_and_loses_nothing(places, tmp_path, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(Path(__file__).parents[2] / "adapters" / "radd" / "tiny", bad)
    (bad / "model.safetensors").write_bytes(b"truncated")
    checkpoint = f"checkpoint={{radd: {bad}, nanodd: tiny}}"
    assert main(["bench", "model=nanodd,radd", checkpoint, "controls=[]", "run=r", *SMALL, *places]) == 2
    shown = capsys.readouterr()
    assert str(bad) in shown.err
    assert "Traceback" not in shown.err
    rows = store_of(places).rows().values()
    assert {(row["status"], row["reason"]) for row in rows} == {("done", None), ("failed", "bad_checkpoint")}


@pytest.fixture
def shaky_with_upstream(monkeypatch, tmp_path) -> Path:
    """The shaky model with code of its authors; the folder is their checkout, unpacked without git."""
    checkout = tmp_path / "theirs"
    checkout.mkdir()
    (checkout / "shaky.py").write_text("x = 1\n")
    digest = hashlib.sha256(b"x = 1\n").hexdigest()
    own = cards.UpstreamCard(
        repo="https://example.org/a/shaky",
        commit="c" * 40,
        schedulers=("fine",),
        estimators=("exact",),
        tasks=("unconditional",),
        files={"shaky.py": digest},
    )
    card = replace(cards.read_card(SHAKY, "tests.fakes.shaky"), upstream=own)
    known = {**cards.all_cards(), "shaky": card}
    for module in (cards, planning, building, upstream, collect):
        monkeypatch.setattr(module, "all_cards", lambda: known)
    return checkout


SHAKY_WORDS = ["bench", "model=shaky", "engine=native,upstream", "steps=2", "samples=4", "batch_size=2", "run=r"]
SHAKY_WORDS += ["likelihood_samples=2", "warmup_calls=1", "threads=1", "controls=data", "metrics=distinct_1"]


@pytest.mark.slow
def test_both_engines_in_one_run(shaky_with_upstream, places, capsys):
    assert main([*SHAKY_WORDS, f"upstream.path={shaky_with_upstream}", *places]) == 0
    shown = capsys.readouterr().out
    header, *rows = shown.splitlines()[:4]
    assert header.split()[:3] == ["model", "engine", "scheduler"]
    assert [row.split()[:2] for row in rows] == [["shaky", "native"], ["shaky", "upstream"], ["data", "native"]]
    frame = pd.read_csv(Path(places[1].partition("=")[2]) / "r" / "table.csv")
    assert set(frame["status"]) == {"done"}
    theirs = frame[frame["engine"] == "upstream"]
    assert set(theirs["kind"]) == {"generate", "likelihood"}
    assert theirs["notes"].str.contains("upstream: the commit is unknown, it is no git checkout").all()
    assert not frame[frame["engine"] == "native"]["notes"].astype(str).str.contains("upstream").any()


def test_the_engine_is_not_shown_where_there_is_one(capsys):
    row = dict.fromkeys([*summary.GENERATION_COLUMNS, "engine", "benchmark"], "x") | {"kind": "generate"}
    summary.print_summary(pd.DataFrame([row, row]), {})
    assert "engine" not in capsys.readouterr().out
    summary.print_summary(pd.DataFrame([row, {**row, "engine": "upstream"}]), {})
    assert capsys.readouterr().out.split()[:3] == ["model", "engine", "scheduler"]


def test_likelihoods_are_printed_with_their_intervals(capsys):
    row = {"model": "m", "kind": "likelihood", "benchmark": "b", "engine": "native", "bits_per_byte": 2.6672}
    known = {**row, "bits_per_byte_low": 2.611, "bits_per_byte_high": 2.7223}
    summary.print_summary(pd.DataFrame([known, row]), {})
    lines = capsys.readouterr().out.splitlines()
    assert "2.667 [2.611, 2.722]" in lines[-2]
    assert "2.667" in lines[-1]
    assert "[" not in lines[-1]


@pytest.mark.slow
def test_upstream_code_that_cannot_be_imported_is_one_line_and_loses_nothing(shaky_with_upstream, places, capsys):
    (shaky_with_upstream / "shaky.py").write_text("import nothing\n")
    git = ["git", "-C", str(shaky_with_upstream)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "remote", "add", "origin", "git@example.org:a/shaky.git"], check=True)
    assert main([*SHAKY_WORDS, f"upstream.path={shaky_with_upstream}", *places]) == 2
    shown = capsys.readouterr().err
    assert "tdbench: the authors' code of shaky needs the package 'nothing': pip install nothing" in shown
    assert "Traceback" not in shown
    by_engine = {p["engine"]: store_of(places).rows()[p["fingerprint"]] for p in store_of(places).points()}
    assert by_engine["native"]["status"] == "done"
    assert (by_engine["upstream"]["status"], by_engine["upstream"]["reason"]) == ("failed", "bad_request")


def test_an_unwritable_results_folder(tmp_path, capsys):
    (tmp_path / "results").write_text("a file where the folder should be")
    assert main(["bench", "model=radd", f"results={tmp_path / 'results'}", f"reports={tmp_path}"]) == 2
    assert "cannot write results into" in capsys.readouterr().err


def test_an_unwritable_reports_folder(tmp_path, capsys):
    (tmp_path / "reports").write_text("a file where the folder should be")
    assert main(["bench", "model=radd", f"results={tmp_path / 'results'}", f"reports={tmp_path / 'reports'}"]) == 2
    assert "cannot write reports into" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_full_disk_while_scoring_still_leaves_a_report(monkeypatch, capsys):
    def fail(code):
        def score(*args, **kwargs):
            raise OSError(code, os.strerror(code))

        return score

    monkeypatch.setattr(commands, "_score", fail(errno.ENOSPC))
    assert commands._score_or_say(RunStore(Path("r")), BenchConfig()) is False
    assert "No space left" in capsys.readouterr().err
    monkeypatch.setattr(commands, "_score", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        commands._score_or_say(RunStore(Path("r")), BenchConfig())


def test_two_runs_in_one_folder(places, capsys):
    store = RunStore(Path(places[0].partition("=")[2]) / "r")
    with store.locked():
        assert main(["bench", "model=radd", "run=r", *SMALL, *places]) == 2
    assert "in use by another process" in capsys.readouterr().err


@pytest.mark.slow
def test_a_half_finished_run_can_be_reported_and_continued(places, capsys):
    """The whole command is killed; report says what is missing; the same command finishes."""
    words = [
        "bench",
        "model=radd",
        "schedulers=ancestral",
        "controls=[]",
        "run=r",
        "samples=120",
        "batch_size=4",
        "steps=16",
        "threads=1",
    ]
    words += ["likelihood_samples=4", "draws=2", "warmup_calls=1", *places]
    root = Path(__file__).parents[2]
    host = subprocess.Popen([sys.executable, "-m", "harness.cli", *words], cwd=root, stderr=subprocess.DEVNULL)
    results = Path(places[0].partition("=")[2])
    while not any(path.stat().st_size > 3000 for path in results.rglob("batches.jsonl")):
        time.sleep(0.05)
        assert host.poll() is None
    os.kill(host.pid, signal.SIGKILL)
    host.wait()
    time.sleep(1)
    assert main(["score", "run=r", places[0]]) == 0
    assert main(["report", "run=r", *places]) == 0
    frame = pd.read_csv(Path(places[1].partition("=")[2]) / "r" / "table.csv")
    assert "partial" in set(frame["status"])
    capsys.readouterr()
    assert main(words) == 0
    frame = pd.read_csv(Path(places[1].partition("=")[2]) / "r" / "table.csv")
    assert set(frame["status"]) == {"done"}
    assert frame.loc[0, "samples_done"] == 120


def test_listing_commands_print_tab_separated_tables(capsys):
    for command in ("models", "benchmarks"):
        assert main([command]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len({line.count("\t") for line in lines}) == 1
    assert main(["doctor"]) in (0, 1)
    assert "torch" in capsys.readouterr().out


def test_help_is_enough(capsys):
    for words in ([], ["bench"], ["train"], ["score"], ["report"], ["fetch"], ["parity"]):
        with pytest.raises(SystemExit) as stop:
            main([*words, "--help"])
        assert stop.value.code == 0
    shown = capsys.readouterr().out
    for word in ("schedulers", "upstream.folder", "--from", "--record"):
        assert word in shown


def test_parity_gets_its_words_and_the_folder_to_record_in(monkeypatch):
    got = []
    monkeypatch.setattr("harness.parity.parity", lambda *given: got.append(given) or 1)
    assert main(["parity", "radd", "steps=4", "checkpoint=tiny"]) == 1
    main(["parity", "radd", "--record"])
    main(["parity", "radd", "rounds=0", "--record", "some/folder"])
    assert got == [
        ("radd", ["steps=4", "checkpoint=tiny"], None),
        ("radd", [], Path("tests/goldens")),
        ("radd", ["rounds=0"], Path("some/folder")),
    ]


def test_doctor_says_where_the_authors_code_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path))
    main(["doctor"])
    lines = [line for line in capsys.readouterr().out.splitlines() if " radd code" in line]
    assert len(lines) == 1
    assert lines[0].startswith("note")
    assert "tdbench fetch --upstream radd" in lines[0]
    found = upstream.Checkout(tmp_path, "c" * 40, "d" * 64)
    monkeypatch.setattr("harness.doctor.find_checkout", lambda card, config: found)
    monkeypatch.setattr("harness.doctor.missing_packages", lambda card: ["einops"])
    main(["doctor"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " radd code" in line]
    assert f"commit cccccccccccc in {tmp_path}; engine=upstream also needs einops: pip install" in line
    monkeypatch.setattr("harness.doctor.missing_packages", lambda card: [])
    main(["doctor"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " radd code" in line]
    assert line.startswith("ok")


def test_models_lists_engines(capsys):
    assert main(["models"]) == 0
    header, *lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    engines = {line[0]: line[header.index("engines")] for line in lines}
    assert engines["radd"] == engines["nanodd"] == "native,upstream"
    assert engines["gpt2"] == engines["data"] == "native"
