"""The authors' nanoDD behind the common interface. Tests of their code need a checkout: TDBENCH_UPSTREAM is a folder
that holds it as flukeskywalker+nanoDD, nanoDD or nanodd."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.base import AdapterError, CheckpointError, GenerateRequest, LikelihoodRequest, LoadSpec, NotAvailable
from adapters.cards import get_card
from adapters.nanodd import adapter
from adapters.nanodd.network import ModelArgs
from adapters.nanodd.parity import cases, replay
from adapters.nanodd.upstream import PACKAGES, NanoddUpstream, heard, load, record, stand_ins
from adapters.parity import KINDS, compare
from tests.adapters.test_nanodd import exact_sum
from tests.checkouts import checkout_of
from tests.goldens.nanodd_cases import BY_NAME, Case

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="session")
def checkout() -> Path:
    return checkout_of("nanodd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return BY_NAME["text8"].write(tmp_path / "checkpoint")


def loaded(case: Case, tmp_path: Path, checkout: Path) -> NanoddUpstream:
    return load(LoadSpec(case.write(tmp_path), upstream=checkout))


def test_a_heard_function_is_the_function_itself() -> None:
    results: list[int] = []
    assert heard(max, results.append)(3, 5) == 5
    assert heard(max, results.append)([1, 2], key=lambda x: -x) == 1
    assert results == [5, 1]


def test_a_stand_in_serves_the_import_and_nothing_else() -> None:
    modules = stand_ins()
    assert sorted(modules) == ["fire", "tiktoken"]
    base = modules["tiktoken"].get_encoding("gpt2")
    assert base._special_tokens | {"mask": 1} == {"mask": 1}
    assert not hasattr(modules["fire"], "Fire")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (LoadSpec(Path("somewhere")), r"upstream\.path"),
        (LoadSpec(None, upstream=Path("somewhere")), r"needs a checkpoint.*ckpt\.pt"),
        (LoadSpec(Path("x"), upstream=Path("x"), dtype="bfloat16"), "always computes in float32 on cpu.*dtype=float32"),
        (LoadSpec(Path("x"), upstream=Path("x"), device="cuda:0"), "bfloat16 on cuda:0, got dtype float32"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(spec: LoadSpec, text: str) -> None:
    with pytest.raises(AdapterError, match=text) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


BAD_FILES: dict[str, tuple[Any, str]] = {
    "missing": (None, "ckpt.pt is missing"),
    "empty": (b"", "is empty"),
    "a web page": (b"<html>not found</html>", "damaged or holds more"),
    "a list": ([1, 2], "has no model_cls, model_args, ema"),
    "no ema": ({"model_cls": "D3PMAbsorbing", "model_args": {}}, "has no ema"),
}


@pytest.mark.parametrize(("content", "text"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_no_checkpoint_is_refused_before_any_code_of_theirs_runs(
    tmp_path: Path, content: Any, text: str
) -> None:
    file = tmp_path / "ckpt.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(CheckpointError, match=text) as caught:
        load(LoadSpec(tmp_path, upstream=tmp_path))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_their_code_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="nanodd"):
        load(LoadSpec(folder, upstream=tmp_path))


def test_the_cases_of_one_step_have_no_time_above_zero(tmp_path: Path) -> None:
    model = Case("one", ModelArgs(5, 8, 2, 1, 4, 0.0, 1, 0.05), seed=4, length=3).model(tmp_path)
    settings = {case.kind: case.settings for case in cases(model)}
    assert settings["loss"]["batches"] == {"all": [0], "zero": [0, 0]}
    assert settings["step"]["at"] == [1]
    assert settings["network"]["times"] == [1, 1, 1]


def test_the_card_pins_the_files_that_are_imported(folder: Path, checkout: Path) -> None:
    card = get_card("nanodd").upstream
    code = load(LoadSpec(folder, upstream=checkout)).code
    files = {Path(str(module.__file__)).name for module in code.values()} | {"dit.py"}
    assert set(card.files) == files
    digests = {name: hashlib.sha256((checkout / name).read_bytes()).hexdigest() for name in files}
    assert digests == card.files, "the checkout is not at the pinned commit"
    assert (card.packages, card.tasks) == (PACKAGES, ("unconditional",))
    assert not (checkout / "__pycache__").exists()


@pytest.mark.parametrize(("name", "kinds"), [("small", KINDS), ("text8", KINDS), ("long", ("network", "loss"))])
def test_parity(name: str, kinds: tuple[str, ...], tmp_path: Path, checkout: Path) -> None:
    """A thousand steps take seconds, and those of the golden checkpoint are replayed in test_nanodd.py."""
    case = BY_NAME[name]
    upstream, native = loaded(case, tmp_path, checkout), case.model(tmp_path)
    for one in cases(native):
        if one.kind in kinds:
            recorded = record(upstream, one)
            assert [d for d in compare(one, recorded, replay(native, one, recorded)) if not d.passed] == []


def test_parity_finds_a_change_of_one_weight(tmp_path: Path, checkout: Path) -> None:
    """Otherwise the tests above prove less than they say."""
    case = BY_NAME["text8"]
    upstream, native = loaded(case, tmp_path, checkout), case.model(tmp_path)
    with torch.no_grad():
        native.denoiser.network.get_parameter("blocks.1.mlp.0.bias")[0] += 0.1
    for one in cases(native)[:3]:
        recorded = record(upstream, one)
        assert not all(d.passed for d in compare(one, recorded, replay(native, one, recorded)))


def test_a_seed_gives_both_engines_the_same_text_trace_and_cost(
    folder: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = LoadSpec(folder, upstream=checkout)
    request = GenerateRequest(count=3, length=16, steps=12, scheduler="nanodd_d3pm", seed=9, trace=True)
    upstream = load(spec)
    result = upstream.generate(request)
    assert result == adapter.load(spec).generate(request)
    assert result.nfe == [12, 12, 12]
    assert (result.trace.done, len(result.trace.texts[0])) == (list(range(13)), 3)
    assert upstream.generate(GenerateRequest(1, 4, 12, "nanodd_d3pm")).trace is None
    assert upstream.parameter_count == adapter.load(spec).parameter_count
    assert capsys.readouterr() == ("", "")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "fewer steps": ({"steps": 6}, "12 steps.*got steps 6"),
    "a prefix": ({"task": "prefix"}, "no task 'prefix', only unconditional"),
    "another sampler": ({"scheduler": "ancestral"}, "no scheduler 'ancestral', only nanodd_d3pm"),
    "too long": ({"length": 17}, r"length 17 is outside 1\.\.16"),
}


@pytest.mark.parametrize(("change", "text"), REFUSED.values(), ids=REFUSED)
def test_what_their_code_has_not_is_refused(folder: Path, checkout: Path, change: dict[str, Any], text: str) -> None:
    request = {"count": 1, "length": 16, "steps": 12, "scheduler": "nanodd_d3pm", **change}
    with pytest.raises((AdapterError, NotAvailable), match=text):
        load(LoadSpec(folder, upstream=checkout)).generate(GenerateRequest(**request))


def test_their_bound_is_unbiased_and_knows_its_error(tmp_path: Path, checkout: Path) -> None:
    case = BY_NAME["small"]
    upstream, tokens = loaded(case, tmp_path, checkout), torch.tensor([3, 0, 10])
    expected = exact_sum(case, tokens, carry_over=False)
    torch.manual_seed(0)
    upstream.counted.reset(400)
    with torch.no_grad():
        nats, errors = upstream.score(tokens.expand(400, 3), "d3pm", 16)
    error = float(nats.std()) / math.sqrt(400)
    assert error < 0.03 * expected
    assert float(nats.mean()) == pytest.approx(expected, abs=4 * error)
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(nats.std()), rel=0.15)
    assert upstream.counted.nfe == [16 + 4] * 400


def test_texts_are_scored_with_their_cost(folder: Path, checkout: Path) -> None:
    upstream = load(LoadSpec(folder, upstream=checkout))
    texts = ("w1 w2 w3", "w5", " ".join(["w7"] * 17))
    request = LikelihoodRequest(texts, "d3pm", {"draws": 8}, seed=3)
    result = upstream.likelihood(request)
    assert (result.kind, result.nfe) == ("upper_bound", [10, 10, 20])
    assert [text.tokens for text in result.texts] == [3, 1, 17]
    assert all(text.standard_error and text.nats > 0 for text in result.texts)
    assert result == upstream.likelihood(request)
    with pytest.raises(AdapterError, match="no likelihood estimator 'd3pm_carry_over', only d3pm"):
        upstream.likelihood(LikelihoodRequest(texts, "d3pm_carry_over"))


def test_one_step_has_the_reconstruction_alone(tmp_path: Path, checkout: Path) -> None:
    case = Case("one", ModelArgs(5, 8, 2, 1, 4, 0.0, 1, 0.05), seed=4, length=3)
    upstream, tokens = loaded(case, tmp_path, checkout), torch.tensor([1, 2, 3])
    upstream.counted.reset(1)
    with torch.no_grad():
        nats, _ = upstream.score(tokens[None], "d3pm", 8)
    assert float(nats[0]) == pytest.approx(exact_sum(case, tokens, carry_over=False), rel=1e-5)
    assert upstream.counted.nfe == [2]


def _none(model: Any, tokens: Tensor) -> float:
    return 0.0


def _twice(model: Any, tokens: Tensor) -> float:
    model(tokens)
    return float(model(tokens)[1])


def _wrong(model: Any, tokens: Tensor) -> float:
    return 2 * float(model(tokens)[2]["kl"])


@pytest.mark.parametrize(("function", "text"), [(_none, "0 network"), (_twice, "2 network"), (_wrong, "have the mean")])
def test_what_is_not_heard_is_no_figure(
    folder: Path, checkout: Path, function: Callable[[Any, Tensor], float], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = load(LoadSpec(folder, upstream=checkout))
    monkeypatch.setattr(upstream.code["evaluate"], "estimate_kl", function)
    upstream.counted.reset(2)
    with torch.no_grad(), pytest.raises(AdapterError, match=text + ".*pinned commit"):
        upstream.score(torch.zeros(2, 4).long(), "d3pm", 4)


def test_a_sampler_that_draws_otherwise_is_not_heard(folder: Path, checkout: Path) -> None:
    upstream = load(LoadSpec(folder, upstream=checkout))
    upstream.counted.reset(1)
    upstream.code["sample"].sample_d3pm_absorbing = lambda *args, **kwargs: torch.zeros(13, 1, 4).long()  # type: ignore[attr-defined]
    with pytest.raises(AdapterError, match="did not draw once a step"):
        upstream.hear_steps(1, 4, 0, at=[12, 1])


def _without_a_weight(content: dict[str, Any]) -> None:
    del content["ema"]["ema_model.net.norm_final.weight"]


BAD_CONTENT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another class": (lambda c: c.update(model_cls="SEDD"), "holds a 'SEDD'"),
    "a size too many": (lambda c: c["model_args"].update(depth=3), "does not take.*depth"),
    "a weight too few": (_without_a_weight, "does not take.*norm_final"),
    "another T": (lambda c: c["model_args"].update(T=1000), "does not take.*betas"),
    "ema of another kind": (lambda c: c.update(ema=[1]), "does not take"),
    "a senseless length": (lambda c: c["training_args"].update(seq_len="long"), "seq_len 'long'"),
}


@pytest.mark.parametrize(("change", "text"), BAD_CONTENT.values(), ids=BAD_CONTENT)
def test_a_checkpoint_that_their_code_does_not_take(
    folder: Path, checkout: Path, change: Callable[[dict[str, Any]], Any], text: str
) -> None:
    content = torch.load(folder / "ckpt.pt", weights_only=True)
    change(content)
    torch.save(content, folder / "ckpt.pt")
    with pytest.raises(CheckpointError, match=text) as caught:
        load(LoadSpec(folder, upstream=checkout))
    assert "\n" not in str(caught.value)


def test_without_a_length_the_authors_default_holds(folder: Path, checkout: Path) -> None:
    content = torch.load(folder / "ckpt.pt", weights_only=True)
    del content["training_args"]
    torch.save(content, folder / "ckpt.pt")
    assert load(LoadSpec(folder, upstream=checkout)).default_length == 256
