"""From a configuration to points and jobs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from adapters.cards import Card, SchedulerCard, all_cards, get_card
from harness.benchmarks import Benchmark, BenchmarkData, get_benchmark
from harness.checkpoints import ResolvedCheckpoint, resolve
from harness.config import BenchConfig
from harness.errors import UserError, unknown
from harness.store import Record

#: Steps of a warm-up call where the scheduler accepts any number.
WARMUP_STEPS = 2


@dataclass(frozen=True)
class Job:
    """The points which share one loaded model.

    Attributes:
        name: folder name below jobs/.
        adapter: importable adapter module.
        checkpoint_sha256: digest of the weights, "" where there are none.
        load: fields of `adapters.base.LoadSpec`, data excepted.
        points: in the order they run.
    """

    name: str
    adapter: str
    checkpoint_sha256: str
    load: Record
    points: list[Record]


@dataclass(frozen=True)
class Plan:
    """Everything one invocation will do.

    Attributes:
        benchmark: what is run.
        jobs: in order.
        notes: sentences for the user about what was settled for them.
    """

    benchmark: Benchmark
    jobs: list[Job]
    notes: list[str]

    @property
    def points(self) -> list[Record]:
        return [point for job in self.jobs for point in job.points]


def make_plan(config: BenchConfig, data: BenchmarkData | None = None) -> Plan:
    """Points and jobs of a configuration; loads nothing.

    Args:
        config: validated configuration.
        data: the prepared benchmark data, whose digest is part of each fingerprint; None to check the configuration
            only.

    Raises:
        UserError: for a name, step count, length or option that no model could run.
    """
    benchmark = get_benchmark(config.benchmark)
    notes: list[str] = []
    jobs = []
    for card in chosen_cards(config):
        checkpoint = resolve(card, checkpoint_name(config, card), config.tokenizer)
        builder = _PointBuilder(config, benchmark, card, checkpoint, data, notes)
        jobs.append(builder.job())
    return Plan(benchmark=benchmark, jobs=jobs, notes=list(dict.fromkeys(notes)))


def chosen_cards(config: BenchConfig) -> list[Card]:
    """The models a configuration names (or all that have its checkpoint), then the controls."""
    cards = [get_card(name) for name in config.model]
    if not cards:
        cards = [card for card in all_cards().values() if card.role != "control" and _has_checkpoint(config, card)]
        cards.sort(key=lambda card: (card.role == "baseline", card.name))
    controls = [get_card(name) for name in config.controls]
    return list({card.name: card for card in [*cards, *controls]}.values())


def _has_checkpoint(config: BenchConfig, card: Card) -> bool:
    if isinstance(config.checkpoint, dict):
        return card.name in config.checkpoint
    return config.checkpoint in card.checkpoints


def checkpoint_name(config: BenchConfig, card: Card) -> str:
    """Which checkpoint a configuration wants of a model; controls have one of their own."""
    if card.role == "control":
        return next(iter(card.checkpoints))
    if isinstance(config.checkpoint, dict):
        return str(config.checkpoint.get(card.name, "tiny"))
    return str(config.checkpoint)


class _PointBuilder:
    """The points of one model with one checkpoint."""

    def __init__(
        self,
        config: BenchConfig,
        benchmark: Benchmark,
        card: Card,
        checkpoint: ResolvedCheckpoint,
        data: BenchmarkData | None,
        notes: list[str],
    ) -> None:
        self.config = config
        self.benchmark = benchmark
        self.card = card
        self.checkpoint = checkpoint
        self.notes = notes
        self.references = data.references if data else None
        self.device = resolve_device(config.device)
        self.length = config.length or checkpoint.length or benchmark.length
        self.identity = {
            "code": card.code_digest(),
            "checkpoint": checkpoint.digest,
            "data": data.digest if data else None,
            "torch": metadata.version("torch"),
        }

    def job(self) -> Job:
        points = [*self._generate_points(), *self._likelihood_points()]
        checkpoint = self.checkpoint
        load: Record = {
            "checkpoint": str(checkpoint.path) if checkpoint.path else None,
            "device": self.device,
            "dtype": self.config.dtype,
            "tokenizer": checkpoint.tokenizer,
            "options": {"length": self.length, **checkpoint.options},
        }
        key = [self.card.name, load, self.identity, self.benchmark.name]
        name = f"{self.card.name}-{_digest(key)[:8]}"
        for point in points:
            point["job"] = name
        adapter = f"{self.card.module}.adapter"
        return Job(name, adapter, checkpoint.digest, load, points)

    def _base(self, kind: str) -> Record:
        return {
            "model": self.card.name,
            "role": self.card.role,
            "checkpoint": self.checkpoint.name,
            "checkpoint_kind": self.checkpoint.kind,
            "engine": self.config.engine,
            "runtime": self.config.runtime,
            "benchmark": self.benchmark.name,
            "kind": kind,
            "task": None,
            "scheduler": None,
            "steps": None,
            "estimator": None,
            "length": self.length,
            "batch_size": self.config.batch_size,
            "device": self.device,
            "dtype": self.config.dtype,
            "trace": self.config.trace,
        }

    def _sealed(self, point: Record) -> Record:
        return {"fingerprint": _digest([point, self.identity])[:16], **point}

    def _generate_points(self) -> Iterator[Record]:
        for task in self._tasks():
            for scheduler in self._schedulers():
                if scheduler.tasks and task not in scheduler.tasks:
                    raise UserError(
                        f"{scheduler.name} of {self.card.name} has no task '{task}', only {', '.join(scheduler.tasks)}."
                    )
                for steps in self._steps(scheduler):
                    for seed in self.config.seeds:
                        base = self._base("generate")
                        base |= {"task": task, "scheduler": scheduler.name, "steps": steps, "seed": seed}
                        wanted = self.config.samples
                        base["samples"] = wanted if task == "unconditional" else self._held_out(wanted, task)
                        base["options"] = self._options(scheduler)
                        base |= self._warm_up(scheduler, steps)
                        yield self._sealed(base)

    def _warm_up(self, scheduler: SchedulerCard, steps: int) -> Record:
        """A warm-up call: the point's own batch with few steps, or one sequence where the steps are fixed."""
        if scheduler.steps == "any":
            return {"warmup_steps": min(WARMUP_STEPS, steps), "warmup_count": self.config.batch_size}
        return {"warmup_steps": steps, "warmup_count": 1}

    def _likelihood_points(self) -> Iterator[Record]:
        wanted = self.config.likelihood
        if wanted == ["none"] or not self.card.estimators:
            return
        names = list(self.card.estimators)[:1] if wanted == ["default"] else wanted
        for name in names:
            if name not in self.card.estimators:
                self._reject(unknown(f"likelihood estimator of {self.card.name}", name, self.card.estimators))
                continue
            options = {} if self.card.likelihood == "exact" else {"draws": self.config.draws}
            point = self._base("likelihood")
            point |= {"estimator": name, "seed": self.config.seeds[0], "options": options}
            point["samples"] = self._held_out(self.config.likelihood_samples, "likelihood")
            yield self._sealed(point)

    def _held_out(self, wanted: int, use: str) -> int:
        """`wanted`, or as many held-out texts as there are."""
        if self.references is None or wanted <= self.references:
            return wanted
        self.notes.append(f"{use}: {wanted} texts wanted, the held-out part gives {self.references}.")
        return self.references

    def _reject(self, error: UserError) -> None:
        """A wish that a model cannot meet: an error for the models the wish is about, nothing for controls and
        baselines.
        """
        if self.card.role == "model":
            raise error

    def _tasks(self) -> list[str]:
        if self.config.task == ["none"]:
            return []
        for task in self.config.task:
            if task not in self.benchmark.tasks:
                raise unknown(f"task of benchmark {self.benchmark.name}", task, self.benchmark.tasks)
            if task not in self.card.tasks:
                self._reject(unknown(f"task of {self.card.name}", task, self.card.tasks))
        return [task for task in self.config.task if task in self.card.tasks]

    def _schedulers(self) -> list[SchedulerCard]:
        wanted = self.config.schedulers
        known = self.card.schedulers
        defaults = [card for card in known.values() if card.default] or list(known.values())[:1]
        if wanted == ["default"]:
            return defaults
        everywhere = {name for card in all_cards().values() for name in card.schedulers}
        for name in wanted:
            if name not in everywhere:
                raise unknown("scheduler", name, everywhere)
            if name not in known and self.card.role == "model":
                self.notes.append(f"{self.card.name} has no scheduler '{name}': left out.")
        found = [known[name] for name in wanted if name in known]
        if not found and self.card.role == "model":
            raise UserError(
                f"{self.card.name} has none of the schedulers {', '.join(wanted)}. Known: {', '.join(known)}."
            )
        return found or defaults

    def _steps(self, scheduler: SchedulerCard) -> list[int]:
        if scheduler.steps == "fixed_length":
            self.notes.append(f"{scheduler.name} takes one step a token: one point of {self.length} steps.")
            return [self.length]
        if scheduler.steps == "fixed":
            return [self.checkpoint.max_steps or 0]
        most = self._most_steps(scheduler)
        for steps in self.config.steps:
            if steps > most:
                problem = (
                    f"steps {steps} is too many for {scheduler.name} of {self.card.name} ({self.checkpoint.name}), "
                    f"which takes 1 to {most:.0f}"
                )
                # A further default, which the user did not ask for, must not stop the sweep.
                if self.config.schedulers != ["default"] or scheduler == self._schedulers()[0]:
                    raise UserError(f"{problem}.")
                self.notes.append(f"{problem}: left out.")
        return [steps for steps in self.config.steps if steps <= most]

    def _most_steps(self, scheduler: SchedulerCard) -> float:
        own = self.length if scheduler.max_steps == "length" else scheduler.max_steps
        return min(float(own or math.inf), float(self.checkpoint.max_steps or math.inf))

    def _options(self, scheduler: SchedulerCard) -> Record:
        known = scheduler.options
        everywhere = {name for card in all_cards().values() for s in card.schedulers.values() for name in s.options}
        for name in self.config.options:
            if name not in everywhere:
                raise unknown("scheduler option", name, everywhere)
        return {**known, **{name: value for name, value in self.config.options.items() if name in known}}


