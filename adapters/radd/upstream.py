"""The authors' RADD behind the common interface: their loaders, network, samplers and losses, run as they are.

What is replaced, for a while and inside their modules only:

- sampling.torch, where `sampler_dtype` is float32: their sampler asks for a float16 buffer whatever the network
  computes in (sampling.py, direct_sample); the stand-in's float16 is float32.
- load_model.torch, for a training run: the stand-in's `load` reads original and converted files and runs nothing in
  them. Its optimizer holds a numpy number, which torch 2.1 of their image can only read once it is converted.
- the network, given to their samplers and losses wrapped: counted, and with outputs in `sampler_dtype`. On a GPU their
  autocast gives float16; on a CPU it does nothing, and their float16 buffer then refuses the float32 outputs.

Their flash-attn is pinned but never imported. Their loader of a Hub folder reads model.safetensors alone with current
huggingface_hub versions, so pytorch_model.bin is read here, into their network.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple

import torch
from torch import Tensor

from adapters.base import TEXT_TASKS, AdapterError, CheckpointError, CountedNetwork, LoadSpec
from adapters.radd.layout import CONFIG, NUMPY_NUMBER, OLD_WEIGHTS, RUN_CONFIG, RUN_WEIGHTS, WEIGHTS
from adapters.radd.recording import record
from adapters.tokenizers import load_tokenizer
from adapters.upstream import StandIn, UpstreamModel, import_modules, patched, their_locals
from adapters.weights import read_safetensors, read_weights, weight_file

__all__ = ["RaddUpstream", "load", "record"]

#: Their modules that are imported; utils, model.ema, model.transformer and model.rotary come with them.
TASKS = TEXT_TASKS
MODULES = ("model", "noise_lib", "catsample", "sampling", "losses", "load_model")
PACKAGES = ("einops", "omegaconf", "huggingface_hub", "safetensors")
SCHEDULERS = ("radd_direct", "radd_ordered")
#: Their names of the losses (losses.py, get_loss_fn).
LOSSES = {"lambda_dce": "lambda_DCE", "t_dce": "t_DCE", "t_dse": "t_DSE", "k_dce": "k_DCE"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULTS = {"method": "tweedie", "strategy": "direct", "strategy_para": 0.8, "sampler_dtype": "float16"}
CHOICES = {
    "method": ("tweedie", "euler"),
    "strategy": ("direct", "top_p", "top_k"),
    "sampler_dtype": ("float16", "float32"),
    "order": ("forward", "backward", "random"),
}
#: Where OrderedSampler is given no order it draws one for so many positions, whatever the length (sampling.py).
THEIR_LENGTH = 1024


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of their `torch.cuda.amp.autocast` (deprecated, and without effect where CUDA is not) and of
    their source."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.cuda.amp.autocast.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*CUDA is not available.*")
        warnings.filterwarnings("ignore", message=".*CUDA autocast.*")
        warnings.filterwarnings("ignore", message=".*invalid escape sequence.*")  # in a text of noise_lib.py
        yield


@contextlib.contextmanager
def half_known() -> Iterator[None]:
    """Old torch has some of float16, their samplers' own arithmetic, on CUDA alone (2.1: softmax)."""
    try:
        yield
    except RuntimeError as error:
        if "not implemented for 'Half'" not in str(error):
            raise
        raise AdapterError(
            f"torch {torch.__version__} does not have all of float16 on the CPU ({error}): "
            "give options={sampler_dtype: float32}."
        ) from None


class SeenNetwork:
    """Their network as their samplers and losses see it.

    Args:
        counted: calls their network; takes the name of the method after the ids.
        rows: which sequences of the batch a call with so many ids is for.
        dtype: of the outputs; None for what the network gives.
    """

    def __init__(
        self, counted: CountedNetwork, rows: Callable[[int], List[int]], dtype: Optional[torch.dtype] = None
    ) -> None:
        self._counted = counted
        self._rows = rows
        self.dtype = dtype

    def eval(self) -> SeenNetwork:
        """Their samplers call it; the network is in eval mode since it was loaded."""
        return self

    def _call(self, tokens: Tensor, method: str) -> Tensor:
        out: Tensor = self._counted(self._rows(len(tokens)), tokens, method)
        return out if self.dtype is None else out.to(self.dtype)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of the tokens, and the mask's raw logit: ids [R, L] -> [R, L, V + 1]."""
        return self._call(tokens, "forward")

    def logits(self, tokens: Tensor) -> Tensor:
        """Raw logits: ids [R, L] -> [R, L, V + 1]."""
        return self._call(tokens, "logits")


