"""`make perf`: a small case through both tables' code, and what it says without the authors' code. Nothing is timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.perf import __main__ as command
from harness.perf import own, table
from harness.perf.cases import CASES, PerfCase, texts_of, write_checkpoint
from harness.perf.config import PerfConfig
from harness.perf.engines import Cost, Row, measure

SIZE = {"hidden": 16, "blocks": 1, "heads": 2, "n_cond": 4, "T": 3, "lambda_ce": 0.05, "dropout": 0.0}
SMALL = replace(
    CASES[1], name="small", vocab_size=50, size=SIZE, pairs=CASES[1].pairs[:1], steps=3, batch=2, length=8, draws=2
)


def row(native: float, upstream: float | None) -> Row:
    theirs = None if upstream is None else Cost(upstream, 0.5, 16, 400 << 20)
    return Row(SMALL, "ancestral / nanodd_d3pm", Cost(native, 0.02, 12, 300 << 20), theirs, 0.25)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_name_what_both_engines_have(case: PerfCase) -> None:
    from adapters.cards import get_card

    card = get_card(case.model)
    for ours, theirs in case.pairs:
        assert ours in card.offer("native").schedulers
        assert theirs in card.offer("upstream").schedulers
        assert case.sampling(ours).options.keys() == card.schedulers[ours].options.keys()
    if case.estimator is not None:
        assert all(case.estimator in card.offer(engine).estimators for engine in card.engines)
    assert case.task in card.tasks


def test_texts_have_exactly_the_length(tmp_path: Path) -> None:
    from adapters.tokenizers import load_tokenizer

    write_checkpoint(SMALL, tmp_path)
    texts = texts_of(SMALL, tmp_path)
    tokenizer = load_tokenizer(SMALL.tokenizer, tmp_path)
    assert [len(tokenizer.encode(text)) for text in texts] == [8, 8]
    assert tokenizer.vocab_size == 50


def test_a_case_without_the_authors_code(tmp_path: Path) -> None:
    rows = list(measure(SMALL, None, 1, 1e9, tmp_path))
    assert [r.work for r in rows] == ["ancestral / nanodd_d3pm", "likelihood d3pm"]
    assert rows[1].native.nfe == SMALL.batch * (SMALL.draws + 1)
    assert all(0 <= r.native.outside < 1 and r.products > 0 and r.upstream is None for r in rows)
    assert all(r.native.memory is None or r.native.memory > 50 << 20 for r in rows)


def test_the_table_says_what_is_in_it() -> None:
    both, alone = table.cells(row(2.0, 5.0)), table.cells(row(2.0, None))
    assert len(both) == len(alone) == len(table.HEADING)
    assert dict(zip(table.HEADING, both, strict=True))["ratio"] == "2.50"
    assert [cell for cell, name in zip(alone, table.HEADING, strict=True) if "upstream" in name or name == "ratio"] == [
        "",
        "",
        "",
        "",
        "",
    ]
    said = " ".join(table.sentences([row(2.0, 5.0), row(1.0, 4.0)], 1e11))
    assert "2.50 to 4.00 times as fast" in said
    assert "100 GFLOP/s" in said
    assert "4.00 to 8.00 times as long" in said
    assert "0.75 times theirs" in said
    assert "authors" not in " ".join(table.sentences([row(2.0, None)], 1e11))


def test_without_a_checkout_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("harness.perf.config.CASES", (SMALL,))
    monkeypatch.setattr(command, "machine_speed", lambda: 1e9)
    monkeypatch.setattr(command, "measure", lambda *args: iter([row(2.0, None)]))
    assert command.main(["parts=engines", "cases=small"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "nanodd" in last
    assert "tdbench fetch --upstream nanodd" in last
    assert command.main(["parts=engines", "cases=small", f"upstream.folder={tmp_path}"]) == 2
    assert "no checkout of nanodd" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"), [({"rounds": 0}, "1 or more"), ({"parts": ["owm"]}, "own"), ({"cases": ["gpt"]}, "gpt")]
)
def test_bad_settings(words: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        PerfConfig(**words)  # type: ignore[arg-type]


def test_own_costs_add_up() -> None:
    share = own.harness_share(samples=4)
    assert 0 < share["model"] < share["wall"]
