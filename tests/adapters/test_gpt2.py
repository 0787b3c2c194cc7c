"""GPT-2 behind the common interface: sampling, exact likelihood, loading, training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

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
from adapters.cards import read_card
from adapters.gpt2 import adapter
from adapters.gpt2.adapter import Gpt2Model, load, trainable
from adapters.tokenizers import load_tokenizer, load_tokenizer_file, word_tokenizer
from harness.checkpoints import resolve
from harness.metrics.judge import load_judge

CARD = read_card(Path(adapter.__file__).parent, "adapters.gpt2")
WORDS = ["a", "b", "c", "d"]
LENGTH = 6
SIZE = {"n_embd": 8, "n_layer": 2, "n_head": 2}


def make_folder(folder: Path, eos_id: int | None = 0, vocab_size: int = 1 + len(WORDS)) -> Path:
    """A random network with decided opinions, exported by the trainable."""
    torch.manual_seed(0)
    fresh = trainable(TrainSpec(vocab_size, LENGTH, SIZE, eos_id))
    with torch.no_grad():
        for parameter in fresh.module.parameters():
            parameter.normal_(std=0.7)
    fresh.export(folder, fresh.module.state_dict(), {})
    if eos_id is not None:
        word_tokenizer(WORDS).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("gpt2") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> Gpt2Model:
    loaded = load(LoadSpec(folder))
    assert isinstance(loaded, Gpt2Model)
    return loaded


def request(count: int = 3, **changes: object) -> GenerateRequest:
    settings: dict[str, object] = {"length": LENGTH, "steps": LENGTH, "scheduler": "autoregressive", "seed": 1}
    return GenerateRequest(count=count, **{**settings, **changes})  # type: ignore[arg-type]


def next_token(folder: Path, ids: list[int]) -> Tensor:
    """Log-probabilities [V] after BOS + ids, by transformers alone, one prefix at a time, no cache."""
    network = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return network(torch.tensor([[0, *ids]])).logits[0, -1].double().log_softmax(-1)


# --- card -------------------------------------------------------------------------------------------------------------


def test_card() -> None:
    assert (CARD.role, CARD.family, CARD.likelihood) == ("baseline", None, "exact")
    assert list(CARD.schedulers) == [adapter.SCHEDULER]
    assert list(CARD.estimators) == [adapter.ESTIMATOR]
    assert CARD.tasks == adapter.TASKS
    assert CARD.checkpoints["tiny"].length == 64


def test_the_trained_size_is_that_of_the_other_tiny_models() -> None:
    module = trainable(TrainSpec(167, 64, CARD.train["size"], 0)).module
    assert abs(sum(p.numel() for p in module.parameters()) - 210_000) < 15_000


# --- generate ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_text(model: Gpt2Model) -> None:
    first = model.generate(request(8))
    assert model.generate(request(8)) == first
    assert model.generate(request(8, seed=2)).tokens != first.tokens


def test_nfe_is_one_call_a_token(model: Gpt2Model) -> None:
    result = model.generate(request(3))
    assert result.nfe == [LENGTH] * 3 == result.generated_tokens
    assert model.networks[0].calls == LENGTH
    assert all(len(ids) == LENGTH for ids in result.tokens)
    assert result.texts == [model._tokenizer.decode(ids) for ids in result.tokens]


@pytest.mark.parametrize("sampling_dtype", ["float64", "native"])
def test_sequences_are_drawn_at_their_exact_rate(folder: Path, model: Gpt2Model, sampling_dtype: str) -> None:
    count, length = 20_000, 2
    result = model.generate(request(count, length=length, options={"sampling_dtype": sampling_dtype}))
    first = next_token(folder, []).exp()
    joint = torch.stack([p * next_token(folder, [i]).exp() for i, p in enumerate(first)]).flatten()
    seen = torch.tensor(result.tokens)
    rate = torch.bincount(seen[:, 0] * 5 + seen[:, 1], minlength=25) / count
    assert joint.min() < 0.01 < joint.max()  # the test has something to tell apart
    sigma = (joint * (1 - joint) / count).sqrt()
    assert ((rate - joint).abs() < 5 * sigma + 1e-4).all()


def test_temperature_zero_takes_the_most_probable(folder: Path, model: Gpt2Model) -> None:
    ids: list[int] = []
    for _ in range(LENGTH):
        ids.append(int(next_token(folder, ids).argmax()))
    result = model.generate(request(2, options={"temperature": 0.0}))
    assert result.tokens == [ids, ids]


def test_prefixes_of_different_length(folder: Path, model: Gpt2Model) -> None:
    prompts = (Prompt("a b"), Prompt("c d a b"), Prompt("d"))
    result = model.generate(request(3, task="prefix", prompts=prompts, options={"temperature": 0.0}))
    assert [ids[:n] for ids, n in zip(result.tokens, (2, 4, 1), strict=True)] == [[1, 2], [3, 4, 1, 2], [4]]
    assert result.generated_tokens == [4, 2, 5]
    assert result.nfe == [5, 5, 5]  # as measured: the batch goes at the pace of its shortest prompt
    for ids, given in zip(result.tokens, (2, 4, 1), strict=True):
        for position in range(given, LENGTH):
            assert ids[position] == int(next_token(folder, ids[:position]).argmax())


def test_keys_and_values_are_kept(model: Gpt2Model, monkeypatch: pytest.MonkeyPatch) -> None:
    widths: list[int] = []
    inner = model.networks[0].module

    def watched(ids: Tensor, *rest: object) -> Tensor:
        widths.append(ids.shape[1])
        return inner(ids, *rest)

    monkeypatch.setattr(model.networks[0], "module", watched)
    result = model.generate(request(2, task="prefix", prompts=(Prompt("a b"), Prompt("c d"))))
    assert widths == [3, 1, 1, 1]  # the start token and the prompt at once, then only what was written last
    assert result.nfe == result.generated_tokens == [4, 4]


def test_an_empty_prompt_is_no_prompt(model: Gpt2Model) -> None:
    free = model.generate(request(2))
    assert model.generate(request(2, task="prefix", prompts=(Prompt(), Prompt()))) == free


def test_trace_shows_the_text_growing(model: Gpt2Model) -> None:
    result = model.generate(request(2, trace=True))
    assert result.trace.done == list(range(LENGTH + 1))
    assert result.trace.texts[-1] == result.texts
    assert [state[0].count("█") for state in result.trace.texts] == list(range(LENGTH, -1, -1))
    assert [state[0].count(None) for state in result.trace.tokens] == list(range(LENGTH, -1, -1))
    assert model.generate(request(2)).trace is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "infill"}, "task 'infill'"),
        ({"scheduler": "ancestral"}, "scheduler 'ancestral'"),
        ({"length": LENGTH + 2}, f"length 8 is outside 1..{LENGTH + 1}"),
        ({"length": 0}, "length 0"),
        ({"options": {"top_p": 0.0}}, "top_p"),
        ({"task": "prefix", "prompts": (Prompt("a", "b"),) * 3}, "has a suffix"),
        ({"task": "prefix", "prompts": (Prompt("a b c d a b"),) * 3}, "leaves nothing to write"),
        ({"task": "prefix", "prompts": (Prompt("x"),) * 3}, "the word 'x'"),
    ],
)
def test_bad_requests(model: Gpt2Model, changes: dict[str, object], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        model.generate(request(3, **changes))


# --- likelihood -------------------------------------------------------------------------------------------------------


def manual_nats(folder: Path, ids: list[int]) -> float:
    return -sum(float(next_token(folder, ids[:i])[token]) for i, token in enumerate(ids))


def test_likelihood_is_the_chain_rule(folder: Path, model: Gpt2Model) -> None:
    texts = ("a b c", "d d a c b", "", "c a b")
    result = model.likelihood(LikelihoodRequest(texts, "exact"))
    assert result.kind == "exact"
    assert [text.tokens for text in result.texts] == [3, 5, 0, 3]
    assert result.nfe == [1, 1, 0, 1]
    for text, figure in zip(texts, result.texts, strict=True):
        assert figure.nats == pytest.approx(manual_nats(folder, model._tokenizer.encode(text)), abs=1e-4)
        assert figure.standard_error == 0.0


def test_a_long_text_is_read_in_windows(folder: Path, model: Gpt2Model) -> None:
    ids = [1, 2, 3, 4] * 4
    window = LENGTH + 1
    result = model.likelihood(LikelihoodRequest((model._tokenizer.decode(ids),), "exact"))
    pieces = [ids[i : i + window] for i in range(0, len(ids), window)]
    assert result.texts[0].nats == pytest.approx(sum(manual_nats(folder, piece) for piece in pieces), abs=1e-3)
    assert (result.texts[0].tokens, result.nfe) == (16, [3])


def test_probabilities_of_all_texts_sum_to_one(model: Gpt2Model) -> None:
    words = ["<|endoftext|>", *WORDS]
    texts = tuple(f"{a} {b} {c}" for a in words for b in words for c in words)
    result = model.likelihood(LikelihoodRequest(texts, "exact"))
    assert torch.tensor([-text.nats for text in result.texts]).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_little_memory_gives_the_same_figures(model: Gpt2Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = LikelihoodRequest(("a b c", "d d a", "b b b"), "exact")
    whole = model.likelihood(asked)
    monkeypatch.setattr(adapter, "LOGIT_BLOCK", 1)
    parts = model.likelihood(asked)
    assert parts.nfe == whole.nfe
    assert [t.nats for t in parts.texts] == pytest.approx([t.nats for t in whole.texts], rel=1e-5)


def test_unknown_estimator(model: Gpt2Model) -> None:
    with pytest.raises(AdapterError, match="estimator 'bound'"):
        model.likelihood(LikelihoodRequest(("a",), "bound"))


# --- training and the folder ------------------------------------------------------------------------------------------


def test_loss_is_the_mean_over_window_and_lookahead(folder: Path) -> None:
    fresh = trainable(TrainSpec(5, LENGTH, SIZE, 0))
    fresh.module.load_state_dict(GPT2LMHeadModel.from_pretrained(folder).state_dict())
    windows = torch.tensor([[1, 2, 3, 4, 1, 2, 3], [4, 4, 2, 0, 1, 3, 3]])
    assert windows.shape[1] == LENGTH + fresh.lookahead
    loss = fresh.loss(TrainBatch(windows), torch.Generator())
    expected = sum(manual_nats(folder, ids) for ids in windows.tolist()) / windows.numel()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_export_is_a_hugging_face_folder(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("a d <|endoftext|> b").input_ids == [1, 4, 0, 2]
    assert tokenizer.bos_token_id == 0
    assert AutoModelForCausalLM.from_pretrained(folder).config.bos_token_id == 0


def test_the_average_is_what_is_exported(tmp_path: Path) -> None:
    fresh = trainable(TrainSpec(5, LENGTH, SIZE, 0))
    average = {name: torch.full_like(tensor, 0.5) for name, tensor in fresh.module.state_dict().items()}
    fresh.export(tmp_path, average, {})
    stored = load_file(tmp_path / "model.safetensors")
    assert all((tensor == 0.5).all() for tensor in stored.values())


def test_the_judge_agrees(folder: Path, model: Gpt2Model) -> None:
    texts = ["a b c", "d d a c b a"]
    ours = model.likelihood(LikelihoodRequest(tuple(texts), "exact")).texts
    theirs = load_judge(str(folder), "cpu").nll(texts)
    for mine, judged in zip(ours, theirs, strict=True):
        assert judged is not None
        assert (judged.tokens, judged.nats) == (mine.tokens, pytest.approx(mine.nats, abs=1e-4))


def test_text8_has_a_start_token_of_its_own(tmp_path: Path) -> None:
    loaded = load(LoadSpec(make_folder(tmp_path / "text8", None, 27), tokenizer="text8"))
    tokens = torch.tensor(loaded.generate(request(200)).tokens)
    assert int(tokens.max()) == 26  # 27 is the start token: known to the network, never drawn
    assert loaded.likelihood(LikelihoodRequest(("abc",), "exact")).texts[0].tokens == 3


def test_a_bad_size_is_one_line() -> None:
    with pytest.raises(AdapterError, match="multiple of n_head 3"):
        trainable(TrainSpec(5, LENGTH, {**SIZE, "n_head": 3}, 0))


# --- bad checkpoints --------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load(LoadSpec(folder))
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none", "is no folder")


def test_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "has no config.json; found nothing")


def test_config_is_not_json(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    refused(copy, "is not JSON")


def test_another_model(copy: Path) -> None:
    edit_config(copy, model_type="bert")
    refused(copy, "model_type is 'bert'")


def test_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    refused(copy, r"has no model.safetensors and no pytorch_model.bin: fetch it again")


def test_pickled_weights_are_read_as_tensors_or_not_at_all(copy: Path, model: Gpt2Model) -> None:
    state = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(state, copy / "pytorch_model.bin")
    assert load(LoadSpec(copy)).generate(request()) == model.generate(request())
    torch.save({"network": torch.nn.Linear(1, 1)}, copy / "pytorch_model.bin")
    refused(copy, "holds more than tensors")
    torch.save({**state, "transformer.wte.weight": torch.zeros(9, 8)}, copy / "pytorch_model.bin")
    refused(copy, r"'transformer.wte.weight' has shape \[9, 8\]")
    (copy / "pytorch_model.bin").write_bytes(b"")
    refused(copy, "is empty")


@pytest.mark.parametrize("kept", [0, 50, 2000])
def test_truncated_weights(copy: Path, kept: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(copy, "is truncated or holds no safetensors")


def test_wrong_shape(copy: Path) -> None:
    edit_config(copy, n_embd=16)
    refused(copy, r"'transformer.h.0.attn.c_attn.bias' has shape \[24\] but its config asks for \[48\]")


def test_missing_tensor(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    state.pop("transformer.h.1.mlp.c_fc.weight")
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    refused(copy, r"no weights for transformer.h.1.mlp.c_fc.weight \(1 tensors are missing\)")


def test_a_layer_too_many(copy: Path) -> None:
    edit_config(copy, n_layer=1)
    refused(copy, r"1[12] tensors that this GPT-2 has no place for \(transformer.h.1")


def published(folder: Path, tokenizer: str, weights: str) -> Path:
    """A small random checkpoint with the files and tensor names of openai-community/gpt2: no prefix, no head, the old
    mask buffers, and a byte-level BPE whose end of text is its last id.
    """
    folder.mkdir()
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(["hello world, hello there"] * 20, trainer)
    library.add_special_tokens(["<|endoftext|>"])
    if tokenizer == "tokenizer.json":
        library.save(str(folder / "tokenizer.json"))
    else:
        library.model.save(str(folder))
        vocabulary = json.loads((folder / "vocab.json").read_text())
        end = {"<|endoftext|>": len(vocabulary)}
        (folder / "vocab.json").write_text(json.dumps({**vocabulary, **end}))
    bos = library.get_vocab_size() - 1
    torch.manual_seed(0)
    sizes = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "n_ctx": 16, "vocab_size": bos + 1}
    network = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=bos, eos_token_id=bos))
    state = {name: value.contiguous() for name, value in network.transformer.state_dict().items()}
    for layer in range(2):
        state[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 16, 16).tril()
    if weights == "model.safetensors":
        save_file(state, folder / weights, metadata={"format": "pt"})
    else:
        torch.save(state, folder / weights)
    own = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", **sizes}
    (folder / "config.json").write_text(json.dumps({**own, "bos_token_id": bos, "eos_token_id": bos}))
    return folder


@pytest.mark.parametrize("tokenizer", ["tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_the_published_layout(tmp_path: Path, tokenizer: str, weights: str) -> None:
    checkpoint = published(tmp_path / "gpt2", tokenizer, weights)
    loaded = load(LoadSpec(checkpoint))
    text = "hello there world"
    figure = loaded.likelihood(LikelihoodRequest((text,), "exact")).texts[0]
    ids = load_tokenizer("folder", checkpoint).encode(text)
    reference = load(LoadSpec(published(tmp_path / "same", "tokenizer.json", "model.safetensors")))
    assert figure.tokens == len(ids) < len(text)
    assert figure == reference.likelihood(LikelihoodRequest((text,), "exact")).texts[0]
    result = loaded.generate(request(2, length=16))
    assert result == reference.generate(request(2, length=16))
    assert result.nfe == [16, 16] == result.generated_tokens
    assert resolve(CARD, str(checkpoint), None).tokenizer == "folder"


def test_published_checkpoints_are_named() -> None:
    names = {name: entry.source[0].hub for name, entry in CARD.checkpoints.items() if entry.kind == "published"}
    assert names == {name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large")}
    assert {CARD.checkpoints[name].length for name in names} == {1024}


def test_old_mask_buffers_are_tolerated(copy: Path, model: Gpt2Model) -> None:
    state = load_file(copy / "model.safetensors")
    state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 7, 7)
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    assert load(LoadSpec(copy)).generate(request()) == model.generate(request())


@pytest.mark.parametrize(("key", "value"), [("n_embd", "wide"), ("n_head", 3)])
def test_config_that_makes_no_network(copy: Path, key: str, value: object) -> None:
    edit_config(copy, **{key: value})
    refused(copy, f"cannot be built from its config.json: .*{'divisible' if key == 'n_head' else key}")


def test_start_token_outside_the_vocabulary(copy: Path) -> None:
    edit_config(copy, bos_token_id=50256)
    refused(copy, "bos_token_id is 50256, but the network knows the ids 0..4")


def test_no_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    refused(copy, "has no tokenizer")


def test_another_tokenizer(copy: Path) -> None:
    word_tokenizer(["a", "b"]).save(str(copy / "tokenizer.json"))
    with pytest.raises(AdapterError, match="the tokenizer has 3 ids but the network knows 5"):
        load(LoadSpec(copy))
    assert load_tokenizer_file(copy / "tokenizer.json").vocab_size == 3


def test_no_checkpoint_and_bad_dtype(folder: Path) -> None:
    with pytest.raises(AdapterError, match="needs a checkpoint"):
        load(LoadSpec(None))
    with pytest.raises(AdapterError, match="not in 'int8'"):
        load(LoadSpec(folder, dtype="int8"))
