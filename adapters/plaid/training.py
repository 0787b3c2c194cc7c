"""Training as the authors do it (upstream train.py), for one process and rows of full length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adapters.base import AdapterError, ParameterGroup, Trainable, TrainBatch, TrainSpec
from adapters.plaid.checkpoint import save_checkpoint
from adapters.plaid.layout import BASE_WIDTH, PlaidSize
from adapters.plaid.network import PlaidNetwork, prior_scale

#: Every fourth row is told what the network predicts for it.
SELF_CONDITIONED = 4
#: Decay of the moments that split a batch between the two losses, and where they start.
MOMENT_DECAY, MOMENT_START = 0.997, 1e-8
#: Learning rates and decays of train.py: the decay is per step, so that AdamW's is decay / rate.
RATES = {"model": 1.4e-3, "noise_schedule": 1e-2, "gamma_bounds": 1e-2, "embedding_matrix": 1e-2}
DECAYS = {"model": 4e-5, "noise_schedule": 0.0, "gamma_bounds": 1e-3, "embedding_matrix": 0.0}
#: Steps over which the output prior is raised from nothing, where `size` names none.
BIAS_WARMUP = 5000


class Moments(nn.Module):
    """Running first and second moments of both losses, and the number of steps: part of a training's state."""

    step: Tensor
    values: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        #: Rows: reconstruction, diffusion. Columns: mean, mean square.
        self.register_buffer("values", torch.full((2, 2), MOMENT_START, dtype=torch.float64))
        self.register_buffer("weight", torch.tensor(MOMENT_START, dtype=torch.float64))

    def reconstruction_rows(self, batch: int) -> int:
        """Rows of a batch for the reconstruction loss: in proportion to the losses' standard deviations."""
        mean, square = (self.values / self.weight).unbind(1)
        deviation = (square - mean**2).clamp(min=0).sqrt()
        share = deviation[0] / (1e-8 + deviation.sum())
        return int((batch * share).round().clamp(1, batch - 1))

    @torch.no_grad()
    def update(self, reconstruction: Tensor, diffusion: Tensor) -> None:
        """Take in the losses of a step, one a row."""
        new = torch.stack(
            [torch.stack((loss.mean(), loss.square().mean())) for loss in (reconstruction, diffusion)]
        ).to(self.values)
        self.values.lerp_(new, 1 - MOMENT_DECAY)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - MOMENT_DECAY)
        self.step += 1


class TrainedPlaid(nn.Module):
    """What is trained, and what a training remembers between steps."""

    def __init__(self, size: PlaidSize) -> None:
        super().__init__()
        self.network = PlaidNetwork(size)
        self.moments = Moments()


