"""The authors' Plaid behind the common interface. Tests of their code need a checkout: TDBENCH_UPSTREAM is a folder
that holds it as igul222+plaid or plaid."""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

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
from adapters.parity import KINDS, compare
from adapters.plaid import adapter
from adapters.plaid import training as ours_training
from adapters.plaid.layout import MODULES as STORED
from adapters.plaid.mains import training
from adapters.plaid.parity import cases, replay
from adapters.plaid.stand_ins import (
    FusedMLP,
    FusedRMSNorm,
    MuReadout,
    apply_rotary_emb_qkv_,
    flash_attn_unpadded_qkvpacked_func,
    set_base_shapes,
    stand_ins,
    their_world,
)
from adapters.plaid.upstream import (
    ESTIMATOR,
    OPTIONS,
    PACKAGES,
    SCHEDULERS,
    TASKS,
    PlaidUpstream,
    checked,
    load,
    record,
)
from adapters.upstream import StandIn, patched
from tests.adapters.plaid_cases import CHECKPOINTS
from tests.checkouts import checkout_of

pytestmark = pytest.mark.filterwarnings("error")
SMALL = CHECKPOINTS["small"]


@pytest.fixture(scope="session")
def checkout() -> Path:
    return checkout_of("plaid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SMALL.write(tmp_path_factory.mktemp("plaid") / "small")


@pytest.fixture(scope="module")
def model(folder: Path, checkout: Path) -> PlaidUpstream:
    return load(LoadSpec(folder, upstream=checkout))


def test_card_lists_what_the_engine_offers() -> None:
    card = get_card("plaid").upstream
    assert (card.tasks, card.schedulers, card.estimators) == (TASKS, tuple(SCHEDULERS), (ESTIMATOR,))
    assert card.packages == PACKAGES
    assert card.options == dict.fromkeys(SCHEDULERS, OPTIONS)
    offered = get_card("plaid").offer("native").schedulers
    for name in SCHEDULERS:
        own = {option: offered[name].options[option] for option in OPTIONS}
        assert own == OPTIONS, "both engines have the authors' defaults"


def test_card_has_the_digests_of_the_imported_files(model: PlaidUpstream, checkout: Path) -> None:
    lib = model.code["train"].lib  # type: ignore[attr-defined]
    imported = {f"lib/{name}.py" for name, value in vars(lib).items() if isinstance(value, types.ModuleType)}
    digests = {
        name: hashlib.sha256((checkout / name).read_bytes()).hexdigest()
        for name in imported | {"sample.py", "train.py"}
    }
    assert digests == get_card("plaid").upstream.files
    assert not list(checkout.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"score_temp": 0}, "score_temp is '0' but must be above 0"),
        ({"score_temp": "warm"}, "score_temp is 'warm', not a number"),
        ({"initial_noise_scale": float("nan")}, "initial_noise_scale is 'nan'"),
        ({"guidance_weight": True}, "guidance_weight is 'True'"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str) -> None:
    with pytest.raises(AdapterError, match=says):
        checked(options)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (LoadSpec(Path("x")), "upstream.path=FOLDER"),
        (LoadSpec(None, upstream=Path("y")), "needs a checkpoint"),
        (LoadSpec(Path("x"), upstream=Path("y"), dtype="bfloat16"), "float32 on cpu, got dtype bfloat16"),
        (LoadSpec(Path("x"), upstream=Path("y"), device="cuda:1"), "bfloat16 on cuda:1, got dtype float32"),
        (LoadSpec(Path("x"), upstream=Path("y")), "x/noise_schedule.pt is missing"),
    ],
)
def test_bad_load_specs(spec: LoadSpec, says: str) -> None:
    with pytest.raises(AdapterError, match=says) as error:
        load(spec)
    assert "\n" not in str(error.value)


