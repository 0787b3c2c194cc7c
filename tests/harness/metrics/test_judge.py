"""The judge against an independent reading of the same weights, token by token."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel

from harness.errors import UserError
from harness.metrics.judge import Judge, load_judge
from tests.harness.metrics.random_judge import WORDS, write_judge

IDS = {word: i for i, word in enumerate(WORDS, start=1)}
SHORT = "the cat sat"
LONG = "the cat sat on the mat . the dog sat on the cat . the mat sat on the dog ."  # 21 words, window 8


def nats_of(model: GPT2LMHeadModel, context: list[int], token: int) -> float:
    """-ln p(token | context), one forward for one token."""
    with torch.no_grad():
        logits = model(torch.tensor([context])).logits[0, -1].double()
    return -float(torch.log_softmax(logits, dim=-1)[token])


@pytest.fixture(scope="module")
def model(judge_folder: Path) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(judge_folder).eval()


def test_short_text_is_scored_after_bos(word_judge: Judge, model: GPT2LMHeadModel) -> None:
    ids = [IDS[word] for word in SHORT.split()]
    expected = sum(nats_of(model, [0, *ids[:i]], token) for i, token in enumerate(ids))
    found = word_judge.nll([SHORT])[0]
    assert found is not None
    assert found.tokens == 3
    assert found.nats == pytest.approx(expected, rel=1e-5)
    assert found.nats / 3 != pytest.approx(math.log(8), abs=0.05)  # the judge is not indifferent


def test_long_text_slides_by_half_a_window(word_judge: Judge, model: GPT2LMHeadModel) -> None:
    sequence = [0] + [IDS[word] for word in LONG.split()]
    window, stride = 8, 4
    expected = 0.0
    for position in range(1, len(sequence)):
        # The first window that holds it starts at the smallest multiple of the stride with start + 8 > position.
        start = max(0, -(-(position - window + 1) // stride) * stride)
        expected += nats_of(model, sequence[start:position], sequence[position])
    found = word_judge.nll([LONG])[0]
    assert found is not None
    assert (found.tokens, word_judge.window, word_judge.stride) == (21, window, stride)
    assert found.nats == pytest.approx(expected, rel=1e-5)


def test_batch_and_order_do_not_matter(word_judge: Judge) -> None:
    texts = [LONG, SHORT, "dog", LONG.replace("cat", "mat"), "the"]
    together = word_judge.nll(texts)
    alone = [word_judge.nll([text])[0] for text in texts]
    for a, b in zip(together, alone, strict=True):
        assert a is not None
        assert b is not None
        assert (a.tokens, a.nats) == (b.tokens, pytest.approx(b.nats, rel=1e-5))


def test_small_batches_give_the_same(word_judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [LONG, SHORT, "dog . the", "on"]
    expected = word_judge._compute_nll(texts)
    monkeypatch.setattr("harness.metrics.judge._BATCH_TOKENS", 1)
    for a, b in zip(word_judge._compute_nll(texts), expected, strict=True):
        assert a is not None
        assert b is not None
        assert a.nats == pytest.approx(b.nats, rel=1e-5)


def test_empty_text_has_no_tokens(word_judge: Judge) -> None:
    assert word_judge.nll(["", SHORT])[0] == (0.0, 0)


def test_unknown_word_is_unscorable_and_others_go_on(word_judge: Judge) -> None:
    texts = [SHORT, "the █ sat", "the unicorn"]
    found = word_judge.nll(texts)
    assert [f is None for f in found] == [False, True, True]
    count, first = word_judge.unscorable(texts)
    assert count == 2
    assert "█" in first
    assert word_judge.features(texts) is None


def test_byte_level_judge_scores_anything(byte_judge: Judge) -> None:
    found = byte_judge.nll(["█"])[0]
    assert found is not None
    assert found.tokens == 3  # its three UTF-8 bytes


def test_features_are_the_last_hidden_state(word_judge: Judge, model: GPT2LMHeadModel) -> None:
    texts = [SHORT, LONG, "dog"]
    found = word_judge.features(texts)
    assert found is not None
    for text, row in zip(texts, found, strict=True):
        ids = ([0] + [IDS[word] for word in text.split()])[:8]
        with torch.no_grad():
            expected = model.transformer(torch.tensor([ids])).last_hidden_state[0, -1].numpy()
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_settings_name_everything(word_judge: Judge, judge_folder: Path) -> None:
    settings = word_judge.settings()
    assert settings["judge"] == str(judge_folder)
    assert (settings["window"], settings["stride"], settings["dtype"]) == (8, 4, "float32")
    assert "prepended" in settings["bos"]
    assert "not appended" in settings["eos"]


def test_digest_follows_the_weights(tmp_path: Path) -> None:
    a = load_judge(str(write_judge(tmp_path / "a", seed=0)), "cpu")
    b = load_judge(str(write_judge(tmp_path / "b", seed=0)), "cpu")
    c = load_judge(str(write_judge(tmp_path / "c", seed=1)), "cpu")
    assert a.digest == b.digest != c.digest


def break_missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def break_truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def break_lacking_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(weights, path, metadata={"format": "pt"})


def break_bos(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "bos_token_id": 50256}))


def break_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_embd": 32}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (break_missing, "lacks model.safetensors"),
        (break_truncated, "cannot be loaded"),
        (break_lacking_tensor, "no weights for transformer.h.1.mlp.c_fc.weight"),
        (break_bos, "bos_token_id 50256"),
        (break_tokenizer, "not a tokenizer"),
        (break_config, "cannot be loaded"),
        (break_shape, "cannot be loaded"),
    ],
)
def test_broken_judge_is_one_clear_line(
    judge_folder: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(judge_folder, folder)
    spoil(folder)
    with pytest.raises(UserError, match=said) as error:
        load_judge(str(folder), "cpu")
    assert "\n" not in str(error.value)


def test_judge_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no folder here and could not be had"):
        load_judge("nobody/no-such-judge", "cpu")
