"""The authors' nanoDD behind the common interface: their model, their sampler (sample.py), their bound (evaluate.py).

Nothing of their arithmetic is replaced. They return means of a batch alone, so what belongs to single texts or steps is
listened to: a stand-in for a module that theirs imports passes every call through and hands on its result. What is
replaced for other reasons is said at `stand_ins` and `quiet`; their `.to("cuda")` stands in functions that are not
called.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import types
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from adapters.base import (
    AdapterError,
    CheckpointError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LoadSpec,
)
from adapters.nanodd.layout import DRAWS_PER_RECONSTRUCTION, EMA_PREFIX, FILE_NAME, MODEL_CLASS, window_length
from adapters.nanodd.recording import record
from adapters.texts import decode_rows
from adapters.tokenizers import load_tokenizer
from adapters.traces import Tracer
from adapters.upstream import StandIn, UpstreamModel, import_modules, patched
from adapters.weights import read_weights, weight_file

__all__ = ["NanoddUpstream", "load", "record"]

MODEL = "nanodd"
#: Their modules that are imported; dit comes with the first.
MODULES = ("d3pm_absorbing", "sample", "evaluate")
PACKAGES = ("einops", "numpy")
TASKS = ("unconditional",)
SCHEDULER = "nanodd_d3pm"
ESTIMATOR = "d3pm"
#: How far the mean of what was heard may be from the mean that they return (both float32, one order of summation).
HEARD_TOLERANCE = 1e-5


def stand_ins() -> Dict[str, types.ModuleType]:
    """Modules that theirs import for their command lines alone.

    fire reads a command line. tiktoken would download GPT-2's tokens while sample.py is imported, even for text8, and
    serves only to print; texts are decoded by this project's tokenizers.
    """
    tiktoken: Any = types.ModuleType("tiktoken")
    empty = types.SimpleNamespace(_pat_str="", _mergeable_ranks={}, _special_tokens={})
    tiktoken.get_encoding = lambda name: empty
    tiktoken.Encoding = lambda *args, **kwargs: empty
    return {"fire": types.ModuleType("fire"), "tiktoken": tiktoken}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what their constructor prints, and the warning of their `autocast("cuda")` on a machine without CUDA
    (where it does nothing)."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*CUDA is not available.*")
        yield


def heard(function: Callable[..., Any], listener: Callable[[Any], Any]) -> Callable[..., Any]:
    """The function itself, with each of its results also given to `listener`."""

    def listened(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        listener(result)
        return result

    return listened


@dataclass(frozen=True)
class HeardLoss:
    """One call of their loss.

    Attributes:
        returned: what the call returned.
        noisy: ids x_{t+1} [B, L] that their network was given, the noise they drew.
        times: t + 1 [B] float32, as their network was told.
        kl: KL of each position [B, L], nats, float32.
        ce: cross-entropy of each position [B, L], nats, float32.
    """

    returned: Any
    noisy: Tensor
    times: Tensor
    kl: Tensor
    ce: Tensor


class NanoddUpstream(UpstreamModel):
    """Their model with a checkpoint's weights.

    Args:
        code: their modules by name.
        model: their D3PMAbsorbing in eval mode, on its device.
        length: longest sequence in tokens.
        spec: the tokenizer and the device are read from it.
    """

    def __init__(self, code: Mapping[str, types.ModuleType], model: Any, length: int, spec: LoadSpec) -> None:
        self.code = code
        self.model = model
        counted = CountedNetwork(model.net.forward, spec.device)
        # An attribute of the instance hides the method of its class, so every `model.net(x, t)` of theirs is counted.
        model.net.forward = lambda x, t: counted(range(len(x)), x, t)
        folder = spec.checkpoint.parent if spec.checkpoint and spec.checkpoint.is_file() else spec.checkpoint
        super().__init__(
            name=MODEL,
            tokenizer=load_tokenizer(spec.tokenizer, folder),
            mask_id=model.K - 1,
            counted=counted,
            device=spec.device,
            length=length,
            parameter_count=sum(p.numel() for p in model.parameters()),
            tasks=TASKS,
            schedulers=[SCHEDULER],
            estimators=[ESTIMATOR],
        )
        self._trajectory: Optional[Tensor] = None

    def check(self, request: GenerateRequest) -> None:
        # Their sampler returns every state, so a trace is no obstacle.
        super().check(replace(request, trace=False))
        if request.steps != self.model.T:
            raise AdapterError(
                "the authors' sampler of nanodd always makes the {} steps of its checkpoint, got steps {}".format(
                    self.model.T, request.steps
                )
            )

    def generate(self, request: GenerateRequest) -> GenerateResult:
        result = super().generate(request)
        states, self._trajectory = self._trajectory, None
        if not request.trace or states is None:
            return result
        tracer = Tracer(request.steps, self._read, self.mask_id)
        tracer.start(states[0])
        for step, state in enumerate(states[1:]):
            tracer.on_step(step, state)
        written = [[True] * request.length] * request.count
        return replace(result, trace=tracer.result(result.tokens, result.texts, written))

    def _read(self, tokens: Tensor) -> Tuple[List[List[int]], List[str]]:
        return tokens.tolist(), decode_rows(self.tokenizer, tokens)

    def sample(self, tokens: Tensor, steps: int, scheduler: str, options: Mapping[str, Any], seed: int) -> Tensor:
        """Their sampler; it starts from masks alone, and so takes of `tokens` no more than the shape."""
        states = self._trajectory = self.trajectory(tokens.shape[0], tokens.shape[1], seed)
        return states[-1]

    def logits(self, tokens: Tensor, times: Tensor) -> Tensor:
        """Raw output [B, L, K] of their network for ids [B, L] at times [B], 1..T."""
        with quiet():
            logits: Tensor = self.model.net(tokens, times.float())
        return logits

    def trajectory(self, count: int, length: int, seed: int) -> Tensor:
        """All states of their sampler, [T + 1, count, length]: masks, then what each step left."""
        torch.manual_seed(seed)
        with quiet():
            states: Tensor = self.code["sample"].sample_d3pm_absorbing(self.model, count, length, visualize=False)
        return states

    def score(self, tokens: Tensor, estimator: str, draws: int) -> Tuple[Tensor, Tensor]:
        """(T - 1) KL + cross-entropy, as their evaluate.py adds them up; `draws` evaluations a sequence for the KL,
        a quarter as many more (at least 1) for the cross-entropy; errors from the spread over the draws."""
        count = max(1, draws // DRAWS_PER_RECONSTRUCTION)
        nats, variance = _mean([self.term("estimate_recon", tokens) for _ in range(count)])
        steps = self.model.T - 1
        if steps:
            kl, kl_variance = _mean([self.term("estimate_kl", tokens) * steps for _ in range(draws)])
            nats, variance = nats + kl, variance + kl_variance
        return nats, variance.sqrt()

    def term(self, function: str, tokens: Tensor) -> Tensor:
        """One evaluation by a function of their evaluate.py: "estimate_kl" (t uniform in 1..T-1 a row) or
        "estimate_recon" (cross-entropy at t = 0).

        Returns:
            its figure of each row of `tokens` [B, L], summed over positions, [B] float64.

        Raises:
            AdapterError: where the figures heard do not have the mean that it returns.
        """
        estimate = getattr(self.code["evaluate"], function)
        loss = self.hear_loss(lambda: estimate(self.model, tokens), tokens)
        figure = {"estimate_kl": loss.kl, "estimate_recon": loss.ce}[function]
        if not math.isclose(float(figure.mean()), loss.returned, rel_tol=HEARD_TOLERANCE, abs_tol=1e-12):
            raise AdapterError(
                "the authors' {} returned {}, but the figures heard have the mean {}; is the checkout at the pinned "
                "commit?".format(function, loss.returned, float(figure.mean()))
            )
        return figure.double().sum(-1)

    def hear_loss(self, call: Callable[[], Any], tokens: Tensor) -> HeardLoss:
        """Call something that evaluates their loss once on `tokens` [B, L], and listen.

        Raises:
            AdapterError: where not exactly one network call, one KL and one cross-entropy of that shape were heard.
        """
        calls: List[Tuple[Tensor, Tensor]] = []
        kl: List[Tensor] = []
        ce: List[Tensor] = []
        module = self.code["d3pm_absorbing"]
        stand_in = StandIn(
            module.F, relu=heard(module.F.relu, kl.append), cross_entropy=heard(module.F.cross_entropy, ce.append)
        )
        hook = self.model.net.register_forward_pre_hook(lambda module, args: calls.append(args))
        try:
            with quiet(), patched(module, F=stand_in):
                returned = call()
        finally:
            hook.remove()
        shapes = [tuple(x.shape) for x in kl + ce]
        if len(calls) != 1 or shapes != [tuple(tokens.shape), (tokens.numel(),)]:
            raise AdapterError(
                "the authors' loss could not be listened to: {} network calls, and figures of shapes {} for tokens {}; "
                "is the checkout at the pinned commit?".format(len(calls), shapes, tuple(tokens.shape))
            )
        noisy, times = calls[0]
        return HeardLoss(returned, noisy, times, kl[0], ce[0].view_as(tokens))

    def hear_steps(self, count: int, length: int, seed: int, at: Sequence[int]) -> Tuple[Tensor, Tensor]:
        """Run their sampler and listen to its draws.

        Args:
            at: the steps s in T..1 to keep, falling.

        Returns:
            states before those steps [len(at), count, length], and the probabilities that those steps drew from
            [len(at), count, length, K].

        Raises:
            AdapterError: where it did not draw once a step.
        """
        probs: List[Tensor] = []
        drawn = itertools.count(self.model.T, -1)

        def keep(categorical: Any) -> None:
            if next(drawn) in at:
                probs.append(categorical.probs)

        module = self.code["sample"]
        with patched(module, D=StandIn(module.D, Categorical=heard(module.D.Categorical, keep))):
            states = self.trajectory(count, length, seed)
        if next(drawn) != 0 or len(probs) != len(at):
            raise AdapterError(
                "the authors' sampler could not be listened to: it did not draw once a step; is the checkout at the "
                "pinned commit?"
            )
        return torch.stack([states[self.model.T - s] for s in at]), torch.stack(probs)


def _mean(draws: List[Tensor]) -> Tuple[Tensor, Tensor]:
    """The mean of draws, each [B], and its variance (NaN for one draw)."""
    values = torch.stack(draws)
    variance = values.var(dim=0) / len(draws) if len(draws) > 1 else torch.full_like(values[0], math.nan)
    return values.mean(0), variance


def load(spec: LoadSpec) -> NanoddUpstream:
    """The authors' model of one checkpoint, its EMA weights as their sample.py and evaluate.py take by default.

    Raises:
        CheckpointError: for a checkpoint that their code does not take.
        AdapterError: for a checkout or package that is missing, or arithmetic that their network does not have.
    """
    if spec.upstream is None:
        raise AdapterError("the engine upstream needs the authors' code of nanodd: give upstream.path.")
    if spec.checkpoint is None:
        raise CheckpointError("nanodd needs a checkpoint: give the folder that holds its {}.".format(FILE_NAME))
    _check_dtype(spec)
    file = weight_file(spec.checkpoint, FILE_NAME) if spec.checkpoint.is_dir() else spec.checkpoint
    content = _read(file)
    with quiet():
        code = import_modules(spec.upstream, MODULES, MODEL, PACKAGES, stand_ins())
        model = _build(code["d3pm_absorbing"], file, content)
    return NanoddUpstream(code, model.to(spec.device).eval(), window_length(file, content), spec)


def _check_dtype(spec: LoadSpec) -> None:
    """Their network says itself what it computes in (dit.py: autocast to bfloat16, on CUDA alone); another dtype in
    the row would be untrue."""
    own = "bfloat16" if spec.device.startswith("cuda") else "float32"
    if spec.dtype != own:
        raise AdapterError(
            "the authors' network of nanodd always computes in {} on {}, got dtype {}: give dtype={}".format(
                own, spec.device, spec.dtype, own
            )
        )


def _read(file: Path) -> Dict[str, Any]:
    """The checkpoint's dictionary, read as theirs is (tensors and plain values only) but onto the CPU, so that a file
    saved on a GPU can be read without one."""
    content = read_weights(file)
    missing = [key for key in ("model_cls", "model_args", "ema") if not isinstance(content, dict) or key not in content]
    if missing:
        raise CheckpointError("{} is not a nanoDD checkpoint: it has no {}.".format(file, ", ".join(missing)))
    return dict(content)


def _build(module: types.ModuleType, file: Path, content: Mapping[str, Any]) -> Any:
    """Their model with the EMA weights, as sample.py makes it."""
    own = content["model_cls"]
    if own != MODEL_CLASS:
        raise CheckpointError("{} holds a {!r}, not nanoDD's {}.".format(file, own, MODEL_CLASS))
    try:
        model = module.D3PMAbsorbing(**content["model_args"])
        ema = content["ema"]
        model.load_state_dict({k[len(EMA_PREFIX) :]: v for k, v in ema.items() if k.startswith(EMA_PREFIX)})
    except (TypeError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError("the authors' code does not take {}: {}".format(file, reason)) from None
    return model
