"""What cards say of effort and published figures: in a unit, on data and by a protocol that the report knows."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from adapters import cards
from harness.benchmarks import all_benchmarks
from harness.choices import Machine
from harness.config import BenchConfig, build
from harness.effort import CodeSize, measure
from harness.metrics import all_metrics
from harness.plan import make_plan
from harness.report.protocol import FIELDS, LIKELIHOOD, MAKE, make_command, settings_of
from tests.checkouts import checkout_of

ROOT = Path(__file__).parents[2]
ALL = cards.all_cards()
WITH_UPSTREAM = sorted(name for name, card in ALL.items() if card.upstream.files)
PUBLISHED = [(name, figure) for name, card in ALL.items() for figure in card.published_results]
#: Data of published figures that no benchmark here has.
WITHOUT_BENCHMARK = {"openwebtext2"}
#: Units of metrics in which a figure lies between 0 and 1.
SHARES = ("share", "0..1", "BLEU, 0..1", "F-measure, 0..1")


def ids(case):
    name, figure = case
    return f"{name}-{figure.dataset}-{figure.metric}-{figure.value}"


@pytest.mark.parametrize("case", PUBLISHED, ids=ids)
def test_a_published_figure_is_one_that_a_row_can_have(case):
    name, figure = case
    card = ALL[name]
    assert figure.metric in LIKELIHOOD or figure.metric in all_metrics()
    assert figure.dataset is None or figure.dataset in all_benchmarks() or figure.dataset in WITHOUT_BENCHMARK
    assert set(figure.fields) <= set(FIELDS)
    assert all(card.checkpoints[checkpoint].kind == "published" for checkpoint in figure.checkpoints)
    assert figure.checkpoints or figure.network
    assert figure.source
    assert figure.protocol
    low, high = figure.reach
    assert low <= figure.number <= high


@pytest.mark.parametrize("case", PUBLISHED, ids=ids)
def test_a_published_figure_is_in_the_unit_of_ours(case):
    _, figure = case
    if figure.metric in LIKELIHOOD:
        # A bound in bits per character above 8 or a perplexity below 1 is one in another unit.
        assert 1 < figure.number < (8 if figure.metric == "bits_per_char" else 200)
        assert figure.fields["bound"] in ("upper_bound", "exact")
    elif all_metrics()[figure.metric].unit in SHARES:
        assert 0 <= figure.number <= 1
    else:
        assert figure.metric in ("gen_ppl_mean", "bertscore")


@pytest.mark.parametrize("case", PUBLISHED, ids=ids)
def test_the_settings_that_would_check_a_figure_make_such_a_row(case):
    name, figure = case
    settings = settings_of(name, figure)
    if settings is None:
        assert not figure.checkpoints or figure.dataset in WITHOUT_BENCHMARK
        return
    config = build(BenchConfig, [f"{key}={value}" for key, value in settings.items()])
    mine = [point for point in make_plan(config, machine=Machine()).points if point["model"] == name]
    kind = "likelihood" if figure.metric in LIKELIHOOD else "generate"
    wanted = {key: figure.fields[key] for key in ("task", "scheduler", "steps", "estimator") if key in figure.fields}
    wanted |= {"checkpoint": figure.checkpoints[0], "kind": kind}
    if figure.fields.get("candidates", 1) > 1:
        wanted["candidates"] = figure.fields["candidates"]
    assert [point for point in mine if wanted.items() <= point.items()], settings


def test_the_makefile_has_the_variables_of_commands():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for setting, variable in MAKE.items():
        assert f"'{setting}=$({variable})'" in text


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_the_command_reaches_the_program_as_it_was_meant():
    settings = {"model": "radd", "steps": "1000", "seeds": "0,1,2", "task": "none", "likelihood": "t_dce"}
    settings |= {"benchmark.options": "{split: train, wrapped: false}"}
    command = make_command(settings)
    assert command.startswith("make bench MODEL=radd STEPS=1000 SEEDS=0,1,2 TASK=none OVERRIDES=")
    asked = ["make", "-n", "--no-print-directory", *shlex.split(command)[1:]]
    printed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout
    words = shlex.split(printed.strip().splitlines()[-1])
    assert sorted(words[2:]) == sorted(f"{key}={value}" for key, value in settings.items())


@pytest.mark.parametrize("name", WITH_UPSTREAM)
def test_the_effort_of_a_model_with_code_of_its_authors_is_told(name):
    card = ALL[name]
    effort = card.effort
    assert all((effort.paper, effort.last_commit, effort.code, effort.needs, effort.took, effort.data))
    assert effort.needed.files == len(card.upstream.files)
    assert effort.needed.lines <= effort.code.lines
    assert effort.cuda_files <= effort.code.files


@pytest.mark.parametrize("name", WITH_UPSTREAM)
def test_the_authors_code_has_the_size_that_its_card_says(name):
    card, checkout = ALL[name], checkout_of(name)
    assert measure(checkout) == card.effort.code
    files = [checkout / file for file in card.upstream.files]
    texts = [file.read_text(encoding="utf-8") for file in files]
    assert CodeSize(len(files), sum(bool(line.strip()) for t in texts for line in t.splitlines())) == card.effort.needed
    naming = [file for file in checkout.rglob("*.py") if "cuda" in file.read_text(encoding="utf-8").lower()]
    assert len(naming) == card.effort.cuda_files


def test_words_of_a_card_are_no_part_of_what_its_results_depend_on(tmp_path):
    card = tmp_path / "card.yaml"
    card.write_text("title: a\ncaveats: [one]\noptions: {temperature: 1.0}\n")
    before = cards._computed_from(card)
    card.write_text("title: b\ncaveats: [two]\neffort: {paper: 2023-05}\noptions: {temperature: 1.0}\n")
    assert cards._computed_from(card) == before
    card.write_text("title: b\ncaveats: [two]\noptions: {temperature: 0.9}\n")
    assert cards._computed_from(card) != before
    code = tmp_path / "adapter.py"
    code.write_text("title = 1\n")
    assert cards._computed_from(code) == b"title = 1\n"
