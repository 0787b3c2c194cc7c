"""DiffuSeq's published folder: what is read of it, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import CheckpointError, LoadSpec, TrainSpec
from adapters.diffuseq import adapter
from adapters.diffuseq.checkpoint import load_network
from adapters.diffuseq.layout import ARGS, KNOWN_CONFIGS, read_encoder
from tests.adapters.diffuseq_checkpoints import SECOND, SHAPES, WEIGHTS_NAME, weights, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "small", SHAPES["small"])


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content.update(values)
    file.write_text(json.dumps(content), encoding="utf-8")


def test_the_raw_embedding_wins_and_is_reported(folder: Path) -> None:
    state = weights(SHAPES["small"])
    loaded = load_network(folder)
    assert torch.equal(loaded.network.embedding, state["lm_head.weight"])
    gap = float((state["lm_head.weight"] - state["word_embedding.weight"]).abs().max())
    (note,) = loaded.notes
    assert f"{gap:.2g}" in note
    assert "lm_head.weight" in note


def test_equal_embeddings_need_no_note(folder: Path) -> None:
    state = weights(SHAPES["small"])
    state["word_embedding.weight"] = state["lm_head.weight"]
    torch.save(state, folder / WEIGHTS_NAME)
    assert load_network(folder).notes == ()


def test_weights_of_the_most_steps_or_those_named(folder: Path) -> None:
    state = weights(SHAPES["small"])
    state["lm_head.bias"] = state["lm_head.bias"] + 1
    later = "ema_0.9999_050000.pt"
    torch.save(state, folder / later)
    newest, first = load_network(folder), load_network(folder, weights=WEIGHTS_NAME)
    assert torch.allclose(newest.network.lm_head.bias, first.network.lm_head.bias + 1)
    by_file = load_network(folder / later)
    assert torch.equal(by_file.network.lm_head.bias, newest.network.lm_head.bias)
    with pytest.raises(CheckpointError, match=r"no weights 'ema_0\.9999_9\.pt'; it holds .*050000"):
        load_network(folder, weights="ema_0.9999_9.pt")


def test_parameters_as_published(folder: Path) -> None:
    model = adapter.load(LoadSpec(folder))
    assert model.parameter_count == sum(
        tensor.numel()
        for name, tensor in weights(SHAPES["small"]).items()
        if name not in ("lm_head.weight", "position_ids")
    )
    assert model.max_length == SHAPES["small"].length


def test_bert_base_is_known_without_a_hub(tmp_path: Path) -> None:
    config = read_encoder(tmp_path, "bert-base-uncased")
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (768, 12, 3072)
    assert config.layer_norm_eps == KNOWN_CONFIGS["bert-base-uncased"]["layer_norm_eps"] == 1e-12


def test_the_encoders_config_may_be_a_folder_beside(folder: Path) -> None:
    (folder / "bert-config").mkdir()
    (folder / "config.json").rename(folder / "bert-config" / "config.json")
    assert load_network(folder).network.size.encoder.num_hidden_layers == SHAPES["small"].layers


def test_an_unknown_architecture(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"'bert-config' .* is not at hand"):
        load_network(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"predict_xstart": False}, "predict_xstart"),
        ({"learn_sigma": True}, "learn_sigma"),
        ({"hidden_dim": "16"}, "hidden_dim"),
        ({"hidden_dim": 17}, "shape"),
        ({"seq_len": 0}, "seq_len"),
        ({"seq_len": 33}, "positions"),
        ({"diffusion_steps": 1}, "2 or more"),
        ({"diffusion_steps": 1 << 30}, "diffusion_steps"),
        ({"dropout": 2}, "dropout"),
        ({"noise_schedule": "exp"}, "exp"),
        ({"rescale_timesteps": "yes"}, "rescale_timesteps"),
        ({"learned_mean_embed": True}, "mean_embed"),
    ],
)
def test_arguments_that_make_no_sense(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder / ARGS, **values)
    with pytest.raises(CheckpointError, match=message):
        adapter.load(LoadSpec(folder))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": 3}, "2 BERT layers but its config asks for 3"),
        ({"num_attention_heads": 5}, "no multiple of 5 heads"),
        ({"intermediate_size": 65}, "shape"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"hidden_size": None}, "hidden_size"),
    ],
)
def test_a_config_that_is_not_the_weights(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(CheckpointError, match=message):
        load_network(folder)


def test_weights_of_another_model(folder: Path) -> None:
    state = weights(SHAPES["small"])
    del state["LayerNorm.bias"]
    state["pooler.weight"] = torch.zeros(3)
    torch.save(state, folder / WEIGHTS_NAME)
    with pytest.raises(CheckpointError, match=r"1 of \d+ DiffuSeq tensors missing \(LayerNorm.bias\), 1 unknown"):
        load_network(folder)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code of the file was run",)


def test_a_file_that_is_no_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / WEIGHTS_NAME
    torch.save({"lm_head.weight": Evil()}, file)
    with pytest.raises(CheckpointError, match="more than tensors"):
        load_network(folder)
    assert "was run" not in capsys.readouterr().out
    torch.save({**weights(SHAPES["small"]), "step": 5}, file)
    with pytest.raises(CheckpointError, match="'step' is a int"):
        load_network(folder)
    torch.save([1], file)
    with pytest.raises(CheckpointError, match="not named tensors"):
        load_network(folder)
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="empty"):
        load_network(folder)
    state = weights(SHAPES["small"])
    state["lm_head.bias"] = state["lm_head.bias"].long()
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="int64"):
        load_network(folder)


def test_a_folder_that_is_none(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_network(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="give one of its folders; found small"):
        load_network(tmp_path)
    (folder / ARGS).write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not JSON"):
        load_network(folder)
    (folder / ARGS).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_network(folder)


@pytest.mark.parametrize("name", [*SHAPES, *SECOND])
def test_every_layout_loads(tmp_path: Path, name: str) -> None:
    shape = {**SHAPES, **SECOND}[name]
    loaded = load_network(write(tmp_path / name, shape))
    assert (loaded.network.mean_embed is not None) == shape.second
    assert loaded.args.diffusion_steps == shape.steps


def test_an_exported_folder_is_read_back_with_raw_and_average(tmp_path: Path) -> None:
    made = adapter.trainable(TrainSpec(9, 16, {"hidden": 16, "blocks": 1, "heads": 2, "embed": 8, "T": 30}))
    average = {name: tensor + 1 for name, tensor in made.module.state_dict().items() if tensor.is_floating_point()}
    adapter.training_tokenizer(["a", "b", "c", ".", "?"]).save(str(tmp_path / "tokenizer.json"))
    made.export(tmp_path, average, {"steps": 1234, "ema": 0.999, "seed": 3})
    file = tmp_path / "ema_0.999_001234.pt"
    state = torch.load(file, weights_only=True)
    assert torch.equal(state["lm_head.weight"], made.module.state_dict()["lm_head.weight"])
    assert torch.equal(state["word_embedding.weight"], average["word_embedding.weight"])
    assert set(state) == set(load_network(tmp_path).network.state_dict())
    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))["a"] == 4
    args = json.loads((tmp_path / ARGS).read_text(encoding="utf-8"))
    assert args["tdbench"]["seed"] == 3
    assert args["vocab_size"] == 9
    assert adapter.load(LoadSpec(tmp_path)).notes
