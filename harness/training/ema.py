"""A moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Exponential moving average of a module's parameters, in float32.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that a short run does not remember its first weights.

    Args:
        module: whose parameters are averaged.
        decay: weight of the past.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module = module
        self._decay = decay
        self._parameters = dict(module.named_parameters())  # a tied weight once
        self.shadow = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.updates = 0

    def update(self) -> None:
        """Take in the weights as they are now."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.shadow.values()), [p.detach() for p in self._parameters.values()], None)

    def state_dict(self) -> dict[str, Tensor]:
        """The module's state dict with averaged weights, a tied one under each of its names; buffers as they are."""
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        state = self._module.state_dict(keep_vars=True)
        return {
            key: self.shadow[names[id(value)]].clone() if id(value) in names else value.detach().clone()
            for key, value in state.items()
        }

    def load(self, shadow: dict[str, Tensor], updates: int) -> None:
        """Put back what `shadow` and `updates` were."""
        for name, tensor in self.shadow.items():
            tensor.copy_(shadow[name])
        self.updates = updates

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with averaged weights, in eval mode; raw weights and mode come back afterwards."""
        training = self._module.training
        raw = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._put(self.shadow)
        self._module.eval()
        try:
            yield
        finally:
            self._put(raw)
            self._module.train(training)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])
