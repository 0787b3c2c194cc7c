"""From a configuration to points and jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from adapters.cards import Card, all_cards, get_card
from harness.benchmarks import Benchmark, BenchmarkData, get_benchmark
from harness.checkpoints import resolve
from harness.config import BenchConfig
from harness.errors import UserError
from harness.points import Job, PointBuilder, digest_of
from harness.store import Record
from harness.upstream import check_settings


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
    cards = chosen_cards(config)
    check_settings((card.name for card in cards if "upstream" in _engines(config, card)), config)
    for card in cards:
        checkpoint = resolve(card, checkpoint_name(config, card), config.tokenizer)
        for engine in _engines(config, card):
            jobs.append(PointBuilder(config, benchmark, card, engine, checkpoint, data, notes).job())
    return Plan(benchmark=benchmark, jobs=jobs, notes=list(dict.fromkeys(notes)))


def _engines(config: BenchConfig, card: Card) -> list[str]:
    """Engines to run a model with: those asked for; controls and baselines have one and always run with it."""
    if card.role != "model":
        return ["native"]
    for engine in config.engine:
        if engine not in card.engines:
            raise UserError(f"{card.name} has no engine '{engine}', only {', '.join(card.engines)}.")
    return list(config.engine)


def chosen_cards(config: BenchConfig) -> list[Card]:
    """The models a configuration names (or all that have its checkpoint and engines), then the controls."""
    cards = [get_card(name) for name in config.model]
    if not cards:
        cards = [card for card in all_cards().values() if card.role != "control" and _has_checkpoint(config, card)]
        cards = [card for card in cards if card.role == "baseline" or set(config.engine) <= set(card.engines)]
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
    return f"{config.benchmark}-{digest_of(kept)[:8]}"


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