class RaddUpstream(UpstreamModel):
    """The authors' code with one checkpoint.

    Args:
        code: their modules by name.
        network: their RADD, in eval mode on its device.
        noise: their noise schedule.
        spec: what was loaded.
    """

    def __init__(self, code: Mapping[str, ModuleType], network: Any, noise: Any, spec: LoadSpec) -> None:
        self.code = code
        self.network = network
        self.noise = noise
        tokens = int(network.config.tokens)
        super().__init__(
            name="radd",
            tokenizer=load_tokenizer(spec.tokenizer, spec.checkpoint),
            mask_id=tokens,
            counted=CountedNetwork(self.evaluate, spec.device),
            device=spec.device,
            length=int(network.config.model.length),
            parameter_count=sum(p.numel() for p in network.parameters()),
            tasks=TASKS,
            schedulers=SCHEDULERS,
            estimators=tuple(LOSSES),
        )

    def evaluate(self, tokens: Tensor, method: str) -> Tensor:
        """Their network, uncounted: ids [R, L] -> [R, L, V + 1]; `method` is "logits" or "forward"."""
        with quiet():
            out: Tensor = self.network(tokens) if method == "forward" else self.network.logits(tokens)
        return out

    def changed_rows(self, count: int) -> List[int]:
        """Sequences of the evaluation under way: their sampler knows them in its local `changed` alone."""
        (changed,) = their_locals(self.code["sampling"], ("direct_sample", "strateged_sample"), ("changed",))
        rows: List[int] = changed.nonzero().flatten().tolist()
        if len(rows) != count:
            raise AdapterError(
                f"the authors' sampler evaluates {count} sequences but names {len(rows)}; "
                "is the checkout at the pinned commit?"
            )
        return rows

    def sample(self, tokens: Tensor, steps: int, scheduler: str, options: Mapping[str, Any], seed: int) -> Tensor:
        chosen = checked(options, self.mask_id + 1)
        torch.manual_seed(seed)
        with half_known():
            if scheduler == "radd_ordered":
                return self._ordered(tokens, steps, chosen)
            return self._diffused(tokens, steps, chosen)

    def _diffused(self, tokens: Tensor, steps: int, chosen: Mapping[str, Any]) -> Tensor:
        dtype = DTYPES[chosen["sampler_dtype"]]
        given = tokens != self.mask_id
        sampling = self.code["sampling"]
        sampler = sampling.DiffusionSampler(
            chosen["method"],
            SeenNetwork(self.counted, self.changed_rows, dtype),
            self.noise,
            tuple(tokens.shape),
            self.mask_id + 1,
            chosen["strategy"],
            chosen["strategy_para"],
            device=torch.device(self.device),
        )
        with patched(sampling, torch=StandIn(torch, float16=dtype)):
            result: Tensor = sampler.sample(steps, lambda x: torch.where(given, tokens, x))
        return result

    def _ordered(self, tokens: Tensor, steps: int, chosen: Mapping[str, Any]) -> Tensor:
        batch, length = tokens.shape
        if (tokens != self.mask_id).any():
            raise AdapterError("the authors' OrderedSampler overwrites given tokens: it has no prefix or infill task")
        if steps > length:
            raise AdapterError(f"radd_ordered writes one token a step: {steps} steps are more than the length {length}")
        sampler = self.code["sampling"].OrderedSampler(
            SeenNetwork(self.counted, lambda count: list(range(count)), DTYPES[chosen["sampler_dtype"]]),
            (batch, length),
            self.mask_id + 1,
            chosen["strategy"],
            chosen["strategy_para"],
            _order(chosen.get("order", "forward"), length),
            torch.device(self.device),
        )
        result: Tensor = sampler.sample(steps)
        return result

    def loss(self, name: str, tokens: Tensor) -> Tensor:
        """One draw of one of their losses, nats a sequence: ids [R, L] -> [R]."""
        seen = SeenNetwork(self.counted, lambda count: list(range(count)))
        loss_fn = self.code["losses"].get_loss_fn(self.noise, self.mask_id + 1, False, loss_type=LOSSES[name])
        value: Tensor = loss_fn(seen, tokens)
        return value

    def score(self, tokens: Tensor, estimator: str, draws: int) -> Tuple[Tensor, Tensor]:
        """The mean of `draws` of their losses, and its error from the spread over the draws.

        For lambda_dce their code gives the i-th row of a batch a noise level from the i-th part of (0, 1] (losses.py,
        "decoupled"). That is right in the mean over a batch, not for a row, so each draw sees the rows in a new order.
        """
        values = torch.empty(len(tokens), draws, dtype=torch.float64)
        for draw in range(draws):
            order = torch.randperm(len(tokens))
            values[order, draw] = self.loss(estimator, tokens[order.to(tokens.device)]).double().cpu()
        error = values.std(-1) / draws**0.5 if draws > 1 else torch.full_like(values[:, 0], float("nan"))
        return values.mean(-1), error