def _rms(x: Tensor) -> Tensor:
    return x / (x.double().pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def test_stand_in_of_the_norm() -> None:
    norm, x = FusedRMSNorm(6), 1e-2 * torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(norm.weight)
    torch.testing.assert_close(norm(x).double(), _rms(x) * norm.weight, rtol=1e-6, atol=0)


def test_stand_in_of_the_mlp() -> None:
    mlp = FusedMLP(4, 16, bias1=False, bias2=False, checkpoint_lvl=1)
    assert {name: tuple(p.shape) for name, p in mlp.named_parameters()} == {
        "fc1.weight": (16, 4),
        "fc2.weight": (4, 16),
    }
    x = torch.randn(3, 4)
    inner = x @ mlp.fc1.weight.T
    gelu = 0.5 * inner * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)))
    torch.testing.assert_close(mlp(x), gelu @ mlp.fc2.weight.T)


def test_stand_in_of_the_rotation() -> None:
    qkv = torch.randn(2, 5, 3, 2, 6)
    angle = torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.1, 0.01]))
    turned = apply_rotary_emb_qkv_(qkv, angle.cos(), angle.sin())
    pairs = torch.complex(*qkv.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)[:, None, None]
    expected = torch.cat((pairs.real, pairs.imag), dim=-1)
    torch.testing.assert_close(turned[:, :, :2], expected[:, :, :2])
    assert torch.equal(turned[:, :, 2], qkv[:, :, 2])


@pytest.mark.parametrize(("borders", "causal"), [([0, 4, 8], False), ([0, 3, 3, 8], False), ([0, 2, 8], True)])
def test_stand_in_of_the_attention(borders: list[int], causal: bool) -> None:
    """Positions see their own segment alone."""
    qkv = torch.randn(8, 3, 2, 4, dtype=torch.float64)
    segment = torch.bucketize(torch.arange(8), torch.tensor(borders), right=True)
    seen = segment[:, None] == segment
    if causal:
        seen &= torch.ones(8, 8, dtype=torch.bool).tril()
    q, k, v = qkv.permute(1, 2, 0, 3)
    scores = (q @ k.transpose(1, 2) / 2).masked_fill(~seen, -torch.inf)
    expected = (scores.softmax(-1) @ v).transpose(0, 1)
    cu_seqlens = torch.tensor(borders, dtype=torch.int32)
    got = flash_attn_unpadded_qkvpacked_func(qkv, cu_seqlens, 8, 0.0, causal=causal)
    torch.testing.assert_close(got, expected)
    with pytest.raises(ValueError, match="no dropout"):
        flash_attn_unpadded_qkvpacked_func(qkv, cu_seqlens, 8, 0.1)


def test_stand_in_of_mup() -> None:
    wide, base, delta = (torch.nn.Sequential(MuReadout(width, 7)) for width in (384, 256, 128))
    set_base_shapes(wide, base, delta=delta)
    assert (wide[0].output_mult, wide[0].width_mult()) == (1.0, 1.5)


def _use_their_world(kernels: dict[str, types.ModuleType]) -> None:
    with their_world("cpu", kernels):
        assert torch.zeros(2, device="cuda").cuda().dtype == torch.float64
        assert sys.modules["flash_attn.layers.rotary"] is kernels["flash_attn.layers.rotary"]
        print("dropped")
        raise ZeroDivisionError


def test_nothing_of_their_world_leaks(capsys: pytest.CaptureFixture[str]) -> None:
    kernels = stand_ins()
    before = (dict(sys.modules), torch.backends.cuda.matmul.allow_tf32)
    with pytest.raises(ZeroDivisionError):
        _use_their_world(kernels)
    assert (dict(sys.modules), torch.backends.cuda.matmul.allow_tf32) == before
    assert torch.get_default_dtype() == torch.float32
    assert capsys.readouterr().out == ""


