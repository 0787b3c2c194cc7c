"""nanoDD's ckpt.pt: written as the authors write it, read as they read it, refused when it is not one."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import (
    AdapterError,
    CheckpointError,
    GenerateRequest,
    LikelihoodRequest,
    LoadSpec,
    Prompt,
    TrainBatch,
    TrainSpec,
)
from adapters.cards import get_card
from adapters.nanodd.adapter import ESTIMATORS, SCHEDULERS, load, trainable
from adapters.nanodd.checkpoint import load_network, save_checkpoint
from adapters.nanodd.network import ModelArgs
from tests.goldens.nanodd_cases import BY_NAME

CASE = BY_NAME["text8"]
LAYOUT = json.loads((Path(__file__).parents[1] / "goldens" / "nanodd.json").read_text())["checkpoint"]
Content = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good checkpoint: the frozen weights as EMA, other raw weights."""
    ema = CASE.network().state_dict()
    raw = {name: tensor + 1 for name, tensor in ema.items()}
    save_checkpoint(tmp_path / "good", raw, ema, CASE.args, {"seq_len": 16, "max_iters": 7}, iterations=7)
    return tmp_path / "good"


def described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, dict):
        return {key: described(inner) for key, inner in value.items()}
    return type(value).__name__


def test_the_file_has_the_layout_of_the_authors_script(folder: Path) -> None:
    content = torch.load(folder / "ckpt.pt", weights_only=True)
    assert sorted(content) == [key for key in LAYOUT["top"] if key != "optimizer"]
    for key in ("model", "ema", "model_args", "model_cls", "iter_num"):
        assert described(content[key]) == LAYOUT["layout"][key]


@pytest.mark.parametrize("name", ["", "ckpt.pt"])
def test_loads_the_ema_weights_from_folder_or_file(folder: Path, name: str) -> None:
    network, schedule, facts = load_network(folder / name)
    assert not network.training
    assert schedule.transitions == CASE.args.T
    assert (facts.args, facts.length, facts.iterations) == (CASE.args, 16, 7)
    expected = CASE.network().state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in network.state_dict().items())


def test_a_loaded_network_no_longer_needs_the_file(folder: Path) -> None:
    network, _, _ = load_network(folder)
    (folder / "ckpt.pt").write_bytes(b"")
    expected = CASE.network().state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in network.state_dict().items())


def rewrite(folder: Path, change: Callable[[Content], Any]) -> None:
    content = torch.load(folder / "ckpt.pt", weights_only=True)
    changed = change(content)
    torch.save(content if changed is None else changed, folder / "ckpt.pt")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "_orig_mod.module."])
def test_prefixes_of_wrapped_modules_are_tolerated(folder: Path, prefix: str) -> None:
    def wrap(content: Content) -> None:
        ema = content["ema"]
        content["ema"] = {key.replace("ema_model.", "ema_model." + prefix): value for key, value in ema.items()}

    rewrite(folder, wrap)
    load_network(folder)


def test_an_optimizer_entry_is_no_hindrance_and_half_precision_is_read(folder: Path) -> None:
    def change(content: Content) -> None:
        content["optimizer"] = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        content["ema"]["ema_model.net.norm_final.weight"] = content["ema"]["ema_model.net.norm_final.weight"].half()

    rewrite(folder, change)
    network, _, _ = load_network(folder)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_without_a_length_the_authors_default_holds(folder: Path) -> None:
    rewrite(folder, lambda content: content["training_args"].pop("seq_len") and None)
    assert load_network(folder)[2].length == 256


