"""The training loop: AdamW, warm-up and cosine, clipping, averaged weights, and a state that can be continued."""

from __future__ import annotations

import copy
import importlib
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapters.base import AdapterError, ParameterGroup, Trainable, TrainSpec
from adapters.cards import Card
from harness.devices import resolve_device
from harness.errors import UserError
from harness.training.batches import Examples, make_corpus
from harness.training.config import DEFAULT_TOKENS, Recipe, TrainConfig
from harness.training.data import TrainingText
from harness.training.ema import MovingAverage
from harness.training.progress import TrainProgress
from harness.training.record import CurvePoint
from harness.training.state import load_state, save_state

#: Batches of held-out windows the finished model is measured on.
HELDOUT_BATCHES = 64
#: Seconds spent on measuring the speed where the budget is given in minutes.
SPEED_SECONDS = 3.0


class Training:
    """A training in progress.

    Args:
        config: what the user asked.
        recipe: the numbers that follow.
        card: the model's card.
        text: what it is trained on.
        state_folder: where the state is saved; a state found there is continued.
    """

    def __init__(self, config: TrainConfig, recipe: Recipe, card: Card, text: TrainingText, state_folder: Path) -> None:
        self.config, self.recipe, self.text = config, recipe, text
        self._state_folder = state_folder
        self.device = resolve_device(config.device)
        torch.manual_seed(config.seed)
        spec = TrainSpec(text.tokenizer.vocab_size, recipe.length, recipe.size, text.tokenizer.eos_id)
        self.trainable = _make_trainable(card, spec)
        self.module = self.trainable.module.to(self.device).train()
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.groups = self.trainable.parameter_groups()
        self.optimizer = _make_optimizer(self.parameters, self.groups, recipe)
        self.ema = MovingAverage(self.module, recipe.ema)
        self.step, self.seconds = 0, 0.0
        self.curve: list[CurvePoint] = []
        self._recent: list[float] = []
        self.corpus = make_corpus(text, self.trainable, recipe.length)
        state = load_state(state_folder, config.binding(), self.corpus.digest)
        self.steps = state["steps"] if state else self._budget()
        # Places of windows and the model's noise come from two generators: one seed would make them the same stream.
        self._places = torch.Generator().manual_seed(2 * config.seed)
        self._noise = torch.Generator(self.device).manual_seed(2 * config.seed + 1)
        torch.manual_seed(config.seed)  # measuring the speed may have drawn dropout
        if state:
            self._restore(state)

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.step * self.recipe.batch_size * self.recipe.length

    def run(self, progress: TrainProgress) -> None:
        """Train to the end.

        Raises:
            UserError: when loss or gradient is no number any more; the last good state stays on disk.
        """
        progress.start(f"train {self.config.model}", self.steps, self.step)
        saved = time.monotonic()
        began, before, done = saved, self.seconds, self.step
        while self.step < self.steps:
            self._recent.append(self._one_step())
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - began
            progress.step()
            if self.step % self.config.log_every == 0 or self.step == self.steps:
                point = self._add_point()
                pace = (now - began) / (self.step - done)
                speed = self.recipe.batch_size * self.recipe.length / pace
                progress.point(self.step, self.steps, point.loss, speed, (self.steps - self.step) * pace)
            if now - saved >= self.config.save_every or self.step == self.steps:
                save_state(self._state_folder, self._state())
                saved = time.monotonic()

    def heldout_loss(self) -> float:
        """Mean loss of the averaged weights on fixed random windows or pairs of the held-out text."""
        places, noise = torch.Generator().manual_seed(0), torch.Generator(self.device).manual_seed(1)
        with self.ema.applied(), torch.no_grad():
            losses = [self._loss(self.corpus.heldout, places, noise).item() for _ in range(HELDOUT_BATCHES)]
        return math.fsum(losses) / len(losses)

    def _loss(self, examples: Examples, places: torch.Generator, noise: torch.Generator) -> Tensor:
        batch = examples.draw(self.recipe.batch_size, places)
        return self.trainable.loss(batch.to(self.device), noise)

    def _one_step(self) -> float:
        rate = self.recipe.learning_rate_at(self.step, self.steps)
        loss = self._loss(self.corpus.train, self._places, self._noise)
        if not self._descend(loss, self.optimizer, rate):
            self._diverged(float(loss.detach()))
        self.ema.update()
        return float(loss.detach())

    def _diverged(self, loss: float) -> None:
        raise UserError(
            f"the training diverged at step {self.step}: the loss is {loss:.4g} and the gradient no finite number. "
            f"The last saved state is kept in {self._state_folder}; remove it and start anew with "
            f"learning_rate= below {self.recipe.learning_rate:g}."
        )

    def _add_point(self) -> CurvePoint:
        rate = self.recipe.learning_rate_at(self.step - 1, self.steps)
        loss = math.fsum(self._recent) / len(self._recent)
        self._recent.clear()
        self.curve.append(CurvePoint(self.step, self.tokens, round(self.seconds, 3), loss, rate))
        return self.curve[-1]

    def _budget(self) -> int:
        """Number of steps for the user's budget."""
        per_step = self.recipe.batch_size * self.recipe.length
        if self.config.minutes is None:
            return max(1, (self.config.tokens or DEFAULT_TOKENS) // per_step)
        return max(1, int(self.config.minutes * 60 / self._seconds_per_step()))

    def _seconds_per_step(self) -> float:
        """Whole steps on generators and an optimiser of their own, with learning rate 0: nothing of them stays."""
        places, noise = torch.Generator().manual_seed(0), torch.Generator(self.device).manual_seed(1)
        optimizer = _make_optimizer(self.parameters, self.groups, self.recipe)
        ema = MovingAverage(self.module, self.recipe.ema)
        before = copy.deepcopy(self.module.state_dict())  # a loss may keep a running figure of its own
        times: list[float] = []
        while sum(times) < SPEED_SECONDS or len(times) < 5:
            began = time.monotonic()
            loss = self._loss(self.corpus.train, places, noise)
            self._descend(loss, optimizer, 0.0)
            ema.update()
            times.append(time.monotonic() - began)
        self.module.load_state_dict(before)
        return sum(times[2:]) / len(times[2:])

    def _descend(self, loss: Tensor, optimizer: torch.optim.Optimizer, rate: float) -> bool:
        """One optimiser step; False, and nothing changed, where the gradient is no finite number."""
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        if not math.isfinite(float(norm + loss.detach())):
            return False
        for group, ours in zip(optimizer.param_groups, self.groups, strict=True):
            group["lr"] = rate * ours.rate
        optimizer.step()
        return True

    def _state(self) -> dict[str, Any]:
        return {
            "binding": self.config.binding(),
            "data_digest": self.corpus.digest,
            "step": self.step,
            "steps": self.steps,
            "seconds": self.seconds,
            "curve": [asdict(point) for point in self.curve],
            "recent": self._recent,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.shadow,
            "ema_updates": self.ema.updates,
            "places": self._places.get_state(),
            "noise": self._noise.get_state(),
            "global": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if self.device.startswith("cuda") else None,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self._recent = state["recent"]
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load(state["ema"], state["ema_updates"])
        self._places.set_state(state["places"])
        self._noise.set_state(state["noise"])
        torch.set_rng_state(state["global"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"])


def _make_trainable(card: Card, spec: TrainSpec) -> Trainable:
    adapter = importlib.import_module(f"{card.module}.adapter")
    try:
        made: Trainable = adapter.trainable(spec)
    except AdapterError as error:
        raise UserError(f"{card.name}: {error}") from None
    return made


def _make_optimizer(parameters: list[nn.Parameter], groups: list[ParameterGroup], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over groups that hold each trained parameter once; raises `ValueError` for others."""
    grouped = [id(parameter) for group in groups for parameter in group.parameters]
    if sorted(grouped) != sorted(map(id, parameters)):
        raise ValueError("parameter_groups() does not hold every trained parameter once")
    decays = [recipe.weight_decay if group.weight_decay is None else group.weight_decay for group in groups]
    return torch.optim.AdamW(
        [
            {"params": group.parameters, "weight_decay": decay, "lr": recipe.learning_rate * group.rate}
            for group, decay in zip(groups, decays, strict=True)
        ],
        betas=recipe.betas,
        fused=True,
    )