class PlaidTrainable(Trainable):
    """The authors' network and loss. Their cutting of a few rows into two short ones is left out.

    Args:
        spec: `size` holds hidden, blocks, heads, embed_dim, and may hold bias_warmup (steps over which the output prior
            is raised) and matrix_rate (factor on the matrices' learning rate).
    """

    module: TrainedPlaid

    def __init__(self, spec: TrainSpec) -> None:
        names = ("hidden", "embed_dim", "blocks", "heads")
        numbers = {name: spec.size.get(name) for name in names}
        bad = [f"{name} {n}" for name, n in numbers.items() if isinstance(n, bool) or not isinstance(n, int) or n < 1]
        if bad:
            raise AdapterError(f"plaid cannot be trained at this size: {', '.join(bad)} must be a whole number from 1.")
        self.size = PlaidSize(
            dim=int(spec.size["hidden"]),
            embed_dim=int(spec.size["embed_dim"]),
            n_blocks=int(spec.size["blocks"]),
            n_heads=int(spec.size["heads"]),
            vocab_size=spec.vocab_size,
        )
        if self.size.dim % (2 * self.size.n_heads):
            raise AdapterError(f"hidden {self.size.dim} must be an even multiple of heads {self.size.n_heads}")
        self.bias_warmup = int(spec.size.get("bias_warmup", BIAS_WARMUP))
        self.matrix_rate = float(spec.size.get("matrix_rate", 1.0))
        self.length = spec.length
        self.module = TrainedPlaid(self.size)

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        """Reconstruction + diffusion + prior in nats a token, each a mean over the rows that estimate it.

        Where gradients are off nothing is remembered and the output prior is whole.
        """
        tokens, moments = batch.tokens, self.module.moments
        training = torch.is_grad_enabled()
        if len(tokens) < 2:
            raise AdapterError("plaid trains on batches of at least 2 rows: one for either part of its loss")
        first = moments.reconstruction_rows(len(tokens))
        conditioned = self._conditioned(tokens, generator)
        bias_scale = min(1.0, int(moments.step) / max(1, self.bias_warmup)) if training else 1.0
        noised = Noised(self.module.network, tokens, first, conditioned, generator)
        logits, prediction = noised.predict(bias_scale)
        nats = functional.cross_entropy(logits[:first].transpose(1, 2), tokens[:first], reduction="none")
        reconstruction = nats.mean(1).double()
        diffusion = noised.diffusion(prediction)[first:]
        if training:
            noised.weigh_schedule(diffusion.detach())
            moments.update(reconstruction.detach(), diffusion.detach())
        return (reconstruction.mean() + diffusion.mean() + noised.prior()).float()

    def _conditioned(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """bool [B]: every fourth row from a random one on."""
        offset = torch.randint(SELF_CONDITIONED, (), generator=generator, device=tokens.device)
        return torch.arange(len(tokens), device=tokens.device) % SELF_CONDITIONED == offset

    def parameter_groups(self) -> list[ParameterGroup]:
        """Rates relative to the transformer's vectors: its matrices learn at 256 / width times that rate (muP, and
        times `matrix_rate`), the other modules at the authors' 1e-2 to 1.4e-3. Decays are theirs at their rates."""
        network, groups = self.module.network, []
        for name, rate in RATES.items():
            parameters = list(getattr(network, name).parameters())
            matrices = [p for p in network.model.blocks.parameters() if p.ndim == 2] if name == "model" else []
            if matrices:
                factor = self.matrix_rate * BASE_WIDTH / self.size.dim
                groups.append(ParameterGroup(matrices, factor, DECAYS[name] / (rate * factor)))
            vectors = [p for p in parameters if not any(p is other for other in matrices)]
            groups.append(ParameterGroup(vectors, rate / RATES["model"], DECAYS[name] / rate))
        return groups

    def export(self, folder: Path, ema: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        """The published layout, which holds one set of weights: the averaged one. Our config.json lies beside it."""
        prefix = "network."
        whole = {**self.module.state_dict(), **ema}
        state = {name[len(prefix) :]: tensor for name, tensor in whole.items() if name.startswith(prefix)}
        save_checkpoint(folder, state, self.size, self.length, dict(facts))


class Noised:
    """A batch with its noise, and where its gradients flow.

    Self-conditioned rows train the transformer alone: nothing flows from them to schedule, bounds and embeddings.

    Args:
        network: what is trained.
        tokens: ids [B, L].
        first: rows at t = 0, the reconstruction's; the others have times spread evenly over 0..1.
        conditioned: bool [B], self-conditioned rows.
        generator: on the device.
    """

    def __init__(
        self, network: PlaidNetwork, tokens: Tensor, first: int, conditioned: Tensor, generator: torch.Generator
    ) -> None:
        self.network, self.first, self.conditioned = network, first, conditioned
        self.table: Tensor = network.embedding_matrix()
        u, rate = network.noise_schedule(self._times(len(tokens), first, generator))
        # The schedule learns nothing from the rows at t = 0.
        self._warped = torch.cat((u[:first].detach(), u[first:]))
        self._warped_rate = rate
        low, high = network.gamma_bounds.gamma_0.double(), network.gamma_bounds.gamma_1.double()
        self.gamma = self._cut(low + (high - low) * self._warped)
        self.rate = self._cut((high - low) * rate)
        self.high = high
        self.embedded = self._cut(self.table[tokens])
        noise = torch.randn(self.embedded.shape, generator=generator, device=tokens.device)
        self.z = self._at(torch.sigmoid(self.gamma).sqrt()) * noise
        self.z = (self.z + self._at(torch.sigmoid(-self.gamma).sqrt()) * self.embedded).float()

    def _times(self, batch: int, first: int, generator: torch.Generator) -> Tensor:
        rest = batch - first
        shift = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
        even = (torch.arange(rest, device=generator.device, dtype=torch.float64) + shift) / rest
        return torch.cat((even.new_zeros(first), even))

    def _cut(self, values: Tensor) -> Tensor:
        """The same values; no gradient flows from self-conditioned rows."""
        mask = self.conditioned.view(-1, *[1] * (values.ndim - 1))
        return torch.where(mask, values.detach(), values)

    def _at(self, scalars: Tensor) -> Tensor:
        return scalars[:, None, None]

    def predict(self, bias_scale: float) -> tuple[Tensor, Tensor]:
        """Logits [B, L, V] and predicted embeddings [B, L, e]; see `PlaidNetwork.forward`."""
        previous = torch.zeros_like(self.z)
        chosen = self.conditioned.nonzero().squeeze(-1)
        with torch.no_grad():
            told = self.network(self.z[chosen], self.gamma[chosen], previous[chosen], bias_scale)[1]
        previous = previous.index_copy(0, chosen, told)
        features = self.network.model.features(self.z, self.gamma, previous)
        prior = self._at(bias_scale * prior_scale(self.gamma)) * self.z
        # In self-conditioned rows neither z nor the table takes a gradient, so the whole product does not.
        logits = self.network.model.output_linear(features) + self._cut(prior @ self.table.T)
        probabilities = logits.softmax(-1)
        cut = probabilities @ self.table.detach()
        return logits, torch.where(self.conditioned[:, None, None], cut, probabilities @ self.table)

    def diffusion(self, prediction: Tensor) -> Tensor:
        """The diffusion loss [B] float64 in nats a token; rows at t = 0 have none."""
        distance = (self.embedded - prediction).square().mean(1).double().sum(1)
        return 0.5 * torch.exp(-self.gamma) * self.rate * distance

    def prior(self) -> Tensor:
        """KL(q(z_1 | x) || N(0, 1)) in nats a token, mean over the batch."""
        gamma = self._cut(self.high.expand(len(self.z)))
        noise = torch.sigmoid(gamma)[:, None, None]
        shift = self._at(torch.sigmoid(-gamma).sqrt()) * self.embedded
        each = (noise + shift.square() - 1 - noise.log()) / 2
        return each.sum(2).mean()

    def weigh_schedule(self, losses: Tensor) -> None:
        """From here on the schedule minimises the mean square of the diffusion losses [B - first], which is their
        variance, since the schedule cannot change their mean; bounds and all else minimise the mean."""
        factor = 2 * torch.cat((losses.new_ones(self.first) / 2, losses))
        for tensor in (self._warped, self._warped_rate):
            tensor.register_hook(lambda gradient: gradient * factor)
