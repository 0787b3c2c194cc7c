"""What the upstream engines share: importing the authors' code from a checkout, and presenting it as a `Model`.

Python 3.8 syntax with stdlib and torch: this runs inside old images too.
"""

from __future__ import annotations

import contextlib
import importlib
import platform
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from adapters.base import (
    AdapterError,
    CountedNetwork,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    Model,
    NotAvailable,
)
from adapters.texts import bounds_of_texts, check_vocabulary, decode_rows, prompt_rows
from adapters.tokenizers import Tokenizer


def import_modules(
    checkout: Path,
    names: Sequence[str],
    model: str,
    packages: Sequence[str],
    shims: Optional[Mapping[str, ModuleType]] = None,
) -> Dict[str, ModuleType]:
    """Import the authors' modules from a checkout, writing nothing into it.

    Their names ("model", "utils", ...) are common, so the modules are taken out of `sys.modules` again: two checkouts
    can live in one process, and nothing of theirs is found by accident. Code of theirs that imports a module of theirs
    later, inside a function, does not find it.

    Args:
        checkout: root of their repository.
        names: their modules to import, in this order.
        model: name of our model, for messages.
        packages: what their code needs besides torch, as pip calls it.
        shims: stand-ins for packages of others, by import name, for the time of the import.

    Returns:
        the modules by name.

    Raises:
        AdapterError: for a checkout that lacks a module, a package that is not installed, or a Python or torch that
            their code was not written for.
    """
    if not checkout.is_dir():
        raise AdapterError(f"checkout {checkout} of the authors' code of {model} does not exist.")
    own = {path.stem for path in checkout.iterdir() if path.is_dir() or path.suffix == ".py"}
    replaced = own | set(shims or {})
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in replaced}
    for name in before:
        del sys.modules[name]
    writes = sys.dont_write_bytecode
    for name, shim in (shims or {}).items():
        # torch 2.1 and transformers ask whether such packages are there, and are upset by a module without.
        shim.__spec__ = shim.__spec__ or ModuleSpec(name, None)
    try:
        sys.modules.update(shims or {})
        sys.path.insert(0, str(checkout))
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        return {name: importlib.import_module(name) for name in names}
    except ImportError as error:
        raise _import_problem(error, checkout, own, names, model, packages) from error
    except (SyntaxError, TypeError, AttributeError, NameError) as error:
        # What code written for a newer Python or another torch raises while it is read.
        reason = " ".join(str(error).split())
        raise AdapterError(
            f"the authors' code of {model} cannot be imported in Python {platform.python_version()} with torch "
            f"{torch.__version__} ({type(error).__name__}: {reason}): use the image containers/{model}."
        ) from error
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(str(checkout))
        for name in [name for name in sys.modules if name.split(".")[0] in replaced]:
            del sys.modules[name]
        sys.modules.update(before)


def _import_problem(
    error: ImportError, checkout: Path, own: Iterable[str], names: Sequence[str], model: str, packages: Sequence[str]
) -> AdapterError:
    missing = (error.name or "").split(".")[0]
    if missing in own or missing in {name.split(".")[0] for name in names}:
        return AdapterError(
            f"checkout {checkout} is not the authors' code of {model} at the pinned commit: {error}. "
            f"Clone it anew with tdbench fetch --upstream {model}."
        )
    what = f"the package '{missing}', which is not installed"
    if not isinstance(error, ModuleNotFoundError):
        what = "another version of the package '{}' ({})".format(missing, " ".join(str(error).split()))
    return AdapterError(
        "the authors' code of {} needs {}: pip install {}, or use the image containers/{}, which has it.".format(
            model, what, " ".join(packages), model
        )
    )


class StandIn:
    """A stand-in for a module: some names replaced, every other attribute the module's own."""

    def __init__(self, module: Any, **names: Any) -> None:
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextlib.contextmanager
def patched(module: ModuleType, **names: Any) -> Iterator[None]:
    """Names of a module replaced for a while."""
    before = {name: getattr(module, name) for name in names}
    module.__dict__.update(names)
    try:
        yield
    finally:
        module.__dict__.update(before)


