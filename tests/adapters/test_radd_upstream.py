"""The authors' RADD behind the common interface. Tests of their code need a checkout: TDBENCH_UPSTREAM is a folder that
holds it as ML-GSAI+RADD, RADD or radd."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.base import AdapterError, CheckpointError, GenerateRequest, LikelihoodRequest, LoadSpec, Prompt
from adapters.cards import get_card
from adapters.parity import compare
from adapters.radd import adapter
from adapters.radd.parity import cases, replay
from adapters.radd.upstream import (
    LOSSES,
    PACKAGES,
    SCHEDULERS,
    TASKS,
    RaddUpstream,
    checked,
    half_known,
    load,
    record,
)
from tests.checkouts import checkout_of
from tests.goldens.radd_checkpoints import LENGTH, SIZE, WRITERS, write_hub, write_run

CARD = get_card("radd").upstream


@pytest.fixture(scope="session")
def checkout() -> Path:
    return checkout_of("radd")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hub(tmp_path_factory.mktemp("radd") / "hub")


@pytest.fixture
def model(folder: Path, checkout: Path) -> RaddUpstream:
    return load(LoadSpec(folder, upstream=checkout))


def test_card_lists_what_the_engine_offers() -> None:
    assert (CARD.tasks, CARD.schedulers, CARD.estimators) == (TASKS, SCHEDULERS, tuple(LOSSES))
    assert CARD.packages == PACKAGES


def test_card_has_the_digests_of_the_imported_files(checkout: Path) -> None:
    for name, digest in CARD.files.items():
        assert hashlib.sha256((checkout / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "heun"}, "method 'heun' is not one of tweedie, euler"),
        ({"strategy": "beam"}, "strategy 'beam'"),
        ({"sampler_dtype": "float64"}, "sampler_dtype 'float64'"),
        ({"order": "inward"}, "order 'inward'"),
        ({"strategy": "top_p", "strategy_para": 0}, "above 0"),
        ({"strategy": "top_k", "strategy_para": 2.5}, "whole number"),
        ({"strategy": "top_k", "strategy_para": 38}, "from 1 to 37"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        checked(options, 38)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (LoadSpec(Path("x")), "upstream.path=FOLDER"),
        (LoadSpec(None, upstream=Path("y")), "needs a checkpoint"),
        (LoadSpec(Path("x"), upstream=Path("y"), dtype="int8"), "not in 'int8'"),
        (LoadSpec(Path("x"), upstream=Path("y"), dtype="float16"), "on CUDA only"),
        (LoadSpec(Path("x"), upstream=Path("y")), "checkout y .* does not exist"),
    ],
)
def test_bad_load_specs(spec: LoadSpec, says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        load(spec)


@pytest.mark.parametrize("name", WRITERS)
def test_the_authors_code_agrees(name: str, tmp_path: Path, checkout: Path) -> None:
    """What `tdbench parity` does, on each golden checkpoint; of runs and steps only those in float32."""
    path = WRITERS[name](tmp_path / name)
    ours, theirs = adapter.load(LoadSpec(path)), load(LoadSpec(path, upstream=checkout))
    for case in cases(ours):
        if case.name.endswith("float16"):
            continue
        recorded = record(theirs, case)
        differences = compare(case, recorded, replay(ours, case, recorded))
        assert [d for d in differences if not d.passed] == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_generate_gives_the_native_engines_tokens(model: RaddUpstream, folder: Path, scheduler: str) -> None:
    native = adapter.load(LoadSpec(folder))
    request = GenerateRequest(count=3, length=LENGTH, steps=9, scheduler=scheduler, seed=5)
    ours, theirs = native.generate(request), model.generate(request)
    assert (ours.tokens, ours.nfe, ours.texts) == (theirs.tokens, theirs.nfe, theirs.texts)
    assert sum(theirs.nfe) == model.counted.evaluations
    if scheduler == "radd_direct":
        assert max(theirs.nfe) < 9 * 3  # counted by sequence, not by call


def test_infill_keeps_what_is_given(model: RaddUpstream) -> None:
    prompt = Prompt("w3 w4", "w5")
    request = GenerateRequest(1, LENGTH, 4, "radd_direct", task="infill", prompts=(prompt,))
    result = model.generate(request)
    assert result.tokens[0][:2] + result.tokens[0][-1:] == [3, 4, 5]
    assert result.generated_tokens == [LENGTH - 3]
    with pytest.raises(AdapterError, match="overwrites given tokens"):
        model.generate(GenerateRequest(1, LENGTH, 4, "radd_ordered", task="infill", prompts=(prompt,)))
    with pytest.raises(AdapterError, match="more than the length"):
        model.generate(GenerateRequest(1, LENGTH, LENGTH + 1, "radd_ordered"))


@pytest.mark.parametrize("estimator", LOSSES)
def test_a_text_gets_its_own_bound_whatever_else_is_in_the_batch(
    model: RaddUpstream, folder: Path, estimator: str
) -> None:
    """Their lambda_DCE gives each row of a batch noise from its own part of (0, 1]; see `RaddUpstream.score`."""
    text = " ".join(f"w{1 + (5 * i) % 30}" for i in range(LENGTH))
    request = LikelihoodRequest((text,) * 8, estimator, {"draws": 30}, seed=1)
    theirs = model.likelihood(request)
    assert theirs.kind == "upper_bound"
    assert theirs.nfe == [30] * 8
    truth = adapter.load(LoadSpec(folder)).likelihood(LikelihoodRequest((text,), estimator, {"draws": 1000})).texts[0]
    for figure in theirs.texts:
        assert figure.standard_error
        assert abs(figure.nats - truth.nats) < 4.5 * figure.standard_error


def test_a_single_draw_has_no_error(model: RaddUpstream) -> None:
    result = model.likelihood(LikelihoodRequest(("w1 w2",), "k_dce", {"draws": 1}))
    assert result.texts[0].standard_error is None


def test_old_bin_file(tmp_path: Path, checkout: Path) -> None:
    path = write_hub(tmp_path / "hub")
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    tokens = torch.arange(LENGTH)[None]
    with torch.no_grad():
        logits = load(LoadSpec(path, upstream=checkout)).evaluate(tokens, "logits")
        assert torch.equal(logits, adapter.load(LoadSpec(path)).denoiser.network(tokens))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def test_bad_checkpoints(tmp_path: Path, checkout: Path) -> None:
    cut = write_hub(tmp_path / "cut")
    _truncate(cut / "model.safetensors")
    foreign = write_hub(tmp_path / "foreign")
    state = load_file(foreign / "model.safetensors")
    state["transformer.wte.weight"] = state.pop("vocab_embed.embedding")
    save_file(state, foreign / "model.safetensors")
    config = write_hub(tmp_path / "config")
    (config / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    run = write_run(tmp_path / "run")
    _truncate(run / "checkpoints-meta" / "checkpoint.pth")
    (tmp_path / "empty").mkdir()
    for path, says in (
        (cut, "truncated"),
        (foreign, "1 RADD tensors missing, 1 unknown"),
        (config, "loader refuses"),
        (run, "truncated"),
        (tmp_path / "empty", "none that the authors' loader reads"),
    ):
        with pytest.raises(CheckpointError, match=says) as error:
            load(LoadSpec(path, upstream=checkout))
        assert "\n" not in str(error.value)


def test_another_tokenizer_is_refused(folder: Path, checkout: Path) -> None:
    with pytest.raises(AdapterError, match=f"27 ids but the network was trained on {SIZE.tokens}"):
        load(LoadSpec(folder, upstream=checkout, tokenizer="text8"))


def test_float16_that_old_torch_lacks_is_named() -> None:
    with pytest.raises(AdapterError, match=r"not have all of float16 on the CPU.*sampler_dtype: float32"), half_known():
        raise RuntimeError("\"softmax_lastdim_kernel_impl\" not implemented for 'Half'")
    with pytest.raises(RuntimeError, match="something else"), half_known():
        raise RuntimeError("something else")
