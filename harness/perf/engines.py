"""Both engines on the same work: seconds in one process, in turn; peak memory in a new process for every run."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from adapters.base import AdapterError, LoadSpec, Model
from adapters.cards import get_card
from harness.errors import UserError
from harness.perf.cases import PerfCase, texts_of, write_checkpoint
from harness.worker.measure import PeakMemory

#: Rows and columns of the matrix product that stands for the machine's speed, and how often it is made.
PEAK_SIZE, PEAK_ROUNDS = 2048, 9
#: Stands for the likelihood evaluation where a scheduler's name is wanted.
LIKELIHOOD = "likelihood"
THREADS = 1
#: An engine, and a scheduler of it or LIKELIHOOD.
Run = tuple[str, str]


@dataclass(frozen=True)
class Cost:
    """What one run takes an engine.

    Attributes:
        seconds: wall-clock, the median of the rounds.
        outside: share of it that was not spent in the network, the median of the rounds.
        nfe: evaluations, all sequences together.
        memory: peak resident set in bytes, None where the machine does not tell.
    """

    seconds: float
    outside: float
    nfe: int
    memory: int | None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        case: the network and the size of the run.
        work: our scheduler and the authors', or the estimator.
        native: our cost.
        upstream: the authors' cost, None without a checkout.
        products: seconds of the matrix products of our linear layers alone, at the speed of one large product.
    """

    case: PerfCase
    work: str
    native: Cost
    upstream: Cost | None
    products: float

    @property
    def ratio(self) -> float | None:
        """How many times faster we are; None without a checkout."""
        return self.upstream.seconds / self.native.seconds if self.upstream else None


def machine_speed() -> float:
    """Multiplications and additions a second in one large float32 matrix product, the best of some."""
    matrix = torch.rand(PEAK_SIZE, PEAK_SIZE)
    return 2 * PEAK_SIZE**3 / min(_seconds(lambda: matrix @ matrix) for _ in range(PEAK_ROUNDS))


def measure(case: PerfCase, checkout: Path | None, rounds: int, speed: float, folder: Path) -> Iterator[Row]:
    """Run one case on both engines.

    Args:
        case: what is run.
        checkout: the authors' code; None leaves their side out.
        rounds: timed runs of each engine, in turn, after one that is not timed.
        speed: as `machine_speed` gives it.
        folder: an empty folder for the checkpoint.

    Raises:
        UserError: when an engine refuses to load or to run.
    """
    write_checkpoint(case, folder)
    texts = texts_of(case, folder)
    sides = {"native": LoadSpec(folder, tokenizer=case.tokenizer)}
    if checkout:
        sides["upstream"] = LoadSpec(folder, tokenizer=case.tokenizer, upstream=checkout)
    try:
        models = {engine: _load(case, engine, spec) for engine, spec in sides.items()}
        calls = {run: _call(models[run[0]], case, run[1], texts) for run in _runs(case) if run[0] in models}
        memory = {run: _memory(case, run[0], sides[run[0]], run[1], texts) for run in calls}
        costs = _in_turn(models, calls, rounds, memory)
        for ours, theirs in _work(case):
            work = f"likelihood {case.estimator}" if ours == LIKELIHOOD else f"{ours} / {theirs}"
            with FlopCounterMode(display=False) as counter:
                calls["native", ours]()
            products = counter.get_total_flops() / speed
            yield Row(case, work, costs["native", ours], costs.get(("upstream", theirs)), products)
    except AdapterError as error:
        raise UserError(str(error)) from None


def _work(case: PerfCase) -> list[tuple[str, str]]:
    """What is compared: our scheduler and theirs, and the likelihood where there is one."""
    return [*case.pairs, *([(LIKELIHOOD, LIKELIHOOD)] if case.estimator else [])]


def _runs(case: PerfCase) -> list[Run]:
    """What is timed, each once: every scheduler of the pairs on its side, and the likelihood on both."""
    return list(dict.fromkeys(run for ours, theirs in _work(case) for run in (("native", ours), ("upstream", theirs))))


def _load(case: PerfCase, engine: str, spec: LoadSpec) -> Model:
    with contextlib.redirect_stdout(sys.stderr):  # the authors' loaders print what they do
        model: Model = import_module(get_card(case.model).offer(engine).module).load(spec)
    return model


def _call(model: Model, case: PerfCase, scheduler: str, texts: tuple[str, ...]) -> Callable[[], list[int]]:
    """One run of a scheduler, or the likelihood evaluation; it returns the evaluations of each sequence."""
    if scheduler == LIKELIHOOD:
        return lambda: model.likelihood(case.likelihood(texts)).nfe
    return lambda: model.generate(case.sampling(scheduler)).nfe


def _in_turn(
    models: Mapping[str, Model],
    calls: Mapping[Run, Callable[[], list[int]]],
    rounds: int,
    memory: Mapping[Run, int | None],
) -> dict[Run, Cost]:
    """Time the runs in turn, so that whatever else the machine does meets both engines."""
    seconds: dict[Run, list[float]] = {run: [] for run in calls}
    outside: dict[Run, list[float]] = {run: [] for run in calls}
    nfe: dict[Run, int] = {}
    for index in range(rounds + 1):
        for run, call in calls.items():
            start = time.perf_counter()
            nfe[run] = sum(call())
            took = time.perf_counter() - start
            if index:
                seconds[run].append(took)
                outside[run].append(1 - models[run[0]].networks[0].seconds / took)
    return {
        run: Cost(statistics.median(seconds[run]), statistics.median(outside[run]), nfe[run], memory[run])
        for run in calls
    }


def _memory(case: PerfCase, engine: str, spec: LoadSpec, scheduler: str, texts: tuple[str, ...]) -> int | None:
    """Peak resident set of one run in a process that does nothing else; loading is not part of it."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_peak, case, engine, spec, scheduler, texts).result()


def _peak(case: PerfCase, engine: str, spec: LoadSpec, scheduler: str, texts: tuple[str, ...]) -> int | None:
    torch.set_num_threads(THREADS)
    call = _call(_load(case, engine, spec), case, scheduler, texts)
    memory = PeakMemory("cpu")
    memory.reset()
    call()
    return memory.read()


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