def test_nothing_of_theirs_leaks_or_is_printed(
    model: PlaidUpstream, folder: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.generate(GenerateRequest(1, 4, 2, "ancestral_plaid"))  # so that packages of others are imported
    before = dict(sys.modules)
    again = load(LoadSpec(folder, upstream=checkout))
    again.generate(GenerateRequest(1, 4, 2, "ancestral_plaid"))
    again.likelihood(LikelihoodRequest(("w1 w2",), ESTIMATOR, {"draws": 2}))
    assert dict(sys.modules) == before
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_device() == torch.device("cpu")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "kinds"), [("small", KINDS), ("wide", ("network", "loss"))])
def test_the_authors_code_agrees(name: str, kinds: tuple[str, ...], tmp_path: Path, checkout: Path) -> None:
    """What `tdbench parity` does; all that was recorded of both is replayed in test_plaid_parity.py."""
    path = CHECKPOINTS[name].write(tmp_path / name)
    ours, theirs = adapter.load(LoadSpec(path)), load(LoadSpec(path, upstream=checkout))
    assert theirs.parameter_count == ours.parameter_count
    for case in cases(ours):
        if case.kind not in kinds:
            continue
        recorded = record(theirs, case)
        differences = compare(case, recorded, replay(ours, case, recorded))
        assert [d for d in differences if not d.passed] == []


def _both(folder: Path, model: PlaidUpstream, request: GenerateRequest) -> list[list[int]]:
    ours, theirs = adapter.load(LoadSpec(folder)).generate(request), model.generate(request)
    assert (ours.tokens, ours.nfe, ours.texts) == (theirs.tokens, theirs.nfe, theirs.texts)
    assert (ours.generated_tokens, ours.prompt_kept) == (theirs.generated_tokens, theirs.prompt_kept)
    assert theirs.nfe == [request.steps + 1] * request.count
    return theirs.tokens


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_generate_gives_the_native_engines_tokens(model: PlaidUpstream, folder: Path, scheduler: str) -> None:
    free = _both(folder, model, GenerateRequest(3, SMALL.length, 9, scheduler, seed=5))
    words = [
        {"word": "w4", "position": "any", "weight": 3.0},
        {"word": "w7", "position": "all", "weight": 10, "complement": True},
        {"token": 9, "position": 5},
    ]
    options = {"score_temp": 0.8, "initial_noise_scale": 0.9, "guidance_weight": 3.0, "guidance": words}
    guided = _both(folder, model, GenerateRequest(3, SMALL.length, 9, scheduler, options=options, seed=5))
    assert free != guided


def test_a_batch_of_several_prompts(model: PlaidUpstream, folder: Path) -> None:
    """Theirs runs each prompt by itself; a row is what it is with any others."""
    prompts = (Prompt("w3 w4", "w5"), Prompt(), Prompt("w3 w4", "w5"), Prompt("w8"))
    common: dict[str, Any] = {"length": 12, "steps": 6, "scheduler": "ancestral_plaid", "seed": 3, "task": "infill"}
    tokens = _both(folder, model, GenerateRequest(4, prompts=prompts, **common))
    assert tokens[0] != tokens[2], "the same prompt, other noise"
    alike = _both(folder, model, GenerateRequest(4, prompts=(prompts[0],) * 4, **common))
    assert (tokens[0], tokens[2]) == (alike[0], alike[2])
    result = model.generate(GenerateRequest(4, prompts=prompts, **common))
    assert result.generated_tokens == [9, 12, 9, 11]
    assert [share is None for share in result.prompt_kept] == [False, True, False, False]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one step": ({"steps": 1}, "from two steps on, got steps 1"),
    "another sampler": ({"scheduler": "dpmpp_2m"}, "no scheduler 'dpmpp_2m', only ancestral_plaid, ddim_plaid"),
    "too long": ({"length": 13}, r"length 13 is outside 1\.\.12"),
    "no room": ({"task": "prefix", "prompts": (Prompt("w1 " * 9),)}, "leaves nothing to write"),
    "a position": ({"options": {"guidance": [{"word": "w1", "position": 9}]}}, r"position 9 is outside .* \(0\.\.8\)"),
    "two tokens": ({"options": {"guidance": [{"word": "w1 w2", "position": 0}]}}, "is not one token but 2"),
    "a temperature": ({"options": {"score_temp": -1}}, "score_temp"),
}