def checked(options: Mapping[str, Any], classes: int) -> Dict[str, Any]:
    """Their options with defaults. Raises `AdapterError` for one they do not have."""
    chosen = {**DEFAULTS, **{name: value for name, value in options.items() if name in DEFAULTS or name == "order"}}
    for name, known in CHOICES.items():
        if name in chosen and chosen[name] not in known:
            raise AdapterError(f"{name} '{chosen[name]}' is not one of {', '.join(known)}")
    para = chosen["strategy_para"]
    if chosen["strategy"] == "top_p" and not 0 < para <= 1:
        raise AdapterError(f"strategy_para is p for top_p and must be above 0 and at most 1, got {para}")
    if chosen["strategy"] == "top_k" and not (para == int(para) and 1 <= para < classes):
        raise AdapterError(
            f"strategy_para is k for top_k and must be a whole number from 1 to {classes - 1}, got {para}"
        )
    return chosen


def _order(name: str, length: int) -> Optional[Tensor]:
    if name == "random":
        return None if length == THEIR_LENGTH else torch.randperm(length)
    order = torch.arange(length)
    return order if name == "forward" else order.flip(0)


def load(spec: LoadSpec) -> RaddUpstream:
    """Load a checkpoint with the authors' code.

    Raises:
        AdapterError: for a missing checkout or package, a dtype their code has not, or a wrong tokenizer.
        CheckpointError: for weights that their loader cannot read, or reads in part only.
    """
    if spec.upstream is None:
        raise AdapterError("the upstream engine of radd needs a checkout of the authors' code: upstream.path=FOLDER.")
    if spec.checkpoint is None:
        raise AdapterError("radd needs a checkpoint: name one, or give a folder.")
    if spec.dtype not in DTYPES:
        raise AdapterError(f"radd computes in {', '.join(DTYPES)}, not in '{spec.dtype}'.")
    if spec.dtype != "float32" and not spec.device.startswith("cuda"):
        raise AdapterError(
            f"the authors' code of radd computes in {spec.dtype} on CUDA only; dtype=float32 on the CPU."
        )
    with quiet():
        code = import_modules(spec.upstream, MODULES, "radd", PACKAGES)
    network, noise = _load_network(code, spec.checkpoint, torch.device(spec.device))
    network.dtype = DTYPES[spec.dtype]  # their autocast's; the config's value is the authors' float16
    return RaddUpstream(code, network.eval(), noise, spec)


def _load_network(code: Mapping[str, ModuleType], path: Path, device: torch.device) -> Tuple[Any, Any]:
    """(their network, their noise) from a Hub folder or a training run."""
    loader = code["load_model"]
    try:
        if (path / RUN_CONFIG).is_file():
            with patched(loader, torch=StandIn(torch, load=_load_run)):
                return loader.load_model_local(str(path), device)
        if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
            stored = set(read_safetensors(path / WEIGHTS))
            network, noise = loader.load_model_hf(str(path), device)
            _check_names(network, stored, path)
            return network, noise
        old = weight_file(path, OLD_WEIGHTS)
        if (path / CONFIG).is_file() and old.is_file():
            network = code["model"].RADD(json.loads((path / CONFIG).read_text(encoding="utf-8"))).to(device)
            network.load_state_dict(read_weights(old))
            return network, code["noise_lib"].get_noise(network.config).to(device)
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, EOFError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise CheckpointError(f"the authors' loader refuses {path}: {type(error).__name__}: {reason}") from error
    raise CheckpointError(
        f"checkpoint {path} is none that the authors' loader reads: it needs {CONFIG} and {WEIGHTS} (Hub), or "
        f"{RUN_CONFIG} and {RUN_WEIGHTS} (training run; a single snapshot is read by the native engine only)."
    )


def _load_run(file: Any, map_location: Any = None) -> Any:
    """Stands for `torch.load` of a training run's file; what is on the CPU, their code copies to the device."""
    return read_weights(weight_file(Path(file).parent, Path(file).name), NUMPY_NUMBER)


def _check_names(network: Any, stored: Set[str], path: Path) -> None:
    """Their Hub loader leaves what a file lacks at its random start and says nothing; such a file is refused here."""
    missing = sorted(set(dict(network.named_parameters())) - stored)
    foreign = sorted(stored - set(network.state_dict()))
    if missing or foreign:
        raise CheckpointError(
            f"checkpoint {path} holds another model's weights: {len(missing)} RADD tensors missing, {len(foreign)} "
            "unknown."
        )
