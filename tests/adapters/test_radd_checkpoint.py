"""Loading RADD's two layouts, and every bad checkpoint."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.base import CheckpointError
from adapters.masked.schedules import Geometric, LogLinear
from adapters.radd.checkpoint import hub_config, load_network, read_config, save_hub_folder
from adapters.radd.network import RaddNetwork, RaddSize
from tests.adapters.radd_fixtures import layout
from tests.goldens.radd_checkpoints import AVERAGED, LENGTH, SIZE, config, network, weights, write_hub, write_run


def same(one: RaddNetwork, other: RaddNetwork) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def load(path: Path) -> RaddNetwork:
    return load_network(path, "cpu", torch.float32)[0]


def test_hub_folder(tmp_path: Path) -> None:
    loaded, schedule, stored = load_network(write_hub(tmp_path / "hub"), "cpu", torch.float32)
    assert same(loaded, network())
    assert not loaded.training
    assert schedule == LogLinear()
    assert stored == config()


def test_config_as_the_authors_save_it_is_read() -> None:
    """Their `save_pretrained` sorts the keys; the content is what the golden checkpoints hold."""
    stored = layout()["hub"]["config"]
    assert stored == config()
    assert read_config(stored, Path("x")) == (SIZE, LogLinear())


def test_golden_checkpoints_have_the_layout_that_the_authors_write(tmp_path: Path) -> None:
    hub, run = layout()["hub"], layout()["run"]
    assert {path.name for path in write_hub(tmp_path / "hub").iterdir()} >= set(hub["files"]) - {"README.md"}
    assert {n: list(t.shape) for n, t in load_file(tmp_path / "hub" / "model.safetensors").items()} == hub["shapes"]
    saved = torch.load(write_run(tmp_path / "run") / "checkpoints-meta" / "checkpoint.pth", weights_only=False)
    assert sorted(saved) == run["keys"]
    assert {key: type(value).__name__ for key, value in saved["ema"].items()} == run["ema"]
    assert [list(tensor.shape) for tensor in saved["ema"]["shadow_params"]] == run["averaged"]
    assert list(saved["model"]) == run["model"]
    assert type(saved["optimizer"]["param_groups"][0]["lr"]).__name__ == run["learning_rate"]


def test_hub_folder_with_an_old_bin_file(tmp_path: Path) -> None:
    folder = write_hub(tmp_path / "hub")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert same(load(folder), network())


def test_rotary_table_may_be_missing_and_half_precision_is_widened(tmp_path: Path) -> None:
    folder = write_hub(tmp_path / "hub")
    save_file({name: t.half() for name, t in weights().items()}, folder / "model.safetensors")
    state = load(folder).state_dict()
    assert torch.equal(state["rotary_emb.inv_freq"], network().rotary_emb.inv_freq)
    assert {t.dtype for t in state.values()} == {torch.float32}


def test_training_run_uses_the_averaged_weights(tmp_path: Path) -> None:
    loaded = load(write_run(tmp_path / "run"))
    for name, tensor in weights(AVERAGED).items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_snapshot_file_of_a_training_run(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    (root / "checkpoints").mkdir()
    snapshot = (root / "checkpoints-meta" / "checkpoint.pth").rename(root / "checkpoints" / "checkpoint_7.pth")
    assert torch.equal(load(snapshot).vocab_embed.embedding, weights(AVERAGED)["vocab_embed.embedding"])


def test_saved_folder_loads_again(tmp_path: Path) -> None:
    save_hub_folder(tmp_path / "new", network().state_dict(), hub_config(SIZE, LENGTH, {"steps": 5, "seed": 1}))
    loaded, schedule, stored = load_network(tmp_path / "new", "cpu", torch.float32)
    assert same(loaded, network())
    assert schedule == LogLinear()
    assert stored["tdbench"] == {"steps": 5, "seed": 1}
    assert stored["model"]["length"] == LENGTH


def test_geometric_noise() -> None:
    size, schedule = read_config(config("geometric"), Path("x"))
    assert size == SIZE
    assert schedule == Geometric(1e-4, 20.0)


class Exploit:
    """Unpickled freely this would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def remove_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def bin_of(value: Callable[[Path], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        torch.save(value(folder), folder / "pytorch_model.bin")

    return damage


def raw_bin(content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return damage


def with_config(edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        stored = config()
        replaced = edit(stored)
        (folder / "config.json").write_text(json.dumps(stored if replaced is None else replaced), encoding="utf-8")

    return damage


def with_weights(edit: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        edit(state)
        save_file(state, folder / "model.safetensors")

    return damage


def rename_key(state: dict[str, torch.Tensor]) -> None:
    state["transformer.wte.weight"] = state.pop("vocab_embed.embedding")


def whole_numbers(state: dict[str, torch.Tensor]) -> None:
    state["output_layer.linear.bias"] = state["output_layer.linear.bias"].long()


HUB_DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (remove_all, "found nothing"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    "truncated": (lambda f: truncate(f / "model.safetensors"), "truncated"),
    "no bytes": (lambda f: (f / "model.safetensors").write_bytes(b""), "truncated"),
    "no config": (lambda f: (f / "config.json").unlink(), "no RADD checkpoint"),
    "config is a list": (with_config(lambda c: [1, 2]), "holds a list"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{,"), "is not JSON"),
    "config is no text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    "config of another model": (with_config(lambda c: {"model_type": "gpt2", "n_embd": 64}), "no section 'model'"),
    "tokens missing": (with_config(lambda c: c.pop("tokens") and None), "'tokens' is None"),
    "tokens not a number": (with_config(lambda c: c.update(tokens="many")), "'tokens' is 'many'"),
    "heads do not divide": (with_config(lambda c: c["model"].update(n_heads=5)), "no even multiple"),
    "blocks zero": (with_config(lambda c: c["model"].update(n_blocks=0)), "'n_blocks' is 0"),
    "dropout no number": (with_config(lambda c: c["model"].update(dropout="x")), "'dropout' is 'x'"),
    "noise unknown": (with_config(lambda c: c["noise"].update(type="cosine")), "noise.type is 'cosine'"),
    "absurd size": (with_config(lambda c: c["model"].update(hidden_size=1 << 40)), "'hidden_size' is 1099511627776"),
    "large size": (with_config(lambda c: c["model"].update(hidden_size=1 << 20)), "asks for"),
    "many blocks": (with_config(lambda c: c["model"].update(n_blocks=10**6)), "weights of 2 RADD blocks"),
    "another model's weights": (with_weights(rename_key), "1 unknown (transformer.wte.weight)"),
    "nothing of RADD": (bin_of(lambda f: {"wte.weight": torch.zeros(3, 3)}), "weights of 0 RADD blocks"),
    "wrong shape": (with_config(lambda c: c.update(tokens=40)), "has shape [38] but its config asks for [41]"),
    "fewer blocks": (with_config(lambda c: c["model"].update(n_blocks=1)), "its config asks for 1"),
    "whole numbers": (with_weights(whole_numbers), "not floating-point"),
    "bin truncated": (raw_bin(b"PK\x03\x04 and no more"), "truncated"),
    "bin empty": (raw_bin(b""), "is empty"),
    "bin no pickle": (raw_bin(b"hello there"), "pytorch_model.bin is"),
    "bin runs code": (bin_of(lambda f: {"a": Exploit(f / "touched")}), "more than tensors"),
    "bin plain pickle runs code": (lambda f: raw_bin(pickle.dumps(Exploit(f / "touched")))(f), "more than tensors"),
    "bin with a number": (bin_of(lambda f: {**weights(), "step": 3}), "more than tensors ('step' is a int)"),
    "bin a list": (bin_of(lambda f: [torch.zeros(2)]), "holds a list"),
}


@pytest.mark.parametrize("name", HUB_DAMAGE)
def test_bad_hub_folder(tmp_path: Path, name: str) -> None:
    damage, says = HUB_DAMAGE[name]
    folder = write_hub(tmp_path / "hub")
    damage(folder)
    with pytest.raises(CheckpointError) as error:
        load(folder)
    text = str(error.value)
    assert says in text
    assert str(folder) in text
    assert "\n" not in text
    assert not (folder / "touched").exists()


def resave(root: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    file = root / "checkpoints-meta" / "checkpoint.pth"
    saved = torch.load(file, weights_only=False)  # written by this test a moment ago
    edit(saved)
    torch.save(saved, file)


RUN_DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no weights": (lambda r: (r / "checkpoints-meta" / "checkpoint.pth").unlink(), "training run without weights"),
    "truncated": (lambda r: truncate(r / "checkpoints-meta" / "checkpoint.pth"), "truncated"),
    "config no YAML": (lambda r: (r / ".hydra" / "config.yaml").write_text("a: [1"), "is not YAML"),
    "config a word": (lambda r: (r / ".hydra" / "config.yaml").write_text("word"), "holds a str"),
    "no ema": (lambda r: resave(r, lambda s: s.pop("ema")), "'model' and 'ema'"),
    "ema short": (lambda r: resave(r, lambda s: s["ema"]["shadow_params"].pop()), "24 averaged tensors for 25"),
    "ema missing": (lambda r: resave(r, lambda s: s["ema"].pop("shadow_params")), "no averaged tensors"),
    "ema misordered": (lambda r: resave(r, lambda s: s["ema"]["shadow_params"].reverse()), "has shape"),
    "runs code": (lambda r: resave(r, lambda s: s.update(x=Exploit(r / "touched"))), "more than tensors"),
}


@pytest.mark.parametrize("name", RUN_DAMAGE)
def test_bad_training_run(tmp_path: Path, name: str) -> None:
    damage, says = RUN_DAMAGE[name]
    root = write_run(tmp_path / "run")
    damage(root)
    with pytest.raises(CheckpointError) as error:
        load(root)
    text = str(error.value)
    assert says in text
    assert str(root) in text
    assert "\n" not in text
    assert not (root / "touched").exists()


def test_missing_folder_and_foreign_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "nowhere")
    file = tmp_path / "some.pth"
    file.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="lies in no RADD training run"):
        load(file)


def test_sizes_differ_by_name_only_where_they_should() -> None:
    assert hub_config(RaddSize(5, 8, 1, 2, 0.5), 9, {})["model"]["dropout"] == 0.5