@pytest.mark.parametrize(("change", "text"), REFUSED.values(), ids=REFUSED)
def test_what_their_code_has_not_is_refused(model: PlaidUpstream, change: dict[str, Any], text: str) -> None:
    request = {"count": 1, "length": 9, "steps": 4, "scheduler": "ddim_plaid", **change}
    with pytest.raises(AdapterError, match=text):
        model.generate(GenerateRequest(**request))


def test_their_bound_is_ours_in_the_mean(model: PlaidUpstream, folder: Path) -> None:
    """A text gets its own bound whatever else is in the batch, though their terms are right for a whole batch alone."""
    texts = ("w1 w5 w9", "w2 w2 w2", "w30 w31 w32")
    theirs = model.likelihood(LikelihoodRequest(texts, ESTIMATOR, {"draws": 300}, seed=1))
    assert (theirs.kind, theirs.nfe) == ("upper_bound", [600] * 3)
    truth = adapter.load(LoadSpec(folder)).likelihood(LikelihoodRequest(texts, "vlb", {"draws": 400}, seed=2))
    for figure, other in zip(theirs.texts, truth.texts, strict=True):
        assert figure.standard_error
        assert other.standard_error
        assert figure.standard_error < 0.25 * figure.nats
        assert abs(figure.nats - other.nats) < 4 * (figure.standard_error**2 + other.standard_error**2) ** 0.5
        assert figure.tokens == 3


def test_a_seed_gives_the_same_bound_and_long_texts_are_cut(model: PlaidUpstream) -> None:
    request = LikelihoodRequest(("w1 " * 20, "", "w2"), ESTIMATOR, {"draws": 3}, seed=4)
    result = model.likelihood(request)
    assert result == model.likelihood(request)
    assert [figure.tokens for figure in result.texts] == [20, 0, 1]
    assert result.nfe == [12, 0, 6]
    one = model.likelihood(LikelihoodRequest(("w2",), ESTIMATOR, {"draws": 1}))
    assert one.texts[0].standard_error is None


def test_what_is_not_heard_is_no_figure(folder: Path, checkout: Path) -> None:
    upstream = load(LoadSpec(folder, upstream=checkout))
    tokens = torch.arange(6)[None]
    np.random.seed(0)
    upstream.counted.reset(1)
    with torch.no_grad():
        assert upstream.bound(tokens).rows.shape == (1,)
        right = upstream._bound
        assert right is not None
        upstream._bound = lambda batches, last: 2 * right(batches, last)
        with pytest.raises(AdapterError, match=r"have the mean .*pinned commit"):
            upstream.bound(tokens)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def test_bad_checkpoints(tmp_path: Path, checkout: Path) -> None:
    folders = {name: SMALL.write(tmp_path / name) for name in ("cut", "list", "names", "missing", "length")}
    _truncated(folders["cut"] / "model.pt")
    torch.save([1, 2], folders["list"] / "gamma_bounds.pt")
    state = torch.load(folders["names"] / "model.pt", weights_only=True)
    state["blocks.0.extra.weight"] = state.pop("blocks.0.attn_out.weight")
    torch.save(state, folders["names"] / "model.pt")
    (folders["missing"] / "embedding_matrix.pt").unlink()
    (folders["length"] / "config.json").unlink()
    for name, says in (
        ("cut", "model.pt is truncated"),
        ("list", "gamma_bounds.pt holds something else than named tensors"),
        ("names", "the authors' code does not take .*attn_out"),
        ("missing", "embedding_matrix.pt is missing"),
        ("length", "do not say how long the training rows were"),
    ):
        with pytest.raises(CheckpointError, match=says) as error:
            load(LoadSpec(folders[name], upstream=checkout))
        assert "\n" not in str(error.value)