def resolve_device(device: str) -> str:
    """The torch device name for what the user asked; "auto" takes a GPU where there is one.

    Raises:
        UserError: for a device that is not there.
    """
    import torch  # heavy, and only bench needs it

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise unknown("device", device, ("auto", "cpu", "cuda"))
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device '{device}' asked for, but this machine has no CUDA device that torch can use.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{device}' asked for, but there are {torch.cuda.device_count()} CUDA devices.")
    return device


def threads(config: BenchConfig) -> int:
    """CPU threads of a worker."""
    return int(config.threads or psutil.cpu_count(logical=False) or 1)


def run_name(config: BenchConfig) -> str:
    """The user's name for the run, or one made from the configuration, so that the same command finds the same
    folder.
    """
    if config.run:
        name = str(config.run)
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
            raise UserError(f"run '{name}' is no folder name: use letters, digits, '-', '_' and '.'.")
        return name
    kept = {key: value for key, value in vars(config).items() if key not in ("run", "results", "reports")}
    return f"{config.benchmark}-{_digest(kept)[:8]}"


def batch_count(point: Record) -> int:
    """How many batches a point has."""
    return math.ceil(point["samples"] / point["batch_size"])


def work_of(point: Record) -> int:
    """Relative cost of one batch of a point, for the time left: network evaluations at most."""
    if point["kind"] == "likelihood":
        return max(1, int(point["options"].get("draws", 1)))
    return max(1, min(point["steps"], point["length"]))


def model_names(points: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(point["model"] for point in points))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a fingerprint")
