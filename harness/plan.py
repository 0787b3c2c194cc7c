"""From a configuration to points and jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

from adapters.cards import Card, all_cards, get_card
from harness.benchmarks import Benchmark, BenchmarkData, get_benchmark
from harness.checkpoints import resolve
from harness.choices import Choices, Machine
from harness.config import AUTO, BenchConfig, is_plain_name
from harness.errors import UserError, unknown
from harness.points import Job, PointBuilder, digest_of
from harness.selection import selected_points
from harness.store import Record
from harness.upstream import check_settings
from harness.weights import Download

#: Where neither the user nor a card names a benchmark.
DEFAULT_BENCHMARK = "toy"


@dataclass(frozen=True)
class Plan:
    """Everything one invocation will do.

    Attributes:
        benchmarks: what is run, in order.
        jobs: in order.
        points: of the jobs, then those that are made from others after generation.
        notes: sentences for the user about what was settled for them.
    """

    benchmarks: list[Benchmark]
    jobs: list[Job]
    points: list[Record]
    notes: list[str]

    @property
    def downloads(self) -> list[Download]:
        """Published weights that are not on this machine yet, each once."""
        wanted = [job.download for job in self.jobs if job.download]
        return list({download.place: download for download in wanted if not download.fetched}.values())

    @property
    def images(self) -> list[tuple[str, str]]:
        """Names of the images that are still to be built, each with the device it must serve."""
        places = [job.place for job in self.jobs if job.place.runtime == "docker" and job.place.image is None]
        return list(dict.fromkeys((str(place.image_name), place.device) for place in places))


def make_plan(
    config: BenchConfig, data: Mapping[str, BenchmarkData] | None = None, machine: Machine | None = None
) -> Plan:
    """Points and jobs of a configuration; loads nothing.

    Args:
        config: validated configuration.
        data: the prepared data of each benchmark, whose digest is part of each fingerprint; None to check the
            configuration only.
        machine: what `auto` chooses by; None for this machine.

    Raises:
        UserError: for a name, step count, length or option that no model could run.
    """
    choices = Choices(config, machine or Machine())
    benchmarks = chosen_benchmarks(config, choices)
    _check_wishes(config, benchmarks)
    notes: list[str] = []
    jobs = []
    cards = chosen_cards(config, benchmarks)
    check_settings((card.name for card in cards if "upstream" in _engines(config, card)), config)
    for benchmark in benchmarks:
        for card in cards:
            if not _takes_part(card, benchmark, benchmarks):
                continue
            checkpoint = resolve(card, choices.checkpoint(card), config.tokenizer)
            mine = data[benchmark.name] if data else None
            for engine in _engines(config, card):
                place = choices.place(card, engine, checkpoint.kind == "published")
                jobs.append(PointBuilder(config, benchmark, card, engine, checkpoint, place, mine, notes).job())
    jobs = [job for job in jobs if job.points]
    points = [point for job in jobs for point in job.points]
    chosen = selected_points(points) if config.mbr else []
    return Plan(
        benchmarks=benchmarks,
        jobs=jobs,
        points=points + chosen,
        notes=list(dict.fromkeys([*choices.notes(), *notes])),
    )


def chosen_benchmarks(config: BenchConfig, choices: Choices | None = None) -> list[Benchmark]:
    """The benchmarks a configuration names, or those that the chosen models' checkpoints were made for.

    Raises:
        UserError: for an unknown name, or a local file with several benchmarks.
    """
    names = config.benchmark
    if names == ["default"]:
        choices = choices or Choices(config, Machine())
        models = [card for card in _named_cards(config) if card.role != "control"]
        names = sorted({_home(card, choices.checkpoint(card)) for card in models}) or [DEFAULT_BENCHMARK]
    if len(names) > 1:
        single = {"benchmark.path": config.benchmark_path, "benchmark.options": config.benchmark_options}
        single |= {"data": config.data, "reference": config.reference}
        for key, value in single.items():
            if value:
                raise UserError(f"{key}= is for one benchmark: name it with benchmark=. Here: {', '.join(names)}.")
    return [get_benchmark(name) for name in names]


def _check_wishes(config: BenchConfig, benchmarks: list[Benchmark]) -> None:
    """Refuse a task that no benchmark of the run has, and a likelihood where none has texts for it."""
    names = ", ".join(benchmark.name for benchmark in benchmarks)
    if config.likelihood not in (["default"], ["none"]) and not any(b.references for b in benchmarks):
        raise UserError(f"the benchmark '{names}' has no held-out texts to score: likelihood=none.")
    known = list(dict.fromkeys(task for benchmark in benchmarks for task in benchmark.tasks))
    for task in config.task:
        if task not in ("default", "none", *known):
            raise unknown(f"task of benchmark {names}", str(task), known)


def _home(card: Card, name: str) -> str:
    """The benchmark that a checkpoint of a model was made for; of one that does not say, that of the tiny one."""
    known = [card.checkpoints[key].benchmark for key in (name, "tiny") if key in card.checkpoints]
    return next((benchmark for benchmark in known if benchmark), DEFAULT_BENCHMARK)


def _takes_part(card: Card, benchmark: Benchmark, benchmarks: list[Benchmark]) -> bool:
    """Whether a model runs on a benchmark: where no benchmark of the run has a task of its, the first one says so."""
    having = [b for b in benchmarks if set(b.tasks) & set(card.tasks)] or benchmarks[:1]
    return benchmark in having


def _engines(config: BenchConfig, card: Card) -> list[str]:
    """Engines to run a model with: those asked for; controls and baselines have one and always run with it."""
    if card.role != "model":
        return ["native"]
    for engine in config.engine:
        if engine not in card.engines:
            raise UserError(f"{card.name} has no engine '{engine}', only {', '.join(card.engines)}.")
    return list(config.engine)


def chosen_cards(config: BenchConfig, benchmarks: Iterable[Benchmark]) -> list[Card]:
    """The models a configuration names, or all that have its checkpoint, engines and a task of its benchmarks; then
    the controls.
    """
    cards = _named_cards(config)
    if not config.model:
        tasks = {task for benchmark in benchmarks for task in benchmark.tasks}
        cards = [card for card in cards if tasks & set(card.tasks)]
    controls = [get_card(name) for name in config.controls]
    return list({card.name: card for card in [*cards, *controls]}.values())


def _named_cards(config: BenchConfig) -> list[Card]:
    """The models a configuration names, or all that have its checkpoint and engines, baselines last."""
    if config.model:
        return [get_card(name) for name in config.model]
    cards = [card for card in all_cards().values() if card.role != "control" and _has_checkpoint(config, card)]
    cards = [card for card in cards if card.role == "baseline" or set(config.engine) <= set(card.engines)]
    return sorted(cards, key=lambda card: (card.role == "baseline", card.name))


def _has_checkpoint(config: BenchConfig, card: Card) -> bool:
    if isinstance(config.checkpoint, dict):
        return card.name in config.checkpoint
    return config.checkpoint in (AUTO, *card.checkpoints)


def threads(config: BenchConfig) -> int:
    """CPU threads of a worker."""
    return int(config.threads or psutil.cpu_count(logical=False) or 1)


def run_name(config: BenchConfig) -> str:
    """The user's name for the run, or one made from the configuration, so that the same command finds the same
    folder.
    """
    if config.run:
        name = str(config.run)
        if not is_plain_name(name):
            raise UserError(f"run '{name}' is no folder name: use letters, digits, '-', '_' and '.'.")
        return name
    kept = {key: value for key, value in vars(config).items() if key not in ("run", "results", "reports")}
    names = "-".join(benchmark.name for benchmark in chosen_benchmarks(config))
    return f"{names}-{digest_of(kept)[:8]}"


def batch_count(point: Record) -> int:
    """How many batches a point has."""
    return math.ceil(point["samples"] / point["batch_size"])


def work_of(point: Record) -> int:
    """Relative cost of one batch of a point, for the time left: network evaluations at most."""
    if point["kind"] == "likelihood":
        return max(1, int(point["options"].get("draws", 1)))
    return max(1, int(point["steps"]))


def model_names(points: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(point["model"] for point in points))
