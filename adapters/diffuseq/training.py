"""DiffuSeq's training loss, its choice of noise levels, and its published folder (upstream gaussian_diffusion.py,
step_sample.py, train_util.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from adapters.base import AdapterError, ParameterGroup, Trainable, TrainBatch, TrainSpec
from adapters.diffuseq.checkpoint import save_folder
from adapters.diffuseq.layout import OWN_VOCABULARY, EncoderConfig, TrainingArgs
from adapters.diffuseq.network import DiffuseqNetwork, DiffuseqSize
from adapters.diffuseq.noise import make_schedule
from adapters.diffuseq.vocabulary import OWN_SPECIAL, OwnVocabulary, pair_row
from adapters.tokenizers import FILE_NAME

#: Losses remembered at each noise level, and the share of levels drawn evenly (step_sample.py).
HISTORY, EVEN_SHARE = 10, 0.001
SAMPLERS = ("lossaware", "uniform")
#: What the authors' arguments call an own vocabulary: the file it was made from.
WORD_LIST = "words.txt"


class TrainedNetwork(DiffuseqNetwork):
    """The network with the last losses at each noise level, so that a training can be continued as it was.

    Args:
        size: architecture numbers.
        levels: noise levels T.
    """

    losses: Tensor
    loss_counts: Tensor

    def __init__(self, size: DiffuseqSize, levels: int) -> None:
        super().__init__(size)
        self.register_buffer("losses", torch.zeros(levels, HISTORY, dtype=torch.float64))
        self.register_buffer("loss_counts", torch.zeros(levels, dtype=torch.int64))

    def level_weights(self) -> Tensor:
        """Chances [T] float64 of the noise levels: by the root mean square of their last losses, once each has ten."""
        levels = len(self.losses)
        if bool((self.loss_counts < HISTORY).any()):
            return self.losses.new_full((levels,), 1 / levels)
        size = self.losses.square().mean(-1).sqrt()
        return size / size.sum() * (1 - EVEN_SHARE) + EVEN_SHARE / levels

    def remember(self, levels: Tensor, losses: Tensor) -> None:
        """Keep losses [B] made at levels [B], each in the place of the oldest of its level."""
        for level, loss in zip(levels.tolist(), losses.tolist(), strict=True):
            self.losses[level, int(self.loss_counts[level]) % HISTORY] = loss
            self.loss_counts[level] += 1


class DiffuseqTrainable(Trainable):
    """A fresh DiffuSeq with the loss of its first paper (no learned mean of the noise).

    Args:
        spec: vocabulary, row length, and size: hidden, blocks, heads, embed (width of the embeddings), and optionally
            time (width of the time features), T, schedule, dropout, sampler ("lossaware" or "uniform").
    """

    module: TrainedNetwork
    pairs = True
    loss_unit = "squared error + nats per token"

    def __init__(self, spec: TrainSpec) -> None:
        size = spec.size
        hidden, heads, embed = int(size["hidden"]), int(size["heads"]), int(size["embed"])
        if hidden % heads:
            raise AdapterError(f"hidden {hidden} must be a multiple of heads {heads}")
        self.sampler = str(size.get("sampler", SAMPLERS[0]))
        if self.sampler not in SAMPLERS:
            raise AdapterError(f"sampler '{self.sampler}' is not one of {', '.join(SAMPLERS)}")
        self.length = spec.length
        self.args = TrainingArgs(
            hidden_dim=embed,
            hidden_t_dim=int(size.get("time", embed)),
            seq_len=spec.length,
            diffusion_steps=int(size.get("T", 2000)),
            noise_schedule=str(size.get("schedule", "sqrt")),
            dropout=float(size.get("dropout", 0.1)),
            config_name=".",
            vocab=WORD_LIST,
        )
        encoder = EncoderConfig(hidden, int(size["blocks"]), heads, 4 * hidden, spec.length, self.args.dropout)
        network = DiffuseqSize(spec.vocab_size, embed, self.args.hidden_t_dim, encoder, self.args.dropout)
        self.alpha_bar = make_schedule(self.args).alpha_bar
        self.module = TrainedNetwork(network, self.args.diffusion_steps)
        # Rows need the four special ids alone.
        self._words = OwnVocabulary({word: i for i, word in enumerate(OWN_SPECIAL)})

    def pair_row(self, source: list[int], target: list[int]) -> tuple[list[int], int]:
        return pair_row(source, target, self.length, self._words)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Nothing decays, as in the authors' training."""
        return [ParameterGroup(list(self.module.parameters()), weight_decay=0.0)]

    def loss(self, batch: TrainBatch, generator: torch.Generator) -> Tensor:
        """Squared error of z_0, cross-entropy of the words behind z_0, and the size of the last state; each the mean
        over all positions, source and padding included, and levels weighted by one over their chance."""
        device, levels = batch.tokens.device, len(self.alpha_bar)
        learned = self.module.training and self.sampler == "lossaware"
        chances = self.module.level_weights() if learned else self.alpha_bar.new_full((levels,), 1 / levels)
        chances = chances.to(device)
        t = torch.multinomial(chances, len(batch.tokens), replacement=True, generator=generator)
        shape = (*batch.tokens.shape, self.args.hidden_dim)
        first, second = (torch.randn(shape, generator=generator, device=device) for _ in range(2))
        losses = self.losses_at(batch, t, first, second)
        if learned:
            self.module.remember(t, losses.detach())
        return (losses * (1 / (levels * chances[t])).float()).mean()

    def losses_at(self, batch: TrainBatch, t: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Loss of each row at noise levels t [B], with the noise of z_0 and that of z_t, [B, L, D] each -> [B]."""
        if batch.given is None:
            raise AdapterError("diffuseq is trained on pairs of source and target")
        squared, nats, last = loss_terms(self.module, self.alpha_bar, batch.tokens, batch.given, t, first, second)
        return squared + nats + last

    def export(self, folder: Path, ema: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        """The authors' folder. Their vocabulary is made of the tokenizer.json that stands there."""
        save_folder(folder, self.module, ema, self._arguments(facts), facts.get("ema", 0.9999), facts.get("steps", 0))
        file = folder / FILE_NAME
        if file.is_file():
            ids = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
            (folder / OWN_VOCABULARY).write_text(json.dumps(ids) + "\n", encoding="utf-8")

    def _arguments(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Every key of their training_args.json; `facts` of a training here are kept under "tdbench"."""
        args, size = self.args, self.module.size
        return {
            "lr": facts.get("learning_rate"),
            "batch_size": facts.get("batch_size"),
            "microbatch": facts.get("batch_size"),
            "learning_steps": facts.get("steps"),
            "log_interval": None,
            "save_interval": None,
            "eval_interval": None,
            "ema_rate": str(facts.get("ema")),
            "resume_checkpoint": "none",
            "schedule_sampler": self.sampler,
            "diffusion_steps": args.diffusion_steps,
            "noise_schedule": args.noise_schedule,
            "timestep_respacing": "",
            "vocab": args.vocab,
            "use_plm_init": "no",
            "vocab_size": size.tokens,
            "config_name": args.config_name,
            "notes": "",
            "data_dir": "",
            "dataset": facts.get("benchmark"),
            "checkpoint_path": "",
            "seq_len": args.seq_len,
            "hidden_t_dim": args.hidden_t_dim,
            "hidden_dim": args.hidden_dim,
            "dropout": args.dropout,
            "use_fp16": False,
            "fp16_scale_growth": 0.001,
            "seed": facts.get("seed"),
            "gradient_clipping": facts.get("clip"),
            "weight_decay": 0.0,
            "learn_sigma": False,
            "use_kl": False,
            "predict_xstart": True,
            "rescale_timesteps": True,
            "rescale_learned_sigmas": False,
            "sigma_small": False,
            "emb_scale_factor": 1.0,
            "tdbench": dict(facts),
        }


def loss_terms(
    network: DiffuseqNetwork, alpha_bar: Tensor, tokens: Tensor, given: Tensor, t: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Parts of the loss of each row, [B] each: squared error of z_0, cross-entropy of the words behind z_0, and the
    size of the last state (upstream training_losses_seq2seq).

    Args:
        alpha_bar: of all levels, [T] float64.
        tokens: ids [B, L].
        given: [B, L] bool: what the source takes.
        t: noise levels [B].
        first, second: normal noise of z_0 and of z_t, [B, L, D].
    """
    bar = alpha_bar.to(t.device)
    words = network.word_embedding(tokens)
    z_0 = words + (1 - bar[0]).sqrt().float() * first
    signal, noise = (part.float()[t, None, None] for part in (bar.sqrt(), (1 - bar).sqrt()))
    z_t = torch.where(given[..., None], z_0, signal * z_0 + noise * second)
    out = network(z_t, t.float() * (1000.0 / len(bar)))
    wanted = torch.where((t == 0)[:, None, None], words, z_0)
    squared = (wanted - out).square().mean((1, 2))
    nats = cross_entropy(network.logits(z_0).transpose(1, 2), tokens, reduction="none").mean(1)
    return squared, nats, (bar[-1].sqrt().float() * z_0).square().mean((1, 2))


def training_tokenizer(words: Sequence[str]) -> tokenizers.Tokenizer:
    """A new word-level tokenizer: the ids of the authors' own vocabularies, special ones first, then the words.

    Raises:
        ValueError: for a word that is empty, holds white space, or occurs twice.
    """
    ids = {word: i for i, word in enumerate(OWN_SPECIAL)}
    for word in words:
        if word.split() != [word] or word in ids:
            raise ValueError(f"{word!r} is empty, holds white space, or occurs twice")
        ids[word] = len(ids)
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token=OWN_SPECIAL[OwnVocabulary.unknown]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return made
