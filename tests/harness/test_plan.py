from __future__ import annotations

from pathlib import Path

import pytest

from adapters import cards
from harness import plan as planning
from harness.config import BenchConfig
from harness.errors import UserError
from tests.harness.conftest import SHAKY


@pytest.fixture(autouse=True)
def shaky_card(monkeypatch):
    card = cards.read_card(SHAKY, "tests.fakes.shaky")
    known = {**cards.all_cards(), "shaky": card}
    monkeypatch.setattr(cards, "all_cards", lambda: known)
    monkeypatch.setattr(planning, "all_cards", lambda: known)


def points(**settings):
    settings = {"model": ["shaky"], "controls": [], "likelihood": "none", "device": "cpu", **settings}
    return planning.make_plan(BenchConfig(**settings)).points


def test_the_sweep_is_the_product():
    found = points(steps=[4, 16], schedulers=["fine", "twin"], seeds=[0, 1])
    assert len(found) == 8
    assert len({p["fingerprint"] for p in found}) == 8
    assert {(p["scheduler"], p["steps"], p["seed"]) for p in found} >= {("twin", 16, 1), ("fine", 4, 0)}
    assert len({p["job"] for p in found}) == 1, "points of one model share one loaded model"


def test_the_default_schedulers_are_those_the_card_marks():
    assert {p["scheduler"] for p in points()} == {"fine"}, "the first where it marks none"
    assert {p["scheduler"] for p in points(model=["radd"], steps=4)} == {"ancestral", "confidence"}


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 255},
        {"batch_size": 32},
        {"length": 4},
        {"seeds": [7]},
        {"options": {"word": "x"}},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_the_fingerprint_covers_what_can_change_a_result(change):
    assert points(steps=4, **change)[0]["fingerprint"] != points(steps=4)[0]["fingerprint"]


def test_the_fingerprint_covers_weights_and_code(tmp_path, monkeypatch):
    before = points(steps=4)[0]["fingerprint"]
    assert points(steps=4)[0]["fingerprint"] == before
    (tmp_path / "model.json").write_text('{"fine": 2}')
    assert points(steps=4, checkpoint=str(tmp_path))[0]["fingerprint"] != before
    monkeypatch.setattr(cards.Card, "code_digest", lambda self: "other code")
    assert points(steps=4)[0]["fingerprint"] != before


def test_a_scheduler_of_one_step_a_token_makes_one_point():
    plan = planning.make_plan(
        BenchConfig(model=["shaky"], controls=[], schedulers=["whole"], steps=[2, 4], device="cpu")
    )
    assert [p["steps"] for p in plan.points if p["kind"] == "generate"] == [8]
    assert any("one step a token" in note for note in plan.notes)


def test_a_default_scheduler_that_cannot_take_the_steps_is_left_out_with_a_note():
    plan = planning.make_plan(
        BenchConfig(model=["radd"], controls=[], likelihood="none", steps=[10, 200], device="cpu")
    )
    assert [(p["scheduler"], p["steps"]) for p in plan.points] == [
        ("ancestral", 10),
        ("ancestral", 200),
        ("confidence", 10),
    ]
    assert any("steps 200 is too many for confidence" in note for note in plan.notes)
    with pytest.raises(UserError, match="steps 1001 is too many for ancestral of nanodd"):
        points(model=["nanodd"], steps=[1001])


def test_tasks_and_likelihood():
    found = points(task=["unconditional", "prefix"], likelihood=["exact", "none_"][:1], steps=4)
    assert [(p["kind"], p["task"], p["estimator"]) for p in found] == [
        ("generate", "unconditional", None),
        ("generate", "prefix", None),
        ("likelihood", None, "exact"),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ["raddd"]}, "unknown model 'raddd'. Did you mean 'radd'"),
        ({"schedulers": ["fin"]}, "unknown scheduler 'fin'. Did you mean 'fine'"),
        ({"schedulers": ["confidence"]}, "shaky has none of the schedulers confidence"),
        ({"benchmark": "tooy"}, "unknown benchmark 'tooy'. Did you mean 'toy'"),
        ({"steps": [101]}, "steps 101 is too many for fine of shaky"),
        ({"task": ["infill"]}, "unknown task of shaky 'infill'"),
        ({"task": ["translation"]}, "unknown task of benchmark toy"),
        ({"likelihood": ["exakt"]}, "Did you mean 'exact'"),
        ({"options": {"temperatur": 1}}, "unknown scheduler option 'temperatur'. Did you mean 'temperature'"),
        ({"checkpoint": "tinny"}, "unknown checkpoint of shaky 'tinny'. Did you mean 'tiny'"),
        ({"checkpoint": "no/such/folder"}, "no checkpoint folder"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "cuda:x"}, "unknown device"),
        ({"controls": ["dta"]}, "unknown model 'dta'. Did you mean 'data'"),
    ],
    ids=str,
)
def test_a_wish_that_cannot_be_met_is_one_line(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        points(**settings)
    assert "\n" not in str(caught.value)


def test_an_empty_checkpoint_folder(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        points(checkpoint=str(tmp_path))


def test_published_weights_that_are_not_here():
    with pytest.raises(UserError, match=r"radd-lambda-dce.*JingyangOu/radd-lambda-dce.*not on this machine"):
        points(model=["radd"], checkpoint="radd-lambda-dce")


def test_a_cuda_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        points(device="cuda")
    assert {p["device"] for p in points(device="auto")} == {"cpu"}


def test_the_same_configuration_names_the_same_run():
    first, again = (planning.run_name(BenchConfig(steps=[4, 8])) for _ in range(2))
    assert first == again
    assert first != planning.run_name(BenchConfig(steps=[4, 9]))
    assert first == planning.run_name(BenchConfig(steps=[4, 8], reports="elsewhere"))
    assert planning.run_name(BenchConfig(run="mine")) == "mine"
    for bad in ("../up", "a/b", ".hidden", ""):
        if bad:
            with pytest.raises(UserError, match="no folder name"):
                planning.run_name(BenchConfig(run=bad))


def test_a_local_checkpoint_takes_what_the_trainer_noted(tmp_path):
    (tmp_path / "training.json").write_text('{"tokenizer": "text8", "length": 32}')
    (tmp_path / "weights.bin").write_text("x")
    found = planning.resolve(cards.all_cards()["radd"], str(tmp_path), None)
    assert (found.kind, found.tokenizer, found.length) == ("local", "text8", 32)
    assert planning.resolve(cards.all_cards()["radd"], str(tmp_path), "gpt2").tokenizer == "gpt2"


def test_cards_are_read_without_torch():
    import subprocess
    import sys

    code = "import sys, adapters.cards as c; c.all_cards(); assert 'torch' not in sys.modules"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_card_with_an_unknown_key_says_which(tmp_path):
    (tmp_path / "card.yaml").write_text("name: x\ntitle: x\nrole: model\nfamily: null\ncolour: red\n")
    with pytest.raises(UserError, match="colour"):
        cards.read_card(tmp_path, "x")
