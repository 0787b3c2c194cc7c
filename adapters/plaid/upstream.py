"""The authors' Plaid behind the common interface: their sampler (sample.py) and bound (train.py), run as they are.

Both are functions inside `main`, where `adapters.plaid.mains` gets them. Their arithmetic is untouched. Replaced are:

- kernels, mup, command line and plots (`adapters.plaid.stand_ins`), and their corpora, which are not read;
- the default dtype float64, which they set for the whole process, "cuda" and their random draws, as said below;
- torch.load, so that all files are read once, without running anything in them, and the size of the network, which
  their files do not name, is taken from the shapes.

A batch of theirs has one guidance for all rows, so rows with different prompts are run one prompt after the other, each
with its rows of the noise of the whole batch. train.py would load the networks a second time: it gets those of
sample.py instead.
"""

from __future__ import annotations

import math
import types
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from adapters.base import (
    TEXT_TASKS,
    AdapterError,
    CheckpointError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LoadSpec,
)
from adapters.plaid.layout import MODULES as STORED
from adapters.plaid.layout import PlaidSize, file_of, row_length, settings, size_of, tokenizer_of
from adapters.plaid.mains import sampling, training
from adapters.plaid.recording import record
from adapters.plaid.stand_ins import stand_ins, their_world
from adapters.plaid.wishes import Wish, prompt_shares, read_wishes
from adapters.texts import prompt_rows
from adapters.upstream import StandIn, UpstreamModel, import_modules, patched, their_locals
from adapters.weights import read_weights

__all__ = ["PlaidUpstream", "load", "record"]

MODEL = "plaid"
TASKS = TEXT_TASKS
#: Their modules that are imported; the others of lib/ come with them.
MODULES = ("lib.datasets", "lib.models", "lib.ops", "lib.utils", "sample", "train")
PACKAGES = ("einops", "numpy", "tokenizers")
#: Their switch `ddim_sampler`, by our names of the two samplers.
SCHEDULERS = {"ancestral_plaid": False, "ddim_plaid": True}
ESTIMATOR = "vlb_plaid"
#: Options of both samplers, with their defaults.
OPTIONS: Dict[str, Any] = {"score_temp": 0.9, "initial_noise_scale": 1.0, "guidance_weight": 2.0, "guidance": []}
#: One row in so many is used for the reconstruction term, the others for the diffusion term (train.py, forward).
ROWS_PER_RECONSTRUCTION = 8
#: Local variables of their `forward` that tell the terms of the bound and what they were computed from.
HEARD = (
    "x",
    "t",
    "gamma",
    "gamma_prime",
    "z",
    "x_selfcond",
    "reconst_bs",
    "reconst_loss",
    "diffusion_loss",
    "prior_loss",
)
#: How far the mean of what was heard may be from what they return.
HEARD_TOLERANCE = 1e-9


@dataclass(frozen=True)
class HeardBound:
    """One call of their bound on B rows.

    Attributes:
        nll: what it returned, nats a token, mean over the rows.
        facts: local variables of their `forward` (train.py) when it was done, by name.
    """

    nll: float
    facts: Dict[str, Any]

    @property
    def rows(self) -> Tensor:
        """What each row adds to the mean, nats a token [B] float64: a reconstruction or a diffusion term, divided by
        the share of rows that have one on average, and the prior."""
        facts = self.facts
        terms = facts["diffusion_loss"].double() / (1 - 1 / ROWS_PER_RECONSTRUCTION)
        terms[: facts["reconst_bs"]] = facts["reconst_loss"].double() * ROWS_PER_RECONSTRUCTION
        return terms + facts["prior_loss"]