class Evil:
    """Unpickling it would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil-was-here",)


def _drop(*keys: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for key in keys:
            del content[key]

    return change


def _set(part: str, key: str, value: Any) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        content[part][key] = value(content[part][key]) if callable(value) else value

    return change


NETWORK = "ema_model.net."
BAD_CONTENT: dict[str, tuple[Callable[[Content], Any], str]] = {
    "no dictionary": (lambda content: [1, 2], "holds a list"),
    "another model": (lambda content: {"state_dict": {}, "epoch": 3}, r"not a nanoDD checkpoint.*found: state_dict"),
    "another class": (lambda content: content.update(model_cls="SEDD"), "holds a 'SEDD'"),
    "no ema": (_drop("ema"), "no EMA weights"),
    "empty ema": (lambda content: content.update(ema={"step": torch.tensor(1)}), "nothing in 'ema' is named"),
    "ema of another kind": (lambda content: content.update(ema=[1]), "'ema' is no dictionary"),
    "no sizes": (_drop("model_args"), "has no model_args"),
    "sizes of another kind": (lambda content: content.update(model_args=[1]), "model_args is no dictionary"),
    "a size too few": (lambda content: content["model_args"].pop("n_cond") and None, "has no n_cond"),
    "a size too many": (lambda content: content["model_args"].update(depth=3), "unknown entry depth"),
    "a size that is text": (_set("model_args", "n_heads", "4"), "n_heads is '4'"),
    "a size of zero": (_set("model_args", "n_blocks", 0), "n_blocks is 0"),
    "an impossible dropout": (_set("model_args", "dropout", float("nan")), "dropout is nan"),
    "heads that do not divide": (_set("model_args", "n_heads", 5), "not a multiple"),
    "too few blocks named": (_set("model_args", "n_blocks", 3), r"no net\.blocks\.2"),
    "too many blocks": (_set("model_args", "n_blocks", 1), r"unknown weights net\.blocks\.1"),
    "another vocabulary": (_set("model_args", "vocab_size", 50257), r"shape \(28, 48\).*\(50258, 48\)"),
    "another T": (_set("model_args", "T", 1000), r"betas is of shape \(13,\)"),
    "a missing weight": (lambda c: c["ema"].pop(NETWORK + "norm_final.weight") is None or None, "norm_final"),
    "a missing buffer": (lambda c: c["ema"].pop("ema_model.betas") is None or None, "betas is missing"),
    "a wrong shape": (_set("ema", NETWORK + "norm_final.weight", lambda t: t[:-1]), r"shape \(47,\)"),
    "whole numbers": (_set("ema", NETWORK + "norm_final.weight", lambda t: t.long()), "no tensor of floating"),
    "not a tensor": (_set("ema", NETWORK + "norm_final.weight", 3), "no tensor of floating"),
    "not finite": (_set("ema", NETWORK + "norm_final.weight", lambda t: t * float("nan")), "not finite"),
    "another schedule": (_set("ema", "ema_model.alpha_bars", lambda t: t**2), "alpha_bars has other values"),
    "other frequencies": (_set("ema", NETWORK + "rotary_emb.inv_freq", lambda t: t * 2), "inv_freq has other values"),
    "a senseless length": (_set("training_args", "seq_len", "long"), "seq_len 'long'"),
}


@pytest.mark.parametrize(("change", "text"), BAD_CONTENT.values(), ids=BAD_CONTENT)
def test_a_file_of_wrong_content_is_refused(folder: Path, change: Callable[[Content], Any], text: str) -> None:
    rewrite(folder, change)
    with pytest.raises(CheckpointError, match=text) as caught:
        load_network(folder)
    assert str(folder / "ckpt.pt") in str(caught.value)
    assert "\n" not in str(caught.value)


def _truncated(good: bytes) -> bytes:
    return good[: len(good) // 2]


def _evil_archive(good: bytes) -> bytes:
    stream = io.BytesIO()
    torch.save({"model": Evil()}, stream)
    return stream.getvalue()


BAD_BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda good: b"", "is empty"),
    "truncated": (_truncated, "truncated or damaged"),
    "tail lost": (lambda good: good[:-30], "truncated or damaged"),
    "a web page": (lambda good: b"<html>not found</html>", "damaged or holds more than tensors"),
    "a bare pickle": (lambda good: pickle.dumps(Evil()), "damaged or holds more than tensors"),
    "more than tensors": (_evil_archive, "more than tensors"),
    "an empty archive": (lambda good: b"PK\5\6" + bytes(18), "damaged or holds more than tensors"),
}


@pytest.mark.parametrize(("spoil", "text"), BAD_BYTES.values(), ids=BAD_BYTES)
def test_a_file_of_wrong_bytes_is_refused(
    folder: Path, spoil: Callable[[bytes], bytes], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    file = folder / "ckpt.pt"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(CheckpointError, match=text) as caught:
        load_network(folder)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "evil-was-here").exists()


@pytest.mark.parametrize("name", ["no-such-folder", ""])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_network(tmp_path / name)


def test_load_needs_a_checkpoint() -> None:
    with pytest.raises(CheckpointError, match="needs a checkpoint"):
        load(LoadSpec(checkpoint=None))


def test_a_tokenizer_of_another_size_is_refused(tmp_path: Path) -> None:
    case = BY_NAME["small"]
    state = case.network().state_dict()
    save_checkpoint(tmp_path, state, state, case.args, {}, iterations=1)
    with pytest.raises(AdapterError, match=r"27 ids.*11"):
        load(LoadSpec(checkpoint=tmp_path, tokenizer="text8"))


@pytest.mark.parametrize("scheduler", ["nanodd_d3pm", "ancestral"])
def test_a_loaded_model_generates_and_infills(folder: Path, scheduler: str) -> None:
    model = load(LoadSpec(checkpoint=folder, tokenizer="text8"))
    prompt = Prompt("the ", " end")
    request = GenerateRequest(
        count=2, length=16, steps=CASE.args.T, scheduler=scheduler, task="infill", prompts=(prompt, prompt), trace=True
    )
    result = model.generate(request)
    assert all(text.startswith("the ") and text.endswith(" end") for text in result.texts)
    assert result.generated_tokens == [8, 8]
    assert len(result.trace.done) == CASE.args.T + 1
    assert all(1 <= nfe <= CASE.args.T for nfe in result.nfe)
    assert result == model.generate(request)


def test_a_loaded_model_scores_text(folder: Path) -> None:
    model = load(LoadSpec(checkpoint=folder, tokenizer="text8"))
    result = model.likelihood(LikelihoodRequest(("some text", "a"), "d3pm", {"draws": 8}))
    assert result.kind == "upper_bound"
    assert [text.tokens for text in result.texts] == [9, 1]
    assert result.texts[0].nats > result.texts[1].nats > 0
    assert result.nfe == [10, 10]


def test_the_card_lists_what_the_adapter_has() -> None:
    card = get_card("nanodd")
    assert [name for name, scheduler in card.schedulers.items() if not scheduler.family] == list(SCHEDULERS)
    assert list(card.estimators) == list(ESTIMATORS)
    assert card.likelihood == "upper_bound"
    assert {checkpoint.kind for checkpoint in card.checkpoints.values()} == {"tiny", "published"}


def test_training_lowers_the_loss_and_exports_both_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = {"hidden": 16, "blocks": 1, "heads": 2, "n_cond": 4, "T": 20}
    fresh = trainable(TrainSpec(vocab_size=5, length=8, size=size))
    generator = torch.Generator().manual_seed(0)
    tokens = (torch.arange(8) % 5).expand(64, 8)
    optimizer = torch.optim.Adam(fresh.module.parameters(), lr=1e-2)
    ema = {name: tensor.clone() for name, tensor in fresh.module.state_dict().items()}
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = fresh.loss(TrainBatch(tokens), generator)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    fresh.export(tmp_path, ema, {"steps": 60, "seed": 3, "batch_size": 64, "unknown": 1})
    network, schedule, facts = load_network(tmp_path)
    assert all(torch.equal(tensor, ema[name]) for name, tensor in network.state_dict().items())
    assert (schedule.transitions, facts.length, facts.iterations) == (20, 8, 60)
    # The authors' resume stops at names that their train.py does not have.
    assert facts.training_args == {"max_iters": 60, "training_seed": 3, "batch_size": 64, "seq_len": 8}
    raw = torch.load(tmp_path / "ckpt.pt", weights_only=True)["model"]["net.vocab_embed.weight"]
    assert torch.allclose(raw.float(), fresh.module.state_dict()["vocab_embed.weight"], atol=1e-3)
    assert not torch.allclose(raw.float(), ema["vocab_embed.weight"], atol=1e-3)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ({"hidden": 15, "blocks": 1, "heads": 2, "n_cond": 4}, "not a multiple"),
        ({"hidden": 16, "blocks": 1, "heads": 2}, "has no n_cond"),
        ({"hidden": 16, "blocks": 1, "heads": 2, "n_cond": 4, "layers": 2}, "unknown entry layers"),
    ],
)
def test_training_refuses_senseless_sizes(size: dict[str, int], text: str) -> None:
    with pytest.raises(AdapterError, match=text):
        trainable(TrainSpec(vocab_size=5, length=8, size=size))


def test_model_args_refuse_true_as_a_number() -> None:
    values = {**CASE.args.as_dict(), "T": True}
    with pytest.raises(ValueError, match="T is True"):
        ModelArgs.from_mapping(values)
