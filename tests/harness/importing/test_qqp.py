"""Real outputs of Bridge-Gap on QQP, ten seeds and the authors' MBR choice: what they recorded must come out.

How near, and why not nearer: BLEU to the last bits of a double; ROUGE to 1e-7, since theirs is a mean of 32-bit floats;
distinct-n to the four digits that they print. Their BERTScore, perplexity and MAUVE need models that are not here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from harness import cli
from harness.importing.files import expand, read_generations
from harness.selection import mbr_choice
from harness.store import RunStore
from harness.table import table

DATA = Path(os.environ.get("TDBENCH_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
FOLDER = DATA / "qqp_bridge_gap_20steps"
#: Our metric -> the authors' name, and how near.
RECORDED = {
    "bleu_diffuseq_1": ("sentence_bleu_1", 1e-9),
    "bleu_diffuseq_2": ("sentence_bleu_2", 1e-9),
    "bleu_diffuseq_3": ("sentence_bleu_3", 1e-9),
    "bleu_diffuseq": ("sentence_bleu_4", 1e-9),
    "rouge_1": ("rouge1", 1e-7),
    "rouge_2": ("rouge2", 1e-7),
    "rouge_l": ("rougeL", 1e-7),
    **{f"distinct_{n}_bridge_gap": (f"corpus_distinct_{n}", 5e-5) for n in (1, 2, 3, 4)},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """The ten seeds with their MBR row, and the authors' own choice as a model of another name."""
    if not FOLDER.is_dir():
        pytest.skip(f"no real model outputs at {FOLDER}: set TDBENCH_DATA")
    place = tmp_path_factory.mktemp("qqp")
    base = ["--format", "diffuseq", "--steps", "20", "--benchmark", "qqp", "--run", "qqp", "--results", str(place)]
    base += ["--reports", str(place / "reports"), "--metrics", ",".join([*RECORDED, "bertscore", "div_4"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.commands._report", lambda store, reports: reports)
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert cli.main(["import", str(FOLDER), "--model", "bridge_gap", *base]) == 0
        assert cli.main(["import", str(FOLDER / "mbr.jsonl.gz"), "--model", "authors_choice", *base]) == 0
    return RunStore(place / "qqp")


@pytest.fixture(scope="module")
def frame(run: RunStore) -> pd.DataFrame:
    return table(run)


def test_rows(frame: pd.DataFrame) -> None:
    assert set(frame["status"]) == {"done"}
    assert sorted(frame["seed"].dropna()) == [0, *range(10, 15), *range(20, 25)]
    assert set(frame["samples"]) == {1091}
    assert list(frame["candidates"].dropna()) == [10]


@pytest.mark.parametrize("metric", RECORDED)
def test_the_recorded_figures_come_out(frame: pd.DataFrame, metric: str) -> None:
    recorded = json.loads((FOLDER / "recorded_scores.json").read_text())
    name, near = RECORDED[metric]
    theirs = frame[frame["model"] == "authors_choice"].iloc[0]
    ours = frame[frame["selection"] == "mbr"].iloc[0]
    assert theirs[metric] == pytest.approx(recorded[name], abs=near)
    assert ours[metric] == theirs[metric], "our choice among the ten seeds is theirs"
    assert ours[f"{metric}_low"] < ours[metric] < ours[f"{metric}_high"]


def test_a_figure_whose_model_is_not_here_says_so(frame: pd.DataFrame) -> None:
    row = frame.iloc[0]
    if row["bertscore"] is None or pd.isna(row["bertscore"]):
        assert "is not on this machine" in row["bertscore_reason"]


def test_our_choice_is_the_authors_for_all_pairs(run: RunStore) -> None:
    seeds = [read_generations(path, "diffuseq") for path in expand([FOLDER], "diffuseq")[0]]
    theirs = read_generations(FOLDER / "mbr.jsonl.gz", "diffuseq")
    assert len(seeds) == 10
    mbr = next(point for point in run.points() if point["selection"] == "mbr")
    stored = run.samples(mbr["fingerprint"])
    equal = 0
    for i, sample in enumerate(theirs.samples):
        candidates = [file.samples[i].text for file in seeds]
        assert stored[i]["chosen"] == mbr_choice(candidates)
        equal += stored[i]["text"].split() == sample.text.split()
    assert equal == len(theirs.samples) == 1091
