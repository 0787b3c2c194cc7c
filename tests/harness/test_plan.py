from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adapters import cards
from harness import plan as planning
from harness import points as building
from harness.benchmarks import BenchmarkData
from harness.config import BenchConfig
from harness.errors import UserError
from harness.upstream import Checkout
from tests.harness.conftest import SHAKY


@pytest.fixture(autouse=True)
def shaky_card(monkeypatch):
    card = cards.read_card(SHAKY, "tests.fakes.shaky")
    known = {**cards.all_cards(), "shaky": card}
    for module in (cards, planning, building):
        monkeypatch.setattr(module, "all_cards", lambda: known)


def points(**settings):
    settings = {"model": ["shaky"], "controls": [], "likelihood": "none", "device": "cpu", **settings}
    return planning.make_plan(BenchConfig(**settings)).points


def test_the_sweep_is_the_product():
    found = points(steps=[4, 16], schedulers=["fine", "twin"], seeds=[0, 1])
    assert len(found) == 8
    assert len({p["fingerprint"] for p in found}) == 8
    assert {(p["scheduler"], p["steps"], p["seed"]) for p in found} >= {("twin", 16, 1), ("fine", 4, 0)}
    assert len({p["job"] for p in found}) == 1, "points of one model share one loaded model"


def test_batch_sizes_can_be_swept_and_controls_and_likelihoods_take_the_first():
    found = points(steps=4, batch_size=[8, 32], controls=["unigram"], likelihood="default")
    mine = [(p["kind"], p["batch_size"]) for p in found if p["model"] == "shaky"]
    assert mine.count(("generate", 8)) == mine.count(("generate", 32)) == 1
    assert {p["batch_size"] for p in found if p["model"] == "unigram" or p["kind"] == "likelihood"} == {8}
    warmups = {p["batch_size"]: p["warmup_count"] for p in found if p["model"] == "shaky" and p["kind"] == "generate"}
    assert warmups == {8: 8, 32: 32}, "a warm-up is as large as the batch it prepares"


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


# --- two engines ----------------------------------------------------------------------------------------------------


@pytest.fixture
def upstream(monkeypatch, shaky_card):
    """The shaky model with code of its authors, in a checkout whose digest is the fixture's one entry."""
    own = cards.UpstreamCard(
        repo="https://example.org/a/shaky", commit="c" * 40, schedulers=("twin", "whole"), tasks=("unconditional",)
    )
    known = {**cards.all_cards(), "shaky": replace(cards.get_card("shaky"), upstream=own)}
    for module in (cards, planning, building):
        monkeypatch.setattr(module, "all_cards", lambda: known)
    digest = ["d" * 64]
    checkout = lambda card, config: Checkout(Path("/thing"), "c" * 40, digest[0], ("another commit",))  # noqa: E731
    monkeypatch.setattr(building, "find_checkout", checkout)
    return digest


def jobs(**settings):
    settings = {"model": ["shaky"], "controls": [], "likelihood": "none", "device": "cpu", **settings}
    return planning.make_plan(BenchConfig(**settings)).jobs


def test_both_engines_in_one_run(upstream):
    ours, theirs, control = jobs(engine=["native", "upstream"], steps=4, controls=["data"])
    assert (ours.adapter, ours.load["upstream"], ours.notes) == ("tests.fakes.shaky.adapter", None, [])
    assert theirs.adapter == "tests.fakes.shaky.upstream"
    assert theirs.load["upstream"] == "/thing"
    assert theirs.notes == ["another commit"]
    assert [p["scheduler"] for p in ours.points] == ["fine"]
    assert [p["scheduler"] for p in theirs.points] == ["twin"], "the first that their code has"
    assert {p["engine"] for p in control.points} == {"native"}
    assert [p["engine"] for p in ours.points + theirs.points] == ["native", "upstream"]
    assert ours.name != theirs.name


def test_the_same_point_of_two_engines_has_two_fingerprints(upstream):
    both = points(engine=["native", "upstream"], schedulers=["twin"], steps=4)
    assert len({p["fingerprint"] for p in both}) == 2
    assert points(schedulers=["twin"], steps=4)[0]["fingerprint"] == both[0]["fingerprint"]


