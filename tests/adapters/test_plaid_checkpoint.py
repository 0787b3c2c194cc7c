"""Plaid's four files: written as published, read unchanged, refused in one line when they are not such files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import AdapterError, CheckpointError, LoadSpec
from adapters.plaid.adapter import load
from adapters.plaid.checkpoint import load_network
from adapters.plaid.layout import CONFIG, MODULES, PUBLISHED_LENGTHS, PlaidSize, row_length
from adapters.tokenizers import FILE_NAME, word_tokenizer
from tests.adapters.plaid_cases import Checkpoint

CASE = Checkpoint(PlaidSize(dim=32, embed_dim=16, n_blocks=2, n_heads=4, vocab_size=37), length=16, seed=21)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return CASE.write(tmp_path / "good")


def read(folder: Path, **options: Any) -> Any:
    return load_network(folder, options, "cpu", torch.float32)


def change(folder: Path, module: str, edit: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / f"{module}.pt"
    content = torch.load(file, weights_only=True)
    changed = edit(content)
    torch.save(content if changed is None else changed, file)


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(folder, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


def test_each_file_is_a_bare_dictionary_of_float32_tensors_under_the_authors_names(folder: Path) -> None:
    stored = {module: torch.load(folder / f"{module}.pt", weights_only=True) for module in MODULES}
    assert {k: tuple(t.shape) for k, t in stored["noise_schedule"].items()} == {
        "W1": (1024, 1),
        "b1": (1024,),
        "W2": (1, 1024),
    }
    assert {k: tuple(t.shape) for k, t in stored["gamma_bounds"].items()} == {"gamma_0": (), "gamma_1": ()}
    assert {k: tuple(t.shape) for k, t in stored["embedding_matrix"].items()} == {"matrix": (37, 16)}
    model = stored["model"]
    assert model["blocks.1.attn_qkv.weight"].shape == (96, 32)
    assert model["blocks.0.mlp.fc2.weight"].shape == (32, 128)
    assert model["rotary_emb.inv_freq"].shape == (4,)
    assert len(model) == 7 + 6 * CASE.size.n_blocks
    assert all(tensor.dtype == torch.float32 for state in stored.values() for tensor in state.values())


def test_sizes_follow_from_the_shapes_and_the_length_from_our_config(folder: Path) -> None:
    network, length = read(folder)
    assert (network.size, length) == (CASE.size, CASE.length)
    assert not network.training
    expected = CASE.state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_the_cards_options_go_before_the_config(folder: Path) -> None:
    assert read(folder, seq_len=8, n_heads=4, length=8)[1] == 8


def test_a_loaded_network_no_longer_needs_the_files(folder: Path) -> None:
    network, _ = read(folder)
    shutil.rmtree(folder)
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_bfloat16_holds_the_blocks_in_bfloat16_and_the_rest_in_float32(folder: Path) -> None:
    network, _ = load_network(folder, {}, "cpu", torch.bfloat16)
    dtypes = {name.startswith("model.blocks."): tensor.dtype for name, tensor in network.state_dict().items()}
    assert dtypes == {True: torch.bfloat16, False: torch.float32}


def test_the_published_checkpoint_is_known_by_its_shape() -> None:
    size = PlaidSize(dim=2048, embed_dim=16, n_blocks=24, n_heads=32, vocab_size=32768)
    assert row_length(Path("plaid1b_weights"), size, {}) == 1024
    assert list(PUBLISHED_LENGTHS.values()) == [1024]


def test_without_a_length_anywhere_the_config_is_asked_for(folder: Path) -> None:
    (folder / CONFIG).unlink()
    assert 'config.json beside them, for instance {"seq_len": 256}' in refused(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "no JSON object"),
        ('{"seq_len": 0}', "seq_len is 0"),
        ('{"seq_len": true}', "seq_len is True"),
        ('{"seq_len": 16, "n_heads": "4"}', "n_heads is '4'"),
        (
            '{"seq_len": 16, "n_heads": 8}',
            "n_heads is said to be 8, but the rotary frequencies",
        ),
    ],
)
def test_a_bad_config_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / CONFIG).write_text(text)
    assert words in refused(folder)


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_file_is_named(folder: Path, module: str) -> None:
    (folder / f"{module}.pt").unlink()
    assert f"has no {module}.pt" in refused(folder)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "is no folder" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("module", MODULES)
def test_a_truncated_or_empty_file_is_refused(folder: Path, module: str) -> None:
    file = folder / f"{module}.pt"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert f"{module}.pt" in refused(folder)
    file.write_bytes(b"")
    assert "is empty" in refused(folder)


@pytest.mark.parametrize(
    ("module", "edit", "words"),
    [
        ("model", lambda s: s.pop("blocks.1.rmsnorm2.weight"), "1 of 19 tensors missing (blocks.1.rmsnorm2.weight)"),
        ("model", lambda s: s.update(extra=torch.zeros(1)), "1 unknown (extra)"),
        ("model", lambda s: {f"module.{k}": t for k, t in s.items()}, "is no Plaid checkpoint"),
        ("model", lambda s: s.update({"output_linear.bias": torch.zeros(36)}), "'output_linear.bias' has shape [36]"),
        ("model", lambda s: s.update({"rotary_emb.inv_freq": torch.ones(3)}), "rotary frequencies [3] at width 32"),
        ("model", lambda s: list(s.values()), "holds a list"),
        ("embedding_matrix", lambda s: s.update(matrix=torch.zeros(36, 16)), "the other files make it [36, 32]"),
        ("embedding_matrix", lambda s: s.update(matrix=torch.zeros(37, 16).long()), "'matrix' is torch.int64"),
        ("noise_schedule", lambda s: s.update(W1=torch.zeros(512, 1)), "'W1' has shape [512, 1]"),
        ("gamma_bounds", lambda s: s.update(gamma_0=torch.tensor(float("nan"))), "'gamma_0' holds values that are not"),
        ("gamma_bounds", lambda s: s.update(gamma_0=-3.0), "'gamma_0' is a float"),
    ],
)
def test_other_contents_are_refused(folder: Path, module: str, edit: Callable[[Any], Any], words: str) -> None:
    def keep(state: dict[str, Any]) -> Any:
        changed = edit(state)
        return changed if isinstance(changed, list | dict) else None

    change(folder, module, keep)
    assert words in refused(folder)


def test_noise_that_falls_with_time_is_refused(folder: Path) -> None:
    change(folder, "gamma_bounds", lambda state: state.update(gamma_0=state["gamma_1"], gamma_1=state["gamma_0"]))
    assert "is not below gamma_1" in refused(folder)


def test_code_in_a_file_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"gamma_0": Touch(), "gamma_1": torch.tensor(6.0)}, folder / "gamma_bounds.pt")
    assert "could run code" in refused(folder)
    assert not (tmp_path / "ran").exists()


def test_the_authors_tokenizer_may_keep_its_name(folder: Path) -> None:
    (folder / FILE_NAME).rename(folder / "owt2_tokenizer.json")
    assert load(LoadSpec(folder)).system.tokenizer.vocab_size == 37
    (folder / "owt2_tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="copy misc/owt2_tokenizer"):
        load(LoadSpec(folder))


def test_another_tokenizer_is_refused(folder: Path) -> None:
    word_tokenizer(["a", "b"]).save(str(folder / FILE_NAME))
    with pytest.raises(AdapterError, match="has 3 ids but the network was trained on 37"):
        load(LoadSpec(folder))


def test_what_load_needs(folder: Path) -> None:
    with pytest.raises(AdapterError, match="needs a checkpoint"):
        load(LoadSpec(None))
    with pytest.raises(AdapterError, match="float32 or bfloat16, not in 'float16'"):
        load(LoadSpec(folder, dtype="float16"))


def test_our_config_says_how_it_was_made(folder: Path) -> None:
    assert json.loads((folder / CONFIG).read_text()) == {"n_heads": 4, "seq_len": 16}
