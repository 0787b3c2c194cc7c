"""Before the jobs of a plan run: their weights are fetched, their images built, and each gets its runtime."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import psutil

from adapters.cards import get_card
from harness.config import BenchConfig
from harness.images import ensure_image
from harness.plan import Plan, threads
from harness.points import Job
from harness.runtimes.base import Runtime
from harness.runtimes.contain import Limits
from harness.runtimes.docker import DockerRuntime
from harness.runtimes.engine import connect
from harness.runtimes.local import LocalRuntime
from harness.weights import fetch_weights

#: Share of the machine's memory that a container may take where the user says nothing.
_MEMORY_SHARE = 0.9


def fetch_and_build(plan: Plan, config: BenchConfig) -> None:
    """Get what a plan needs and this machine lacks: published weights, images.

    Raises:
        UserError: where something cannot be had.
    """
    for download in plan.downloads:
        card = get_card(download.model)
        fetch_weights(card, card.checkpoints[download.checkpoint])
    if plan.images:
        for name, device in plan.images:
            ensure_image(connect(), name, device, config.image_base)


def container_limits(config: BenchConfig) -> Limits:
    """What a container may take: the memory asked for, and the CPUs of its threads with one for everything else."""
    total = psutil.virtual_memory().total
    memory = int(config.memory * 2**30) if config.memory else int(total * _MEMORY_SHARE)
    return Limits(memory=memory, cpus=float(min(threads(config) + 1, psutil.cpu_count() or 1)))


def runtimes(config: BenchConfig) -> Callable[[Job], Runtime]:
    """The runtime of each job of a prepared plan."""
    limits = container_limits(config)
    client = cache(connect)

    def runtime_for(job: Job) -> Runtime:
        image = job.place.image
        if image is None:
            return LocalRuntime()
        facts = {"image": image.tag, "image_digest": image.digest}
        return DockerRuntime(image.id, facts, limits, job.place.device, client())

    return runtime_for
