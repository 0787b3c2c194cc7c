"""BERTScore with a tiny random BERT made here; the figure is the package's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.metrics import ScoreInput, get_metric
from harness.metrics import bertscore as module

pytest.importorskip("bert_score")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "dog", "ran"]
TEXTS = ["the cat sat", "the dog ran", "the dog sat"]
TRUTH = [["the cat sat"], ["a cat sat", "the dog ran"], ["cat"]]


def make_model(place: Path, **settings: int) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    (place / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)).save_pretrained(place)
    BertTokenizerFast(vocab_file=str(place / "vocab.txt"), **settings).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tokenizer knows no longest text, as DeBERTa's."""
    return make_model(tmp_path_factory.mktemp("bert"))


def test_identical_texts_have_1_and_the_best_true_text_counts(folder: Path) -> None:
    metric = get_metric(f"bertscore:{folder}")
    score = metric.score(ScoreInput(TEXTS, paired_references=TRUTH, task="seq2seq"))
    assert score.value is not None
    own = [metric.score(ScoreInput([t], paired_references=[true])).value for t, true in zip(TEXTS, TRUTH, strict=True)]
    assert own[:2] == pytest.approx([1.0, 1.0], abs=1e-5)
    assert own[2] is not None
    assert own[2] < 0.999
    assert score.value == pytest.approx(sum(v for v in own if v is not None) / 3, abs=1e-5)
    assert score.detail["layers"] == 2
    assert score.low is not None


def test_is_the_packages_figure(tmp_path: Path) -> None:
    import bert_score

    folder = make_model(tmp_path, model_max_length=32)
    texts, truth = TEXTS[1:], ["the cat", "cat ran"]
    _, _, f1 = bert_score.score(texts, truth, model_type=str(folder), num_layers=2, use_fast_tokenizer=True)
    score = get_metric(f"bertscore:{folder}").score(ScoreInput(texts, paired_references=[[t] for t in truth]))
    assert score.value == pytest.approx(float(f1.mean()), abs=1e-6)


def test_an_empty_text_has_0(folder: Path) -> None:
    metric = get_metric(f"bertscore:{folder}")
    one = metric.score(ScoreInput(["the dog"], paired_references=[["the cat"]]))
    both = metric.score(ScoreInput(["the dog", ""], paired_references=[["the cat"], ["cat"]]))
    assert both.value == pytest.approx((one.value or 0) / 2)
    assert both.detail["empty_texts"] == 1


def test_settings_know_the_weights(folder: Path) -> None:
    settings = get_metric(f"bertscore:{folder}").settings(ScoreInput([]))
    assert settings["model"] == str(folder)
    assert len(settings["model_digest"]) == 16


def test_a_model_that_is_not_here_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    module._find.cache_clear()
    data = ScoreInput(TEXTS, paired_references=TRUTH)
    score = get_metric("bertscore").score(data)
    assert score.value is None
    assert "deberta-xlarge-mnli' is not on this machine: name a folder" in str(score.reason)
    assert get_metric("bertscore").settings(data)["model_digest"] is None
    bad = get_metric(f"bertscore:{tmp_path}/no such folder").score(data)
    assert "neither a folder here nor a name of the Hub" in str(bad.reason)
    module._find.cache_clear()


def test_a_folder_without_a_model_is_a_reason(tmp_path: Path) -> None:
    score = get_metric(f"bertscore:{tmp_path}").score(ScoreInput(TEXTS, paired_references=TRUTH))
    assert "cannot be loaded" in str(score.reason)


def test_a_name_is_needed() -> None:
    with pytest.raises(UserError, match="names no model"):
        get_metric("bertscore:")
