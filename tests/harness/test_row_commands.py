"""The command printed for a row must make that row: the same fingerprint, from the same data."""

from __future__ import annotations

import shlex

import pytest

from harness.benchmarks import get_benchmark, prepare
from harness.config import BenchConfig, build, folder
from harness.plan import make_plan
from harness.report import row_command


def planned(words, place):
    config = build(BenchConfig, words)
    data = prepare(
        get_benchmark(config.benchmark),
        place,
        seed=config.data_seed,
        samples=max(config.samples, config.likelihood_samples),
        data=folder(config.data) if config.data else None,
        normalize=config.normalize,
        length=config.window or config.length,
    )
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
