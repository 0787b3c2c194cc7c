"""A model without a network, for tests of the worker and of the host."""

from __future__ import annotations

import errno
import json
import os
import signal
import time

import torch

from adapters.base import (
    AdapterError,
    CheckpointError,
    CountedNetwork,
    GenerateResult,
    LikelihoodResult,
    LoadSpec,
    Model,
    NotAvailable,
    TextLikelihood,
)
from adapters.traces import Tracer


def load(spec: LoadSpec) -> Model:
    try:
        json.loads((spec.checkpoint / "model.json").read_text())
    except (OSError, ValueError):
        raise CheckpointError(f"{spec.checkpoint} holds no shaky model") from None
    return Shaky()


class Shaky(Model):
    parameter_count = 7
    notes = ("made of nothing",)

    def __init__(self):
        self.network = CountedNetwork(lambda tokens: tokens)
        self.calls = 0

    @property
    def networks(self):
        return [self.network]

    def same_as(self, scheduler):
        return "fine" if scheduler == "twin" else None

    def check(self, request):
        if request.scheduler == "refused":
            raise AdapterError("shaky does not like this request")
        if request.scheduler == "opaque" and request.trace:
            raise NotAvailable("shaky shows nothing of it")

    def generate(self, request):
        self.network.reset(request.count)
        tracer = Tracer(request.steps if request.trace else 0, lambda step: partly(request, step), mask_id=0)
        tracer.start(0)
        for step in range(request.steps):
            self.network(range(request.count), torch.zeros(request.count, 1))
            tracer.on_step(step, step + 1)
        if request.trace and request.scheduler == "clumsy":
            raise ValueError("dropped it\nwith details")
        self.calls += 1
        misbehave = MISBEHAVIOUR.get(request.scheduler)
        if misbehave:
            misbehave(self.calls)
        word = request.options.get("word", "w")
        texts = [f"{p.prefix} {word}".strip() for p in request.prompts] or [
            f"{word} {request.seed} {i} {'again ' * bool(request.trace and request.scheduler == 'forgetful')}."
            for i in range(request.count)
        ]
        tokens = [[1] * request.length] * request.count
        trace = tracer.result(tokens, texts, [[True] * request.length] * request.count)
        return GenerateResult(tokens, texts, list(self.network.nfe), [request.length] * request.count, trace)

    def likelihood(self, request):
        if request.estimator == "none":
            raise NotAvailable("shaky has no such figure")
        self.network.reset(len(request.texts))
        self.network(range(len(request.texts)), torch.zeros(len(request.texts), 1))
        figures = [TextLikelihood(float(len(text)), 0.0, len(text.split())) for text in request.texts]
        return LikelihoodResult(figures, "exact", list(self.network.nfe))


def partly(request, done):
    """Rows of which a share of the tokens is written, and their texts."""
    written = request.length * done // request.steps
    rows = [[1] * written + [0] * (request.length - written)] * request.count
    return rows, [f"{done} of {request.steps}"] * request.count


def raises(calls):
    if calls > 3:
        raise ValueError("a bad day\nwith details")


def starved(calls):
    raise MemoryError


def full(calls):
    raise OSError(errno.ENOSPC, "No space left on device")


def killed(calls):
    os.kill(os.getpid(), signal.SIGKILL)


def slow(calls):
    time.sleep(60)


def steady(calls):
    time.sleep(0.002)


MISBEHAVIOUR = {"raises": raises, "starved": starved, "full": full, "killed": killed, "slow": slow, "steady": steady}
