"""A Gaussian "model" of independent tokens that is known exactly, to hold against it what is built on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from adapters.base import AdapterError, CountedNetwork, GenerateRequest
from adapters.gaussian.convergence import StraightGamma
from adapters.gaussian.levels import Level
from adapters.gaussian.process import NoiseSchedule, Written

#: Embeddings of the tokens a, b, c, and how often each stands at a position.
EMBEDDINGS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]], dtype=torch.float64)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


class Letters:
    """Ids 0, 1, 2 as the letters a, b, c."""

    vocab_size = 3
    eos_id = None

    def encode(self, text):
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids):
        return "".join("abc"[i] for i in ids)


def network(z: Tensor, alpha: float, sigma: float) -> Tensor:
    """E[z_0 | z]: z [B, L, 2] -> [B, L, 2]."""
    table = EMBEDDINGS.to(z.dtype)
    away = (z[..., None, :] - alpha * table).square().sum(-1)
    return (SHARES.to(z.dtype).log() - away / (2 * sigma**2)).softmax(-1) @ table


@dataclass
class ExactSystem:
    """The model of a test. Prefixes and sources stand at the start of a row, suffixes at its end."""

    schedule: NoiseSchedule = field(default_factory=StraightGamma)
    dtype: torch.dtype = torch.float64
    tokenizer: Letters = field(default_factory=Letters)
    device: str = "cpu"
    parameter_count: int = 6

    def __post_init__(self) -> None:
        self.counted = CountedNetwork(network)

    def check(self, request: GenerateRequest) -> None:
        if request.options.get("temperature", 1) < 0:
            raise AdapterError("temperature must be 0 or more")

    def begin(self, request: GenerateRequest) -> ExactProcess:
        return ExactProcess(self, request)


class ExactProcess:
    """Generation of one batch by an `ExactSystem`; keeps what it was asked in `seen`."""

    def __init__(self, system: ExactSystem, request: GenerateRequest) -> None:
        self.system, self.task = system, request.task
        self.shape = (request.count, request.length, 2)
        self.dtype, self.device = system.dtype, system.device
        self.given = torch.full(self.shape[:2], -1)
        self.left_off = []
        self.seen: list[tuple[Level, Tensor]] = []
        for row, prompt in enumerate(request.prompts):
            start = system.tokenizer.encode(prompt.source + prompt.prefix)
            end = system.tokenizer.encode(prompt.suffix)
            room = request.length - 1
            self.left_off.append(max(0, len(start) - room))
            self.given[row, : len(start[:room])] = torch.tensor(start[:room])
            self.given[row, request.length - len(end) :] = torch.tensor(end)

    def _paste(self, z: Tensor) -> Tensor:
        return torch.where((self.given >= 0)[..., None], EMBEDDINGS[self.given].to(z.dtype), z)

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        z = self._paste(z)
        self.seen.append((level, z))
        rows = list(range(self.shape[0]))
        return self._paste(self.system.counted(rows, z, level.alpha, level.sigma))

    def tokens(self, z_0: Tensor) -> Tensor:
        return torch.cdist(z_0.double(), EMBEDDINGS.expand(z_0.shape[0], -1, -1)).argmin(-1)

    def show(self, z_0: Tensor) -> tuple[list[list[int]], list[str]]:
        rows = self.tokens(z_0).tolist()
        return rows, [self.system.tokenizer.decode(ids) for ids in rows]

    def finish(self, z_0: Tensor) -> Written:
        tokens = self.tokens(z_0)
        free = self.given < 0
        first = [int(row.nonzero()[0]) if self.task == "seq2seq" else 0 for row in free]
        texts = [self.system.tokenizer.decode(ids[skip:]) for ids, skip in zip(tokens.tolist(), first, strict=True)]
        return Written(tokens.tolist(), texts, free.tolist())