def their_locals(module: ModuleType, functions: Tuple[str, ...], names: Tuple[str, ...]) -> List[Any]:
    """Local variables of the nearest calling function of theirs.

    What their samplers do not hand out (which sequences an evaluation is for, the state before a step) is read there.

    Raises:
        AdapterError: where no caller is such a function, or it has no such variable.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in functions and frame.f_code.co_filename == module.__file__:
            found = frame.f_locals
            if all(name in found for name in names):
                return [found[name] for name in names]
            break
        frame = frame.f_back  # type: ignore[assignment]
    raise AdapterError(
        f"the authors' {module.__name__}.py has no {' or '.join(functions)} with the variables {', '.join(names)}; "
        "is the checkout at the pinned commit?"
    )


class UpstreamModel(Model):
    """The authors' code behind the common interface. A model's engine implements `sample` and `score`.

    A model whose requests are no rows of tokens with holes (a source, of which a text is written) overrides `generate`;
    one without a bound lists no estimators and leaves `score` as it is.

    Args:
        name: name of the model, for messages.
        tokenizer: ids 0..V-1.
        mask_id: V, the id of what is to be written: the mask of a masked model; a Gaussian one never sees it.
        counted: their network; the only way to it.
        device: torch device name.
        length: longest sequence in tokens the checkpoint was made for, and the default one.
        parameter_count: trained parameters.
        tasks, schedulers, estimators: what their code can do.
        notes: remarks for the rows of this checkpoint.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        mask_id: int,
        counted: CountedNetwork,
        device: str,
        length: int,
        parameter_count: int,
        tasks: Sequence[str],
        schedulers: Sequence[str],
        estimators: Sequence[str],
        notes: Sequence[str] = (),
    ) -> None:
        check_vocabulary(tokenizer, mask_id)
        self.name = name
        self.tokenizer = tokenizer
        self.mask_id = mask_id
        self.counted = counted
        self.device = device
        self.max_length = length
        self.default_length = length
        self.parameter_count = parameter_count
        self.tasks = tuple(tasks)
        self.schedulers = tuple(schedulers)
        self.estimators = tuple(estimators)
        self.notes = tuple(notes)

    @property
    def networks(self) -> List[CountedNetwork]:
        return [self.counted]

    def sample(self, tokens: Tensor, steps: int, scheduler: str, options: Mapping[str, Any], seed: int) -> Tensor:
        """Run one of the authors' samplers.

        Args:
            tokens: ids [B, L] on the device, `mask_id` where something is to be written.
            steps, scheduler, options, seed: as in `GenerateRequest`.

        Returns:
            ids [B, L]. `counted`, reset for B sequences before the call, has counted every evaluation.
        """
        raise NotImplementedError

    def score(self, tokens: Tensor, estimator: str, draws: int) -> Tuple[Tensor, Tensor]:
        """Evaluate one of the authors' losses or bounds, noise drawn by their code from torch's global generator.

        Args:
            tokens: clean ids [R, L] on the device.
            estimator: one of `estimators`.
            draws: evaluations a sequence.

        Returns:
            nats [R] and their Monte-Carlo standard errors [R] (NaN where unknown), float64. `counted`, reset for R
            sequences before the call, has counted every evaluation.
        """
        raise NotImplementedError

    def check(self, request: GenerateRequest) -> None:
        if request.task not in self.tasks:
            raise AdapterError(self._lacks("task", request.task, self.tasks))
        if request.scheduler not in self.schedulers:
            raise AdapterError(self._lacks("scheduler", request.scheduler, self.schedulers))
        if not 1 <= request.length <= self.default_length:
            raise AdapterError(
                f"length {request.length} is outside 1..{self.default_length}, what this checkpoint was trained for"
            )
        if request.steps < 1:
            raise AdapterError(f"steps must be 1 or more, got {request.steps}")
        if request.trace:
            raise NotAvailable(f"the authors' sampler of {self.name} hands out no intermediate states")

    def _lacks(self, what: str, wanted: str, known: Sequence[str]) -> str:
        return "the authors' code of {} has no {} '{}', only {}".format(self.name, what, wanted, ", ".join(known))

    @torch.no_grad()
    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.check(request)
        tokens = prompt_rows(request, self.tokenizer, self.mask_id).to(self.device)
        given = (tokens != self.mask_id).sum(-1)
        self.counted.reset(request.count)
        tokens = self.sample(tokens, request.steps, request.scheduler, request.options, request.seed)
        return GenerateResult(
            tokens=tokens.tolist(),
            texts=decode_rows(self.tokenizer, tokens),
            nfe=list(self.counted.nfe),
            generated_tokens=(request.length - given).tolist(),
        )

    @torch.no_grad()
    def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        def score(tokens: Tensor, draws: int) -> Tuple[Tensor, Tensor, Mapping[str, Tensor]]:
            nats, errors = self.score(tokens.to(self.device), request.estimator, draws)
            return nats, errors, {}

        if self.estimators and request.estimator not in self.estimators:
            raise AdapterError(self._lacks("likelihood estimator", request.estimator, self.estimators))
        torch.manual_seed(request.seed)
        return bounds_of_texts(request, self.estimators, score, self.counted, self.tokenizer, self.default_length)
