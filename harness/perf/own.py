"""What our own code costs around a network: the harness around a job, a scheduler around its network."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from adapters.cards import get_card
from adapters.masked.denoiser import Denoiser, seeded
from adapters.masked.samplers import SCHEDULERS, Sampling
from adapters.masked.schedules import LogLinear
from adapters.radd.network import RaddNetwork, RaddSize
from adapters.radd.samplers import radd_direct
from harness.config import BenchConfig
from harness.plan import make_plan, threads
from harness.worker.jsonl import write_json
from harness.worker.run import Worker

#: RADD small as published.
PUBLISHED = RaddSize(tokens=50257, hidden=768, blocks=12, heads=12, dropout=0.0)
LENGTH = 1024


def sampling_share(sampler: Callable[..., Any], options: dict[str, Any], steps: int, rounds: int) -> dict[str, float]:
    """Time of one sequence at RADD's published size with random weights, split into network and the rest.

    Returns:
        median seconds in the network and outside, and evaluations, over `rounds` runs after a one-step warm-up.
    """
    torch.manual_seed(0)
    network = RaddNetwork(PUBLISHED).eval()
    torch.nn.init.normal_(network.output_layer.linear.weight, std=0.02)
    denoiser = Denoiser(network, LogLinear())
    inside, outside, nfe = [], [], 0
    for index in range(rounds + 1):
        denoiser.counted.reset(1)
        tokens = torch.full((1, LENGTH), denoiser.mask_id)
        start = time.perf_counter()
        with torch.inference_mode():
            sampler(denoiser, tokens, Sampling(steps if index else 1, seeded(index, "cpu"), options))
        seconds = time.perf_counter() - start
        if index:
            inside.append(denoiser.counted.seconds)
            outside.append(seconds - denoiser.counted.seconds)
            nfe = denoiser.counted.evaluations
    return {"network": statistics.median(inside), "outside": statistics.median(outside), "nfe": float(nfe)}


def harness_share(samples: int) -> dict[str, float]:
    """A real job of the tiny RADD checkpoint in this process: seconds after loading, and those inside the model."""
    config = BenchConfig(
        model=["radd"],
        controls=[],
        likelihood="none",
        schedulers=["ancestral"],
        steps=[4, 16, 64],
        samples=samples,
        device="cpu",
        runtime="local",
    )
    job = make_plan(config).jobs[0]
    with tempfile.TemporaryDirectory() as folder:
        record: dict[str, Any] = {
            "job": job.name,
            "checkpoint_sha256": "",
            "adapter": job.adapter,
            "load": {**job.load, "data": None},
            "inputs": {},
            "points": job.points,
        }
        record |= {"threads": threads(config), "warmup_calls": config.warmup_calls}
        write_json(Path(folder) / "job.json", record)
        worker = _Clocked(Path(folder), lambda event: None)
        worker.run()
    wall = time.perf_counter() - worker.loaded
    return {"wall": wall, "model": worker.inside, "share": 1 - worker.inside / wall}


class _Clocked(Worker):
    """A worker that adds up the time inside the model, warm-up included."""

    inside = 0.0
    loaded = 0.0

    def _record_session(self, seconds: float) -> None:
        super()._record_session(seconds)
        self.loaded = time.perf_counter()

    def _measured(self, compute: Callable[[Any], Any], request: Any) -> Any:
        value, cost = super()._measured(compute, request)
        self.inside += cost["seconds"]
        return value, cost


def rows(steps: Sequence[int], rounds: int, samples: int) -> Iterator[tuple[str, ...]]:
    """The table, heading first: seconds inside the model or network, outside, and their ratio."""
    yield "measure", "steps", "NFE", "model or network s", "outside s", "outside / model"
    share = harness_share(samples)
    outside = share["wall"] - share["model"]
    ratio = outside / share["model"]
    yield "harness around a job (radd tiny)", "4,16,64", "-", f"{share['model']:.2f}", f"{outside:.3f}", f"{ratio:.2%}"
    options = {name: card.options for name, card in get_card("radd").schedulers.items()}
    samplers: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
        ("ancestral", SCHEDULERS["ancestral"], options["ancestral"]),
        ("radd_direct (authors' way)", radd_direct, options["radd_direct"]),
    ]
    for count in steps:
        for name, sampler, chosen in samplers:
            row = sampling_share(sampler, chosen, count, rounds)
            ratio = row["outside"] / row["network"]
            yield (
                name,
                str(count),
                f"{row['nfe']:.0f}",
                f"{row['network']:.2f}",
                f"{row['outside']:.3f}",
                f"{ratio:.2%}",
            )
