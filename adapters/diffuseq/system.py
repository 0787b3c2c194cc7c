"""DiffuSeq in the Gaussian family: one batch from sources to written targets.

Positions of the source are given: their clean embeddings stand in the state whenever the network sees it. All others,
padding included, are diffused; only for those is anything predicted, rounded or kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adapters.base import AdapterError, CountedNetwork, GenerateRequest
from adapters.diffuseq import samplers
from adapters.diffuseq.checkpoint import Loaded
from adapters.diffuseq.layout import TrainingArgs
from adapters.diffuseq.network import DiffuseqNetwork
from adapters.diffuseq.noise import make_schedule
from adapters.diffuseq.rounding import BLOCK, Rounding
from adapters.diffuseq.texts import plain_text, target_room
from adapters.diffuseq.vocabulary import Vocabulary, source_row
from adapters.gaussian.levels import Level
from adapters.gaussian.process import Written

#: The shortest row: start, end, separator, and one position to write.
SHORTEST = 4


class DiffuseqProcess:
    """Generation of one batch. States and predictions are [N, D], the N diffused positions alone, but in `denoise`.

    Args:
        system: the model.
        tokens: rows [B, L] with padding where something is to be written.
        given: how many positions of each row are given, B numbers.
        left_off: source tokens that did not fit, B numbers.
        clamp: whether `denoise` rounds its predictions.
    """

    dtype = torch.float32

    def __init__(
        self, system: DiffuseqSystem, tokens: Tensor, given: Sequence[int], left_off: Sequence[int], clamp: bool
    ) -> None:
        self.system = system
        self.device = system.device
        self.tokens = tokens.to(self.device)
        self.given = list(given)
        self.left_off = list(left_off)
        self.clamp = clamp
        batch, length = tokens.shape
        self.shape = (batch, length, system.network.size.width)
        diffused = torch.arange(length) >= torch.tensor(self.given)[:, None]
        #: Flat indices [N] of the diffused positions, row by row.
        self.diffused = diffused.flatten().nonzero().flatten().to(self.device)
        self._clean = system.network.embedding[self.tokens]
        self._words: Tensor | None = None

    def of_diffused(self, full: Tensor) -> Tensor:
        """[B, L, D] -> [N, D]."""
        return full.flatten(0, 1)[self.diffused]

    def pasted(self, diffused: Tensor) -> Tensor:
        """[N, D] -> [B, L, D], clean embeddings at the given positions."""
        full = self._clean.flatten(0, 1).clone()
        full[self.diffused] = diffused
        return full.view(self.shape)

    def shown(self, z_0: Tensor) -> Tensor:
        """A prediction [N, D] as the family's schedulers see it, [B, L, D], less the mean of the noise."""
        return self.pasted(z_0) - self.system.mean

    def predict(self, diffused: Tensor, time: float) -> Tensor:
        """z_0 [N, D] by one evaluation of the network, not rounded.

        Args:
            diffused: the state [N, D].
            time: the network's time, index * 1000 / T.
        """
        batch = self.shape[0]
        times = torch.full((batch,), time, dtype=torch.float32, device=self.device)
        out: Tensor = self.system.counted(range(batch), self.pasted(diffused), times, self.diffused)
        return out

    @property
    def words(self) -> Tensor:
        """Ids [N] of the latest rounding."""
        if self._words is None:
            raise ValueError("nothing has been rounded yet")
        return self._words

    def rounded(self, z_0: Tensor) -> Tensor:
        """The nearest word embeddings [N, D]."""
        self._words = self.system.rounding.nearest(z_0, self._words)
        return self.system.network.embedding[self._words]

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        """z_0 [B, L, D] from the state of the family's schedulers, in which the noise has mean zero.

        The noise of DiffuSeq-v2 has a learned mean: q(z_t) = alpha (z_0 - mean) + sigma eps + mean. Less that mean,
        state and prediction are those of the family.
        """
        system = self.system
        mean = system.mean
        index = level.t * (system.args.diffusion_steps - 1)
        z_0 = self.predict(self.of_diffused(z) + mean, system.time_of(index))
        return self.shown(self.rounded(z_0) if self.clamp else z_0)

    def read(self, z_0: Tensor) -> list[list[int]]:
        """Rows of ids: the likeliest words of the head at the diffused positions [N, D] (sample_seq2seq.py)."""
        tokens = self.tokens.flatten().clone()
        tokens[self.diffused] = self.system.likeliest(z_0)
        rows: list[list[int]] = tokens.view(self.tokens.shape).tolist()
        return rows

    def texts_of(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """What is written in rows of ids, without special tokens."""
        words = self.system.tokenizer
        return [plain_text(words.decode(row[given:])) for row, given in zip(rows, self.given, strict=True)]

    def show(self, z_0: Tensor) -> tuple[list[list[int]], list[str]]:
        rows = self.read(self.of_diffused(z_0 + self.system.mean))
        return rows, self.texts_of(rows)

    def finish(self, z_0: Tensor) -> Written:
        rows, texts = self.show(z_0)
        pad = self.system.tokenizer.pad
        own = [
            [at >= given and word != pad for at, word in enumerate(row)]
            for row, given in zip(rows, self.given, strict=True)
        ]
        return Written(rows, texts, own)


class DiffuseqSystem:
    """A DiffuSeq checkpoint as the family sees it.

    Args:
        loaded: the checkpoint.
        tokenizer: its words.
        device: torch device name.
    """

    def __init__(self, loaded: Loaded, tokenizer: Vocabulary, device: str) -> None:
        if tokenizer.vocab_size != loaded.network.size.tokens:
            raise AdapterError(
                f"the tokenizer has {tokenizer.vocab_size} ids but the network was trained on "
                f"{loaded.network.size.tokens}; name the right tokenizer"
            )
        self.network: DiffuseqNetwork = loaded.network
        self.args: TrainingArgs = loaded.args
        self.tokenizer = tokenizer
        self.device = device
        self.schedule = make_schedule(loaded.args)
        self.counted = CountedNetwork(loaded.network, device)
        self.rounding = Rounding(loaded.network.embedding.detach())
        self.parameter_count = sum(p.numel() for p in loaded.network.parameters())
        mean = loaded.network.mean_embed
        #: Mean of the noise: [D], or 0.
        self.mean: Tensor | float = 0.0 if mean is None else mean.detach()

    def time_of(self, index: float) -> float:
        """The network's time at an index of the noise table."""
        return index * (1000.0 / self.args.diffusion_steps) if self.args.rescale_timesteps else index

    def likeliest(self, states: Tensor) -> Tensor:
        """Ids [N] of the largest logits of states [N, D]."""
        rows = max(1, BLOCK // self.network.size.tokens)
        return torch.cat([self.network.logits(part).argmax(-1) for part in states.split(rows)])

    def check(self, request: GenerateRequest) -> None:
        if request.length < SHORTEST:
            raise AdapterError(f"length {request.length} leaves nothing to write: a row has {SHORTEST} tokens or more")
        if not request.prompts:
            raise AdapterError("seq2seq needs a source for each sequence to write")
        target_room(request.options, request.length)
        samplers.check(request, self.args)
        if not isinstance(request.options.get("clamp", True), bool):
            raise AdapterError(f"clamp must be true or false, got {request.options['clamp']!r}")

    def begin(self, request: GenerateRequest) -> DiffuseqProcess:
        room = target_room(request.options, request.length)
        rows = [
            source_row(self.tokenizer.encode(prompt.source.strip()), request.length, room, self.tokenizer)
            for prompt in request.prompts
        ]
        tokens, given, left_off = zip(*rows, strict=True)
        clamp = bool(request.options.get("clamp", True))
        return DiffuseqProcess(self, torch.tensor(tokens), given, left_off, clamp)