def test_other_code_and_another_tokenizer_are_refused(folder: Path, checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="tdbench fetch --upstream plaid"):
        load(LoadSpec(folder, upstream=tmp_path))
    with pytest.raises(AdapterError, match=f"27 ids but the network was trained on {SMALL.size.vocab_size}"):
        load(LoadSpec(folder, upstream=checkout, tokenizer="text8"))


def test_layout_is_what_their_modules_have(model: PlaidUpstream, folder: Path) -> None:
    """Names and shapes that they save are those of our random checkpoints."""
    assert tuple(model.modules) == STORED
    for name, module in model.modules.items():
        stored = torch.load(folder / f"{name}.pt", weights_only=True)
        assert {key: value.shape for key, value in module.state_dict().items()} == {
            k: v.shape for k, v in stored.items()
        }


def _steps_of_theirs(upstream: PlaidUpstream, batches: list[Tensor]) -> Iterator[tuple[Any, Tensor]]:
    """What their training computes for each batch, and the noise it drew; gradients are in `upstream.modules`."""
    train, noise = upstream.code["train"], []

    def randn(*args: Any, **named: Any) -> Tensor:
        noise.append(torch.randn(*args, **named))
        return noise[-1].clone()

    def uncut(low: int, length: int, size: list[int], **named: Any) -> Tensor:
        return torch.full(size, length, dtype=torch.int64)

    upstream.modules["model"].forward = upstream._forward  # nothing is counted
    with upstream.world():
        forward = training(upstream.code, upstream.modules, upstream.size, batches, bias_warmup_steps=2)["forward"]
    for step in range(len(batches)):
        np.random.seed(step)
        with upstream.world(), patched(train, torch=StandIn(train.__dict__["torch"], randn=randn, randint=uncut)):
            parts = forward(step, 0, 1)
            parts[0].backward()
        yield parts, noise.pop()


def test_our_training_has_their_loss_and_their_gradients(folder: Path, checkout: Path) -> None:
    """Self-conditioned rows, the schedule's own gradient and the split of the batch included; rows of full length."""
    upstream = load(LoadSpec(folder, upstream=checkout))
    size = SMALL.size
    numbers = {"hidden": size.dim, "embed_dim": size.embed_dim, "blocks": size.n_blocks, "heads": size.n_heads}
    ours = ours_training.PlaidTrainable(TrainSpec(size.vocab_size, SMALL.length, {**numbers, "bias_warmup": 2}))
    ours.module.network.load_state_dict(SMALL.state())
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, size.vocab_size, (8, SMALL.length), generator=generator) for _ in range(4)]
    for step, (parts, noise) in enumerate(_steps_of_theirs(upstream, batches)):
        offset, shift = np.random.RandomState(step).randint(4), np.random.RandomState(step).uniform()
        draws = StandIn(
            torch,
            randint=lambda *args, offset=offset, **named: torch.tensor(offset),
            rand=lambda *args, shift=shift, **named: torch.tensor(shift, dtype=torch.float64),
            randn=lambda *args, noise=noise, **named: noise,
        )
        assert int(parts[-1]) == ours.module.moments.reconstruction_rows(8)
        with patched(ours_training, torch=draws):
            loss = ours.loss(TrainBatch(batches[step]), generator)
        loss.backward()
        torch.testing.assert_close(loss.double(), parts[0], rtol=1e-6, atol=0)
        for name, module in upstream.modules.items():
            for key, theirs in module.named_parameters():
                gradient = ours.module.network.get_parameter(f"{name}.{key}").grad
                scale = float(theirs.grad.abs().max())
                torch.testing.assert_close(gradient, theirs.grad, rtol=0, atol=1e-4 * scale)
            module.zero_grad()
        ours.module.zero_grad()
