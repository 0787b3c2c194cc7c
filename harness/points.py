"""The points and the job of one model: every wish of the configuration checked against what the model can do."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

from adapters.cards import Card, SchedulerCard, all_cards
from benchmarks.base import TOKENIZER_FILE
from harness.benchmarks import Benchmark, BenchmarkData
from harness.checkpoints import ResolvedCheckpoint
from harness.choices import HERE, Place
from harness.config import BenchConfig
from harness.errors import UserError, unknown
from harness.store import Record
from harness.upstream import find_checkout
from harness.weights import Download

#: Steps of a warm-up call where the scheduler accepts any number.
WARMUP_STEPS = 2


@dataclass(frozen=True)
class Job:
    """The points which share one loaded model.

    Attributes:
        name: folder name below jobs/.
        benchmark: name of the benchmark whose data it reads.
        adapter: importable adapter module.
        checkpoint_sha256: digest of the weights, "" where there are none.
        load: fields of `adapters.base.LoadSpec`, data excepted.
        points: in the order they run.
        notes: remarks for every row of the job.
        place: where it runs.
        download: its published weights, None for others.
    """

    name: str
    benchmark: str
    adapter: str
    checkpoint_sha256: str
    load: Record
    points: list[Record]
    notes: list[str]
    place: Place = HERE
    download: Download | None = None


class PointBuilder:
    """The points of one model with one checkpoint."""

    def __init__(
        self,
        config: BenchConfig,
        benchmark: Benchmark,
        card: Card,
        engine: str,
        checkpoint: ResolvedCheckpoint,
        place: Place,
        data: BenchmarkData | None,
        notes: list[str],
    ) -> None:
        self.config = config
        self.benchmark = benchmark
        self.card = card
        self.engine = engine
        self.offer = card.offer(engine)
        self.checkout = find_checkout(card, config) if engine == "upstream" else None
        self.checkpoint = checkpoint
        self.notes = notes
        self.data = data
        self.place = place
        self.length = config.length or checkpoint.length or benchmark.length
        self.identity = {
            "code": card.code_digest(),
            "checkpoint": checkpoint.digest,
            "data": data.digest if data else None,
            **self._versions(),
        }
        if self.checkout:
            self.identity["upstream"] = self.checkout.digest

    def job(self) -> Job:
        points = [*self._generate_points(), *self._likelihood_points()]
        checkpoint = self.checkpoint
        load: Record = {
            "checkpoint": str(checkpoint.path) if checkpoint.path else None,
            "device": self.place.device,
            "dtype": self.config.dtype,
            "tokenizer": checkpoint.tokenizer,
            "options": {"length": self.length, **checkpoint.options},
            "upstream": str(self.checkout.path) if self.checkout else None,
        }
        key = [self.card.name, self.engine, load, self.identity, self.benchmark.name]
        name = f"{self.card.name}-{digest_of(key)[:8]}"
        for point in points:
            point["job"] = name
        notes = list(self.checkout.notes) if self.checkout else []
        return Job(
            name=name,
            benchmark=self.benchmark.name,
            adapter=self.offer.module,
            checkpoint_sha256=checkpoint.digest,
            load=load,
            points=points,
            notes=notes,
            place=self.place,
            download=checkpoint.download,
        )

    def _versions(self) -> Record:
        """What computes beside the model's own code: the image, or the torch of this Python."""
        if self.place.runtime == "local":
            return {"torch": metadata.version("torch")}
        return {"image": self.place.image.tag if self.place.image else self.place.image_name}

    def _base(self, kind: str) -> Record:
        return {
            "model": self.card.name,
            "role": self.card.role,
            "checkpoint": self.checkpoint.name,
            "checkpoint_kind": self.checkpoint.kind,
            "engine": self.engine,
            "runtime": self.place.runtime,
            "benchmark": self.benchmark.name,
            "data": self.data.digest[:16] if self.data else None,
            "tokenizer": self._tokenizer(),
            "kind": kind,
            "task": None,
            "scheduler": None,
            "steps": None,
            "estimator": None,
            "precision": None,
            "selection": None,
            "candidates": None,
            "length": self.length,
            "batch_size": self.config.batch_size[0],
            "device": self.place.device,
            "dtype": self.config.dtype,
            "trace": False,
        }

    def _tokenizer(self) -> str | None:
        """Name of what cuts text into tokens; a tokenizer file is named by its digest."""
        folder, name = self.checkpoint.path, self.checkpoint.tokenizer
        if self.card.role == "control":
            folder = self.data.folder if self.data else None
            name = str(self.data.facts["tokenizer"]) if self.data else "folder"
        if name != "folder":
            return name
        file = folder / TOKENIZER_FILE if folder else None
        return f"file {hashlib.sha256(file.read_bytes()).hexdigest()[:8]}" if file and file.is_file() else None

    def _sealed(self, point: Record, notes: list[str] | None = None) -> Record:
        """The point with its fingerprint; notes are for the row, and a trace is an extra: neither changes a figure."""
        computed = {key: value for key, value in point.items() if key != "trace"}
        return {"fingerprint": digest_of([computed, self.identity])[:16], **point, "notes": notes or []}

    def _generate_points(self) -> Iterator[Record]:
        for task in self._tasks():
            for scheduler in self._schedulers():
                if scheduler.tasks and task not in scheduler.tasks:
                    raise UserError(
                        f"{scheduler.name} of {self._who} has no task '{task}', only {', '.join(scheduler.tasks)}."
                    )
                sizes = self.config.batch_size if self.card.role != "control" else self.config.batch_size[:1]
                for steps, batch_size in product(self._steps(scheduler), sizes):
                    for seed in self._seeds(scheduler):
                        base = self._base("generate") | {"batch_size": batch_size}
                        base |= {"task": task, "scheduler": scheduler.name, "steps": steps, "seed": seed}
                        wanted = self.benchmark.count("samples", self.config.samples)
                        base["samples"] = self._sample_count(wanted, task, scheduler)
                        base["trace"] = self._traced(seed)
                        base["options"] = self._options(scheduler)
                        base["precision"] = self._precision(scheduler, base["options"])
                        base |= self._warm_up(scheduler, steps, batch_size)
                        yield self._sealed(base, self._shortage(wanted, base["samples"], task))

    @property
    def seeds(self) -> list[int]:
        """Those the user names, else the benchmark's."""
        return list(self.benchmark.seeds) if self.config.seeds == ["default"] else self.config.seeds

    def _seeds(self, scheduler: SchedulerCard) -> list[int]:
        """The seeds; one is enough for a sampler that draws nothing."""
        return self.seeds[:1] if scheduler.deterministic else self.seeds

    def _traced(self, seed: int) -> bool:
        """Whether states are recorded: of one seed, since others would show the same; controls have none."""
        return self.config.trace and self.card.role != "control" and seed == self.seeds[0]

    def _sample_count(self, wanted: int, task: str, scheduler: SchedulerCard) -> int:
        if task != "unconditional":
            return self._at_most(wanted, "prompts")
        return self._at_most(wanted, "windows") if scheduler.held_out else wanted

    def _warm_up(self, scheduler: SchedulerCard, steps: int, batch_size: int) -> Record:
        """A warm-up call: the point's own batch with few steps, or one sequence where the steps are fixed."""
        if scheduler.steps == "any":
            return {"warmup_steps": min(WARMUP_STEPS, steps), "warmup_count": batch_size}
        return {"warmup_steps": steps, "warmup_count": 1}

    def _likelihood_points(self) -> Iterator[Record]:
        wanted, known = self.config.likelihood, self.offer.estimators
        if wanted == ["none"]:
            return
        if not self.benchmark.references:
            if "seq2seq" not in self.benchmark.tasks:  # the data notes of pairs say it better
                self.notes.append(f"{self.benchmark.name} has no held-out texts: no likelihood.")
            return
        names = list(known)[:1] if wanted == ["default"] else wanted
        for name in names:
            if name not in known:
                self._reject(unknown(f"likelihood estimator of {self._who}", name, known))
                continue
            options = {} if self.card.likelihood == "exact" else {"draws": self.config.draws}
            point = self._base("likelihood")
            point |= {"estimator": name, "seed": self.seeds[0], "options": options}
            count = self.benchmark.count("likelihood_samples", self.config.likelihood_samples)
            point["samples"] = self._at_most(count, "references")
            yield self._sealed(point, self._shortage(count, point["samples"], "likelihood"))

    @property
    def _who(self) -> str:
        """Whose wishes are refused, for messages."""
        return self.card.name if self.engine == "native" else f"the authors' code of {self.card.name}"

    def _at_most(self, wanted: int, what: str) -> int:
        """`wanted`, or as many prompts, references or windows as there are; 1 where there are none, so that the row
        can say so."""
        return wanted if self.data is None else min(wanted, max(1, int(getattr(self.data, what))))

    def _shortage(self, wanted: int, given: int, use: str) -> list[str]:
        """A remark where the held-out part has fewer texts than were asked for; it stands in the row and on screen."""
        if given == wanted:
            return []
        note = f"{use}: {wanted} texts wanted, the held-out part gives {given}."
        self.notes.append(note)
        return [note]

    def _precision(self, scheduler: SchedulerCard, options: Record) -> str | None:
        """Arithmetic of the categorical draws."""
        if scheduler.precision is None:
            return None
        value = str(options.get(scheduler.precision, scheduler.precision))
        return self.config.dtype if value == "native" else value

    def _reject(self, error: UserError) -> None:
        """A wish that a model cannot meet: an error for the models the wish is about, nothing for controls and
        baselines.
        """
        if self.card.role == "model":
            raise error

    def _tasks(self) -> list[str]:
        if self.config.task == ["none"]:
            return []
        wanted = list(self.benchmark.tasks[:1]) if self.config.task == ["default"] else self.config.task
        mine = [task for task in wanted if task in self.benchmark.tasks]
        for task in mine:
            if task not in self.offer.tasks:
                self._reject(unknown(f"task of {self._who}", task, self.offer.tasks))
        return [task for task in mine if task in self.offer.tasks]

    def _schedulers(self) -> list[SchedulerCard]:
        wanted = self.config.schedulers
        known = self.offer.schedulers
        defaults = [card for card in known.values() if card.default] or list(known.values())[:1]
        if wanted == ["default"]:
            return defaults
        everywhere = {name for card in all_cards().values() for name in card.schedulers}
        for name in wanted:
            if name not in everywhere:
                raise unknown("scheduler", name, everywhere)
            if name not in known and self.card.role == "model":
                self.notes.append(f"{self._who} has no scheduler '{name}': left out.")
        found = [known[name] for name in wanted if name in known]
        if not found and self.card.role == "model":
            raise UserError(f"{self._who} has none of the schedulers {', '.join(wanted)}. It has: {', '.join(known)}.")
        return found or defaults

    def _steps(self, scheduler: SchedulerCard) -> list[int]:
        if scheduler.steps == "fixed_length":
            self.notes.append(f"{scheduler.name} takes one step a token: one point of {self.length} steps.")
            return [self.length]
        if scheduler.steps == "fixed":
            return [self._fixed_steps(scheduler)]
        most = self._most_steps(scheduler)
        for steps in self.config.step_counts:
            if steps > most:
                problem = (
                    f"steps {steps} is too many for {scheduler.name} of {self.card.name} ({self.checkpoint.name}), "
                    f"which takes 1 to {most:.0f}"
                )
                # A further default, which the user did not ask for, must not stop the sweep.
                if self.config.schedulers != ["default"] or scheduler == self._schedulers()[0]:
                    raise UserError(f"{problem}.")
                self.notes.append(f"{problem}: left out.")
        return [steps for steps in self.config.step_counts if steps <= most]

    def _fixed_steps(self, scheduler: SchedulerCard) -> int:
        """The one step count of a sampler that always makes the same. Of a folder of the user's only the user knows it
        before the weights are read, so a single count named is believed, and checked by the loaded model."""
        wanted = self.config.step_counts if self.config.steps_given and self.card.role == "model" else []
        if self.checkpoint.max_steps is None and len(wanted) == 1:
            return wanted[0]
        fixed = self.checkpoint.usual_steps or 0
        if wanted and wanted != [fixed]:
            problem = f"{scheduler.name} of {self._who} always takes {fixed} steps"
            if self.engine == "upstream":
                shown = ", ".join(map(str, wanted))
                raise UserError(f"{problem}, not {shown}: give steps={fixed}, or engine=native for other counts.")
            self.notes.append(f"{problem}: one point.")
        return fixed

    def _most_steps(self, scheduler: SchedulerCard) -> float:
        own = self.length if scheduler.max_steps == "length" else scheduler.max_steps
        return min(float(own or math.inf), float(self.checkpoint.max_steps or math.inf))

    def _options(self, scheduler: SchedulerCard) -> Record:
        known = scheduler.options
        everywhere = {name for card in all_cards().values() for s in card.schedulers.values() for name in s.options}
        for name in self.config.options:
            if name not in everywhere:
                raise unknown("scheduler option", name, everywhere)
            # Natively one option may be meant for one of several schedulers; the authors' code is asked for by name.
            if name not in known and self.engine == "upstream":
                having = ", ".join(known) or "none"
                raise UserError(f"{scheduler.name} of {self._who} has no option '{name}'. Its options: {having}.")
        return {**known, **{name: value for name, value in self.config.options.items() if name in known}}


def digest_of(value: Any) -> str:
    """sha256 of a plain value, 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a fingerprint")
