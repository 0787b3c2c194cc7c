"""Writing with DiffuSeq: both kinds of samplers, their evaluations, what is given, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base import AdapterError, GenerateRequest, LikelihoodRequest, LoadSpec, NotAvailable, Prompt
from adapters.cards import get_card
from adapters.diffuseq import adapter, samplers
from adapters.diffuseq.system import DiffuseqProcess, DiffuseqSystem
from adapters.gaussian.grids import levels
from adapters.gaussian.model import GaussianModel
from adapters.gaussian.process import Sampling
from tests.adapters.diffuseq_checkpoints import SECOND, SHAPES, Shape, write

SOURCES = ("the cat", "", "how can the dog do it ? " * 5)


def model(folder: Path, shape: Shape = SHAPES["small"]) -> GaussianModel:
    made = adapter.load(LoadSpec(write(folder / "model", shape)))
    assert isinstance(made, GaussianModel)
    return made


def request(scheduler: str, steps: int, length: int = 24, **more: Any) -> GenerateRequest:
    prompts = tuple(Prompt(source=source) for source in SOURCES)
    return GenerateRequest(len(prompts), length, steps, scheduler, task="seq2seq", prompts=prompts, **more)


@pytest.mark.parametrize(
    ("scheduler", "steps", "nfe"),
    [
        ("ddpm_diffuseq", 20, 20),
        ("ddpm_diffuseq", 7, 7),
        ("ddim_diffuseq", 20, 20),
        ("ddim_diffuseq", 10, 10),
        ("ddim_diffuseq", 15, 20),
        ("ddim_diffuseq", 7, 10),
        ("ddim_diffuseq", 1, 1),
        ("dpm_solver_diffuseq", 2, 2),
        ("dpm_solver_diffuseq", 12, 12),
        ("ancestral", 5, 5),
        ("ddim", 5, 5),
        ("dpmpp_2m", 5, 5),
        ("euler", 5, 5),
        ("heun", 5, 9),
        ("lms", 5, 5),
    ],
)
def test_every_scheduler_writes(tmp_path: Path, scheduler: str, steps: int, nfe: int) -> None:
    made = model(tmp_path)
    result = made.generate(request(scheduler, steps, seed=4))
    assert result.nfe == [nfe] * 3
    assert result.left_off == [0, 0, 26]
    assert made.generate(request(scheduler, steps, seed=4)).tokens == result.tokens
    assert isinstance(made.system, DiffuseqSystem)
    words = made.system.tokenizer
    for source, row, written, text in zip(SOURCES, result.tokens, result.generated_tokens, result.texts, strict=True):
        assert len(row) == 24
        kept = words.encode(source)[:9]
        assert row[: len(kept) + 3] == [words.start, *kept, words.end, words.end]
        assert written == sum(i != words.pad for i in row[len(kept) + 3 :])
        assert not any(special in text for special in ("[CLS]", "[SEP]", "[PAD]"))


def test_another_seed_writes_something_else(tmp_path: Path) -> None:
    made = model(tmp_path)
    texts = {tuple(made.generate(request("ddpm_diffuseq", 20, seed=seed)).texts) for seed in range(4)}
    assert len(texts) > 1


def test_the_trace_shows_texts(tmp_path: Path) -> None:
    result = model(tmp_path).generate(request("ddpm_diffuseq", 20, trace=True))
    assert result.trace.done == list(range(1, 21))
    assert result.trace.texts[-1] == result.texts
    assert [len(row) for row in result.trace.tokens[0]] == result.generated_tokens  # padding and source are left out


def test_rounding_can_be_left_out(tmp_path: Path) -> None:
    made = model(tmp_path)
    assert isinstance(made.system, DiffuseqSystem)
    table = made.system.network.embedding
    for clamp in (True, False):
        process = made.system.begin(request("ddim", 5, options={"clamp": clamp}))
        level = levels(made.system.schedule, 5)[1]
        made.system.counted.reset(3)
        with torch.no_grad():
            z = torch.randn(process.shape, generator=torch.Generator().manual_seed(0))
            z_0 = process.of_diffused(process.denoise(z, level))
        gap = torch.cdist(z_0, table, compute_mode="donot_use_mm_for_euclid_dist").amin(-1)
        assert bool((gap < 1e-3).all()) == clamp


def test_given_positions_are_clean_whatever_the_state(tmp_path: Path) -> None:
    made = model(tmp_path)
    assert isinstance(made.system, DiffuseqSystem)
    seen: list[torch.Tensor] = []
    network = made.system.counted.module

    def watched(state: torch.Tensor, *more: Any) -> Any:
        seen.append(state.clone())
        return network(state, *more)

    made.system.counted.module = watched
    made.generate(request("dpmpp_2m", 3))
    made.generate(request("ddim_diffuseq", 2))
    process = made.system.begin(request("ddim", 2))
    given = torch.ones(3 * 24, dtype=torch.bool)
    given[process.diffused] = False
    clean = made.system.network.embedding[process.tokens].flatten(0, 1)[given]
    assert len(seen) == 5
    for state in seen:
        assert torch.equal(state.flatten(0, 1)[given], clean)


def test_the_networks_time_is_that_of_the_original_level(tmp_path: Path) -> None:
    made = model(tmp_path)
    times: list[float] = []
    network = made.system.counted.module

    def watched(state: torch.Tensor, time: torch.Tensor, *more: Any) -> Any:
        times.append(float(time[0]))
        return network(state, time, *more)

    made.system.counted.module = watched
    made.generate(request("ddpm_diffuseq", 3))
    made.generate(request("ddim_diffuseq", 4))
    made.generate(request("euler", 3))
    made.generate(request("dpm_solver_diffuseq", 2))
    assert times[:3] == [950.0, 500.0, 0.0]  # round(9.5) is 10
    assert times[3:7] == [950.0, 700.0, 450.0, 200.0]
    assert times[7:10] == pytest.approx([950.0, 500.0, 0.0])
    assert times[10:] == pytest.approx([1000.0, 525.0])


def test_truncated_noise_is_never_larger() -> None:
    torch.manual_seed(0)
    process: Any = type("P", (), {"shape": (2, 40, 16), "device": "cpu"})
    sampling = Sampling((), torch.Generator().manual_seed(1))
    assert float(samplers._truncated(process, sampling, 0.5).abs().max()) <= 0.5
    assert float(samplers._truncated(process, sampling, 0).abs().max()) > 2


def test_target_room(tmp_path: Path) -> None:
    made = model(tmp_path)
    for room, left in ((4, 18), (21, 35)):
        result = made.generate(request("euler", 2, options={"target_room": room}))
        assert result.left_off == [0 if room == 4 else 2, 0, left]


@pytest.mark.parametrize(
    ("scheduler", "steps", "more", "message"),
    [
        ("ddpm_diffuseq", 1, {}, "2 steps or more"),
        ("dpm_solver_diffuseq", 1, {}, "2 steps or more"),
        ("ddim_diffuseq", 21, {}, "steps 21"),
        ("ddpm_diffuseq_v2", 5, {}, "needs a DiffuSeq-v2 checkpoint"),
        ("ddim", 5, {"length": 25}, "length 25"),
        ("ddim", 5, {"length": 3}, "leaves nothing to write"),
        ("ddim", 5, {"options": {"target_room": 0}}, "target_room"),
        ("ddim", 5, {"options": {"target_room": 22}}, "1 to 21"),
        ("ddim", 5, {"options": {"clamp": 1}}, "clamp"),
        ("ddpm_diffuseq", 5, {"options": {"clamp_step": -1}}, "clamp_step"),
        ("ddpm_diffuseq", 5, {"options": {"top_p": 0.001}}, "top_p"),
        ("ddpm_diffuseq", 5, {"options": {"clip_denoised": 1}}, "clip_denoised"),
    ],
)
def test_what_cannot_be_met(tmp_path: Path, scheduler: str, steps: int, more: dict[str, Any], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        model(tmp_path).check(request(scheduler, steps, **more))


def test_other_tasks_and_no_source(tmp_path: Path) -> None:
    made = model(tmp_path)
    with pytest.raises(AdapterError, match="task 'unconditional'"):
        made.check(GenerateRequest(1, 24, 5, "ddim"))
    with pytest.raises(AdapterError, match="source"):
        made.check(GenerateRequest(1, 24, 5, "ddim", task="seq2seq"))


def test_there_is_no_likelihood(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable):
        model(tmp_path).likelihood(LikelihoodRequest(("a",), "elbo"))
    assert get_card("diffuseq").likelihood is None
    assert not get_card("diffuseq").estimators


@pytest.mark.parametrize("name", sorted(SECOND))
def test_v2_has_its_own_samplers(tmp_path: Path, name: str) -> None:
    made = model(tmp_path, SECOND[name])
    length = SECOND[name].length
    for scheduler in ("ddpm_diffuseq_v2", "dpm_solver_diffuseq", "euler"):
        assert made.generate(request(scheduler, 5, length)).nfe == [5] * 3
    with pytest.raises(AdapterError, match="use ddpm_diffuseq_v2"):
        made.check(request("ddim_diffuseq", 5, length))
    with pytest.raises(AdapterError, match="fails with it"):
        made.check(request("ddpm_diffuseq_v2", 5, length, options={"clip_denoised": True}))


def test_the_family_sees_v2_without_the_mean_of_its_noise(tmp_path: Path) -> None:
    """Noise and prediction of mean zero: the network gets the mean added, and what it predicts has it taken off."""
    made = model(tmp_path, SECOND["v2"])
    assert isinstance(made.system, DiffuseqSystem)
    assert isinstance(made.system.mean, torch.Tensor)
    process = made.system.begin(request("ddim", 5, options={"clamp": False}))
    level = levels(made.system.schedule, 5)[2]
    made.system.counted.reset(3)
    z = torch.randn(process.shape)
    with torch.no_grad():
        z_0 = process.of_diffused(process.denoise(z, level))
        raw = process.predict(process.of_diffused(z) + made.system.mean, made.system.time_of(level.t * 19))
    assert torch.allclose(z_0, raw - made.system.mean, atol=1e-6)
    rows: DiffuseqProcess = process
    assert rows.finish(rows.shown(raw)).tokens == rows.read(raw)


def test_a_tokenizer_of_another_size(tmp_path: Path) -> None:
    folder = write(tmp_path / "small", SHAPES["small"])
    from tokenizers import Tokenizer

    larger = Tokenizer.from_file(str(folder / "tokenizer.json"))
    larger.add_tokens(["zebra"])
    larger.save(str(folder / "tokenizer.json"))
    with pytest.raises(AdapterError, match="name the right tokenizer"):
        adapter.load(LoadSpec(folder))


def test_no_checkpoint_and_no_such_dtype(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="needs a checkpoint"):
        adapter.load(LoadSpec(None))
    with pytest.raises(AdapterError, match="int8"):
        adapter.load(LoadSpec(tmp_path, dtype="int8"))


def test_bfloat16_writes(tmp_path: Path) -> None:
    folder = write(tmp_path / "small", SHAPES["small"])
    made = adapter.load(LoadSpec(folder, dtype="bfloat16"))
    assert len(made.generate(request("ddim_diffuseq", 4)).texts) == 3
