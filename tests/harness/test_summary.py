"""The printed tables: one block a benchmark, columns only where rows need them."""

from __future__ import annotations

import pytest

from harness.summary import print_summary
from tests.harness.report_fixture import both_run, pair_run, synthetic_run


def printed(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Blocks of lines."""
    return [block.splitlines() for block in capsys.readouterr().out.rstrip("\n").split("\n\n")]


def test_each_benchmark_has_its_own_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(both_run().table, {"toy": ["gen_ppl", "no_such"], "toy_paraphrase": ["bleu"]})
    toy, likelihood, pairs, said = printed(capsys)
    assert toy[0] == "toy"
    assert toy[1].split() == [
        *("model", "scheduler", "steps", "status", "nfe_mean", "seconds_per_sequence", "tokens_per_second"),
        *("gen_ppl", "mark"),
    ]
    assert likelihood[0].split()[:3] == ["model", "estimator", "bound"]
    assert pairs[0] == "toy_paraphrase"
    assert pairs[1].split()[:7] == ["model", "engine", "scheduler", "steps", "seed", "candidates", "status"]
    assert "bleu" in pairs[1].split()
    assert "gen_ppl" not in pairs[1].split()
    assert said[0].startswith("a: not ranked")


def test_one_benchmark_needs_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(synthetic_run().table, {"toy": ["gen_ppl"]})
    assert printed(capsys)[0][0].split()[:3] == ["model", "scheduler", "steps"]


def test_rows_of_seeds_the_choice_among_them_and_imports_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(pair_run().table, {})
    lines = [line.split() for line in printed(capsys)[0][1:]]
    assert ["diffuseq", "native", "ddpm", "4", "1", "-", "done"] in [line[:7] for line in lines]
    assert ["diffuseq", "native", "ddpm", "4", "-", "3", "done"] in [line[:7] for line in lines]
    assert ["bridge_gap", "imported", "-", "20", "-", "3", "done", "-", "-", "-"] in lines