def test_the_fingerprint_covers_the_authors_code(upstream):
    settings = {"engine": ["upstream"], "steps": 4}
    before = points(**settings)[0]["fingerprint"]
    assert points(**settings)[0]["fingerprint"] == before
    upstream[0] = "e" * 64
    assert points(**settings)[0]["fingerprint"] != before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedulers": ["fine"]}, "authors' code of shaky has none of the schedulers fine. It has: twin, whole"),
        ({"task": ["prefix"]}, "unknown task of the authors' code of shaky 'prefix'. Known: unconditional"),
        ({"likelihood": ["exact"]}, "likelihood estimator of the authors' code of shaky 'exact'. Known: none"),
        ({"options": {"temperature": 1}}, "twin of the authors' code of shaky has no option 'temperature'.* word"),
        ({"model": ["gpt2x"]}, "unknown model"),
        ({"model": ["nanodd"], "steps": [10]}, "always takes 1000 steps, not 10: give steps=1000"),
        ({"model": ["nanodd"], "steps": [10, 1000]}, "always takes 1000 steps, not 10, 1000"),
        ({"model": ["nanodd"], "options": {"given_tokens": "clamp"}}, "no option 'given_tokens'. Its options: none"),
        ({"model": ["radd"], "schedulers": ["ancestral"]}, "It has: radd_direct"),
        ({"model": ["radd", "nanodd"], "upstream_path": "x"}, "upstream.path=x is one checkout, but 2 models"),
    ],
    ids=str,
)
def test_what_the_authors_code_lacks_is_refused_with_what_it_has(upstream, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        points(engine=["upstream"], **settings)
    assert "\n" not in str(caught.value)


def test_fixed_steps_need_not_be_named(upstream):
    assert [p["steps"] for p in points(engine=["upstream"], model=["nanodd"])] == [1000]
    assert [p["steps"] for p in points(engine=["upstream"], model=["nanodd"], steps=1000)] == [1000]


def test_a_model_without_code_of_its_authors(upstream, monkeypatch):
    bare = {**cards.all_cards()}
    bare["shaky"] = replace(bare["shaky"], upstream=cards.UpstreamCard())
    for module in (cards, planning, building):
        monkeypatch.setattr(module, "all_cards", lambda: bare)
    with pytest.raises(UserError, match="shaky has no engine 'upstream', only native"):
        points(engine=["upstream"])
    models = {p["model"] for p in points(model=[], engine=["upstream"])}
    assert models == {"diffuseq", "plaid", "radd", "nanodd", "gpt2"}, (
        "models nobody named are left out; the baseline stays"
    )


def test_one_path_is_enough_where_one_model_needs_it(upstream):
    assert jobs(model=["radd", "gpt2"], engine=["upstream"], upstream_path="x")


# --- what a benchmark can give --------------------------------------------------------------------------------------


def test_a_benchmark_of_prompts_has_no_likelihood():
    settings = {"model": ["radd"], "controls": [], "benchmark": "owt_prompts", "task": ["prefix"], "device": "cpu"}
    plan = planning.make_plan(BenchConfig(**settings, schedulers=["ancestral"], steps=4))
    assert [(p["kind"], p["task"]) for p in plan.points] == [("generate", "prefix")]
    assert any("owt_prompts has no held-out texts" in note for note in plan.notes)
    with pytest.raises(UserError, match="'owt_prompts' has no held-out texts to score: likelihood=none"):
        points(**settings, likelihood=["lambda_dce"])


def test_too_few_prompts_or_texts_are_said_in_the_row(tmp_path):
    data = BenchmarkData(tmp_path, "0" * 64, references=5, prompts=3, windows=5, facts={"tokenizer": "folder"})
    config = BenchConfig(
        model=["shaky"],
        controls=[],
        task=["prefix", "unconditional"],
        steps=4,
        device="cpu",
        samples=4,
        runtime="local",
    )
    plan = planning.make_plan(config, {"toy": data})
    said = {(p["kind"], p["task"]): (p["samples"], p["notes"]) for p in plan.points}
    assert said == {
        ("generate", "prefix"): (3, ["prefix: 4 texts wanted, the held-out part gives 3."]),
        ("generate", "unconditional"): (4, []),
        ("likelihood", None): (5, ["likelihood: 128 texts wanted, the held-out part gives 5."]),
    }
    assert set(plan.notes) == {note for _, notes in said.values() for note in notes}


@pytest.mark.parametrize(("windows", "samples"), [(9, 4), (3, 3), (0, 1)])
def test_real_text_is_served_as_far_as_it_goes(tmp_path, windows, samples):
    """Rows of real text hold as many windows as there are; with none at all the row is there to say so."""
    data = BenchmarkData(tmp_path, "0" * 64, references=5, prompts=5, windows=windows, facts={"tokenizer": "folder"})
    settings = {"model": ["gpt2"], "likelihood": "none", "samples": 4, "device": "cpu"}
    plan = planning.make_plan(BenchConfig(controls=["data", "shuffled", "unigram"], **settings), {"toy": data})
    found = {p["model"]: (p["samples"], bool(p["notes"])) for p in plan.points}
    limited = (samples, samples < 4)
    assert found == {"gpt2": (4, False), "data": limited, "shuffled": limited, "unigram": (4, False)}


def test_an_unnamed_task_is_the_benchmarks_own():
    settings = {"model": ["radd"], "controls": [], "likelihood": "none", "schedulers": ["ancestral"], "device": "cpu"}
    assert [p["task"] for p in points(**settings, steps=4)] == ["unconditional"]
    assert [p["task"] for p in points(**settings, steps=4, benchmark="owt_prompts")] == ["prefix"]


def test_counts_are_the_users_then_the_benchmarks():
    settings = {"model": ["radd"], "controls": [], "schedulers": ["ancestral"], "steps": 4, "device": "cpu"}
    settings["likelihood"] = "default"
    counts = {name: {p["kind"]: p["samples"] for p in points(**settings, benchmark=name)} for name in ("toy", "text8")}
    assert counts["toy"] == {"generate": 256, "likelihood": 128}
    assert counts["text8"] == {"generate": 1000, "likelihood": 1000}
    assert [p["samples"] for p in points(**settings, samples=7, likelihood_samples=3)] == [7, 3]


def test_a_folder_of_the_users_may_hold_a_model_of_another_step_count(tmp_path):
    (tmp_path / "ckpt.pt").write_bytes(b"weights")
    settings = {"model": ["nanodd"], "controls": [], "likelihood": "none", "schedulers": ["nanodd_d3pm"]}
    settings |= {"checkpoint": str(tmp_path), "tokenizer": "text8", "device": "cpu"}
    assert [p["steps"] for p in points(**settings)] == [1000]
    assert [p["steps"] for p in points(**settings, steps=12)] == [12]


def test_an_empty_checkpoint_folder(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        points(checkpoint=str(tmp_path))


def test_published_weights_that_are_not_here_are_in_the_plan_to_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TDBENCH_CACHE", str(tmp_path))
    config = BenchConfig(model=["radd"], controls=[], checkpoint="radd-lambda-dce", runtime="local", device="cpu")
    (download,) = planning.make_plan(config).downloads
    assert (download.model, download.checkpoint, download.fetched) == ("radd", "radd-lambda-dce", False)
    assert download.place == tmp_path / "weights/radd/radd-lambda-dce"
    with pytest.raises(UserError, match=r"radd:radd-lambda-dce is published \(hub Jing.*tdbench fetch radd:"):
        planning.resolve(cards.get_card("radd"), "radd-lambda-dce", None).check_here()


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


# --- several benchmarks ---------------------------------------------------------------------------------------------


def test_a_run_may_hold_several_benchmarks():
    settings = {"model": ["radd"], "controls": ["data"], "likelihood": "none", "schedulers": ["ancestral"], "steps": 4}
    plan = planning.make_plan(BenchConfig(benchmark=["toy", "owt_prompts"], device="cpu", **settings))
    assert [b.name for b in plan.benchmarks] == ["toy", "owt_prompts"]
    assert [(p["benchmark"], p["model"], p["task"]) for p in plan.points] == [
        ("toy", "radd", "unconditional"),
        ("toy", "data", "unconditional"),
        ("owt_prompts", "radd", "prefix"),
        ("owt_prompts", "data", "prefix"),
    ]
    assert {job.name: job.benchmark for job in plan.jobs}.keys() == {p["job"] for p in plan.points}
    assert len({job.name for job in plan.jobs}) == 4
    assert planning.run_name(BenchConfig(benchmark=["toy", "owt_prompts"])).startswith("toy-owt_prompts-")


def test_an_unnamed_benchmark_is_the_one_the_checkpoint_was_made_for():
    assert [b.name for b in planning.chosen_benchmarks(BenchConfig(model=["radd"]))] == ["toy"]
    assert [b.name for b in planning.chosen_benchmarks(BenchConfig(model=["gpt2", "nanodd"]))] == ["toy"]


def test_a_task_that_only_one_benchmark_has_runs_there():
    settings = {"model": ["radd"], "controls": [], "likelihood": "none", "schedulers": ["ancestral"], "steps": 4}
    found = points(benchmark=["toy", "owt_prompts"], task=["infill"], device="cpu", **settings)
    assert [(p["benchmark"], p["task"]) for p in found] == [("toy", "infill")]
    with pytest.raises(UserError, match=r"unknown task of benchmark toy, owt_prompts 'infil'.*infill"):
        points(benchmark=["toy", "owt_prompts"], task=["infil"], **settings)


@pytest.mark.parametrize("setting", [{"benchmark_path": "x"}, {"benchmark_options": {"split": "test"}}, {"data": "x"}])
def test_what_belongs_to_one_benchmark_is_refused_for_several(setting):
    with pytest.raises(UserError, match=r"is for one benchmark: name it with benchmark=. Here: toy, owt_prompts"):
        points(benchmark=["toy", "owt_prompts"], **setting)