class PlaidUpstream(UpstreamModel):
    """Their networks with one checkpoint.

    Args:
        code: their modules by name.
        kernels: stand-ins under which they were imported.
        states: state dicts by name of the module.
        size: architecture numbers.
        length: tokens of a training row.
        spec: what was loaded.

    Attributes:
        modules: their four modules by name.
    """

    def __init__(
        self,
        code: Mapping[str, types.ModuleType],
        kernels: Mapping[str, types.ModuleType],
        states: Mapping[str, Mapping[str, Tensor]],
        size: PlaidSize,
        length: int,
        spec: LoadSpec,
    ) -> None:
        self.code = code
        self.size = size
        self._kernels = kernels
        self._device = spec.device
        with self.world():
            self._generate, self.modules, self._arguments = sampling(code, states, size)
        self._bound: Optional[Callable[..., float]] = None
        network = self.modules["model"]
        self._forward = network.forward
        counted = CountedNetwork(self._call, spec.device)
        #: Sequences of the batch for which their code is under way.
        self._rows: Sequence[int] = ()
        # An attribute of the instance hides the method of its class, so every call of theirs is counted.
        network.forward = lambda z, *args, **named: counted(self._rows, z, args, named)
        assert spec.checkpoint is not None
        super().__init__(
            name=MODEL,
            tokenizer=tokenizer_of(spec.tokenizer, spec.checkpoint),
            mask_id=size.vocab_size,
            counted=counted,
            device=spec.device,
            length=length,
            parameter_count=sum(p.numel() for module in self.modules.values() for p in module.parameters()),
            tasks=TASKS,
            schedulers=tuple(SCHEDULERS),
            estimators=(ESTIMATOR,),
        )

    def world(self) -> ContextManager[None]:
        """What their code runs in, see `their_world`."""
        return their_world(self._device, self._kernels)

    def _call(self, z: Tensor, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        return self._forward(z, *args, **named)

    def evaluate(self, z: Tensor, gamma: Tensor, previous: Tensor) -> Tuple[Tensor, Tensor]:
        """Their network, uncounted.

        Args:
            z: float32 [B, L, e].
            gamma: -log SNR [B], float32 or float64.
            previous: self-conditioning [B, L, e] float32.

        Returns:
            logits [B, L, V] and the prediction of the clean embeddings [B, L, e], float32.
        """
        with self.world():
            logits, predicted = self._forward(z, gamma, self.modules["embedding_matrix"](), 1.0, previous)
        return logits, predicted

    def gamma(self, t: Tensor) -> Tensor:
        """Their -log SNR at times [N] float64, on the device: [N] float64."""
        with self.world():
            low, high = self.modules["gamma_bounds"]()
            gamma: Tensor = low + (high - low) * self.modules["noise_schedule"](t).double()
        return gamma

    def check(self, request: GenerateRequest) -> None:
        super().check(request)
        if request.steps < 2:
            raise AdapterError("the authors' samplers of plaid end at t = 0 from two steps on, got steps 1")

    def generate(self, request: GenerateRequest) -> GenerateResult:
        result = super().generate(request)
        rows = prompt_rows(request, self.tokenizer, self.mask_id)
        return replace(result, prompt_kept=prompt_shares(torch.tensor(result.tokens), rows, rows != self.mask_id))

    def sample(self, tokens: Tensor, steps: int, scheduler: str, options: Mapping[str, Any], seed: int) -> Tensor:
        chosen = checked(options)
        wanted = read_wishes(chosen["guidance"], self.tokenizer, chosen["guidance_weight"], tokens.shape[1])
        return self.write(tokens, wanted, steps, scheduler, chosen, seed)

    def write(
        self,
        tokens: Tensor,
        wanted: Sequence[Wish],
        steps: int,
        scheduler: str,
        options: Mapping[str, Any],
        seed: int,
    ) -> Tensor:
        """Run their sampler.

        Args:
            tokens: ids [B, L]; those that are not `mask_id` guide their row to have them there.
            wanted: further guidance, the same for all rows.
            steps, scheduler, seed: as in `GenerateRequest`.
            options: all of `OPTIONS`, checked.

        Returns:
            ids [B, L].
        """
        groups: Dict[Tuple[Wish, ...], List[int]] = {}
        for row, ids in enumerate(tokens.tolist()):
            weight = float(options["guidance_weight"])
            given = [Wish(token, weight, at) for at, token in enumerate(ids) if token != self.mask_id]
            groups.setdefault((*given, *wanted), []).append(row)
        self._arguments.update(
            sampling_timesteps=steps,
            ddim_sampler=SCHEDULERS[scheduler],
            score_temp=options["score_temp"],
            initial_noise_scale=options["initial_noise_scale"],
        )
        out = torch.empty_like(tokens)
        for guidance, rows in groups.items():
            out[rows] = self._run(rows, tokens.shape, guidance, seed)
        return out

    def draw(self, size: Tuple[int, ...]) -> Tensor:
        """Normal numbers as their code draws them: float64 inside `world`."""
        return torch.randn(size, device=self.device)

    def _run(self, rows: Sequence[int], shape: Sequence[int], guidance: Sequence[Wish], seed: int) -> Tensor:
        """Their sampler for some rows of a batch; the noise is that of the whole batch of that seed."""
        size = (shape[0], shape[1], self.size.embed_dim)
        picked = list(rows)

        def drawn(*args: Any, **named: Any) -> Tensor:
            return self.draw(size)[picked]

        torch.manual_seed(seed)
        self._rows = picked
        self._arguments.update(n_samples=len(picked))
        sample = self.code["sample"]
        with self.world(), patched(sample, torch=StandIn(sample.torch, randn=drawn, randn_like=drawn)):
            tokens: Tensor = self._generate([astuple(wish) for wish in guidance], seq_len=shape[1])
        return tokens

    def bound(self, tokens: Tensor) -> HeardBound:
        """One evaluation of their bound on ids [B, L], two network calls; noise from the global generators of torch and
        numpy.

        Raises:
            AdapterError: where the terms heard do not have the mean that it returns.
        """
        train = self.code["train"]
        facts: Dict[str, Any] = {}

        def heard(value: Any, **named: Any) -> Tensor:
            # Their `forward` ends with a tensor of the number of reconstruction rows.
            if isinstance(value, int):
                facts.update(zip(HEARD, their_locals(train, ("forward",), HEARD)))
            return torch.tensor(value, **named)

        def noise(*size: Any, **named: Any) -> Tensor:
            made = torch.randn(*size, **named)
            facts["noise"] = made.clone()  # theirs makes z of it in place
            return made

        self._rows = range(len(tokens))
        with self.world():
            if self._bound is None:
                self._bound = training(self.code, self.modules, self.size)["compute_nll"]
            with patched(train, torch=StandIn(train.torch, tensor=heard, randn=noise)):
                nll = self._bound([tokens], 0)
        facts = {name: fact.detach() if isinstance(fact, Tensor) else fact for name, fact in facts.items()}
        found = HeardBound(nll, facts)
        if not math.isclose(float(found.rows.mean()), nll, rel_tol=HEARD_TOLERANCE):
            raise AdapterError(
                "the authors' bound of plaid returned {}, but the terms heard have the mean {}; is the checkout at the "
                "pinned commit?".format(nll, float(found.rows.mean()))
            )
        return found

    def score(self, tokens: Tensor, estimator: str, draws: int) -> Tuple[Tensor, Tensor]:
        """The mean of `draws` of their bounds, and its error from the spread over the draws.

        Their code takes the first rows of a batch for the reconstruction term and gives the i-th of the others a time
        from the i-th part of [0, 1]. That is right in the mean over a batch, not for a row, so each draw sees the rows
        in a new order. One row at a time it is how they score everything but their validation set.
        """
        np.random.seed(int(torch.randint(2**27, ())))  # beyond 2**28 torch 2.1 and today's draw differently
        values = torch.empty(len(tokens), draws, dtype=torch.float64)
        for draw in range(draws):
            order = torch.randperm(len(tokens))
            values[order, draw] = self.bound(tokens[order.to(tokens.device)]).rows.cpu() * tokens.shape[1]
        error = values.std(-1) / draws**0.5 if draws > 1 else torch.full_like(values[:, 0], math.nan)
        return values.mean(-1), error


def checked(options: Mapping[str, Any]) -> Dict[str, Any]:
    """Their options with defaults, `guidance` as it is given.

    Raises:
        AdapterError: for a value that makes no sense.
    """
    chosen = {**OPTIONS, **{name: value for name, value in options.items() if name in OPTIONS}}
    for name in ("score_temp", "initial_noise_scale", "guidance_weight"):
        value = chosen[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise AdapterError("{} is '{}', not a number".format(name, value))
        if name == "score_temp" and value <= 0:
            raise AdapterError(
                "score_temp is '{}' but must be above 0: the predicted noise is divided by it".format(value)
            )
    return chosen


def load(spec: LoadSpec) -> PlaidUpstream:
    """Load a checkpoint with the authors' code.

    Raises:
        AdapterError: for a missing checkout or package, a dtype their code has not, or a wrong tokenizer.
        CheckpointError: for weights that are missing or that their code does not take.
    """
    if spec.upstream is None:
        raise AdapterError("the upstream engine of plaid needs a checkout of the authors' code: upstream.path=FOLDER.")
    if spec.checkpoint is None:
        raise AdapterError("plaid needs a checkpoint: name one, or give a folder.")
    own = "bfloat16" if spec.device.startswith("cuda") else "float32"
    if spec.dtype != own:
        raise AdapterError(
            "the authors' network of plaid always computes in {} on {}, got dtype {}: give dtype={}".format(
                own, spec.device, spec.dtype, own
            )
        )
    states = {name: _read(file_of(spec.checkpoint, name)) for name in STORED}
    named = settings(spec.checkpoint, spec.options)
    shapes = {module: {name: tuple(t.shape) for name, t in state.items()} for module, state in states.items()}
    size = size_of(spec.checkpoint, shapes, named.get("n_heads"))
    length = row_length(spec.checkpoint, size, named)
    kernels = stand_ins()
    with their_world(spec.device, kernels):
        code = import_modules(spec.upstream, MODULES, MODEL, PACKAGES, kernels)
    try:
        return PlaidUpstream(code, kernels, states, size, length, spec)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError("the authors' code does not take {}: {}".format(spec.checkpoint, reason)) from None


def _read(file: Path) -> Dict[str, Tensor]:
    """One of their state dicts, onto the CPU; runs no code of the file."""
    state = read_weights(file)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError("{} holds something else than named tensors: it is no Plaid checkpoint.".format(file))
    return dict(state)
