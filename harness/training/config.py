"""What the user asks of a training, and the numbers that follow from it. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from adapters.cards import Card
from harness.benchmarks import NORMALIZATIONS
from harness.config import DEVICES, keys, option, positive
from harness.errors import UserError, unknown

#: What the slowest of the small models gets through in about five and a half minutes of two cores.
DEFAULT_TOKENS = 15_000_000
#: Settings that change neither the weights nor what is trained on, so a resumed training may differ in them.
FREE = ("out", "save_every", "log_every")
#: Keys of a card's `train` that describe the training and set nothing.
DESCRIPTIVE = ("loss",)


@dataclass
class TrainConfig:
    """What `tdbench train` does. An empty setting takes the model card's `train` value, else the trainer's own."""

    model: str = option("???", "model to train")
    benchmark: str = option("toy", "benchmark whose training text is used")
    benchmark_path: Any = option(
        None, "local file or folder of the benchmark's own format, read instead of a download", key="benchmark.path"
    )
    benchmark_options: Any = option(
        {}, "settings of the benchmark's source, as {train_characters: 90000000}", key="benchmark.options"
    )
    data: Any = option(None, "text file for benchmark=text (UTF-8)")
    reference: Any = option(None, "held-out text file; without it the last tenth of data is held out")
    data_seed: int = option(0, "seed of a generated benchmark's data")
    normalize: Any = option(None, "'text8' (a-z and space) or 'none'; empty: what the benchmark's card says")
    tokenizer: str = option("auto", "'auto' (the benchmark's own), 'text8', 'words' or 'bpe:SIZE'")
    length: Any = option(None, "tokens per window; empty: what the benchmark is made for")
    size: Any = option(None, "architecture numbers that differ from the card's, as size={hidden: 64, blocks: 4}")
    tokens: Any = option(None, f"budget in tokens [{DEFAULT_TOKENS}]")
    minutes: Any = option(None, "budget in minutes instead: the speed is measured first, then the token count is fixed")
    batch_size: Any = option(None, "windows in one step")
    learning_rate: Any = option(None, "highest learning rate")
    min_learning_rate: Any = option(None, "learning rate at the end of the cosine")
    warmup: Any = option(None, "steps of linear warm-up")
    betas: Any = option(None, "AdamW's two decays, as betas=[0.9,0.99]")
    weight_decay: Any = option(None, "AdamW's decay of matrices; vectors have none")
    clip: Any = option(None, "largest gradient norm")
    ema: Any = option(None, "decay of the averaged weights; early on (1+n)/(10+n) where that is less")
    seed: int = option(0, "random seed")
    device: str = option("cpu", f"one of {DEVICES}")
    threads: Any = option(None, "CPU threads; empty: one a physical core")
    out: Any = option(None, "folder to write; empty: results/train/MODEL-BENCHMARK")
    save_every: float = option(30.0, "seconds between saved training states (0: after every step)")
    log_every: int = option(50, "steps between points of the loss curve")

    def __post_init__(self) -> None:
        for name in ("length", "tokens", "batch_size", "threads", "log_every"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        if self.tokens is not None and self.minutes is not None:
            raise UserError("tokens and minutes are two ways to give the budget: give one of them.")
        if self.minutes is not None:
            _number("minutes", self.minutes, above=0)
        _number("save_every", self.save_every, least=0)
        _whole("seed", self.seed)
        _whole("data_seed", self.data_seed)
        if self.normalize is not None and self.normalize not in NORMALIZATIONS:
            raise unknown("normalize", str(self.normalize), NORMALIZATIONS)
        _check_tokenizer(self.tokenizer)
        if not isinstance(self.benchmark_options, dict):
            raise UserError(
                f"benchmark.options must be a mapping such as {{split: test}}, got '{self.benchmark_options}'."
            )
        if self.size is not None and not isinstance(self.size, dict):
            raise UserError(f"size must be a mapping such as {{hidden: 64, blocks: 4}}, got '{self.size}'.")

    def command(self) -> str:
        """The command that asks for this training."""
        values = {key: getattr(self, f.name) for key, f in keys(TrainConfig).items()}
        defaults = {key: {} if f.default is MISSING else f.default for key, f in keys(TrainConfig).items()}
        values = {key: value for key, value in values.items() if value != defaults[key]}
        return " ".join(["tdbench train", *(f"{name}={_word(value)}" for name, value in values.items())])

    def binding(self) -> dict[str, Any]:
        """The settings that a resumed training must share."""
        return {name: value for name, value in asdict(self).items() if name not in FREE}


@dataclass(frozen=True)
class Recipe:
    """The numbers of one training, every one filled in.

    The defaults were found by short runs at 0.2 million parameters on `toy`. Where a loss weighs a masked token by the
    inverse of its masking rate the gradient is noisy: many small steps, a gentle clip and a short second-moment memory
    help, and do the other losses no harm.

    Attributes:
        length: tokens per window.
        size: architecture numbers.
        betas, weight_decay, clip, ema: see `TrainConfig`.
    """

    length: int
    size: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    learning_rate: float = 4e-3
    min_learning_rate: float = 0.0
    warmup: int = 200
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 0.5
    ema: float = 0.999

    def __post_init__(self) -> None:
        positive("length", self.length)
        positive("batch_size", self.batch_size)
        _number("learning_rate", self.learning_rate, above=0)
        _number("min_learning_rate", self.min_learning_rate, least=0)
        _whole("warmup", self.warmup)
        _number("weight_decay", self.weight_decay, least=0)
        _number("clip", self.clip, above=0)
        for name, value in [("ema", self.ema), *(("betas", beta) for beta in self.betas)]:
            if _number(name, value, least=0) >= 1:
                raise UserError(f"{name} must be below 1, got {value}.")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Linear warm-up to `learning_rate`, then half a cosine down to `min_learning_rate` at the last step."""
        warmup = min(self.warmup, steps // 10)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, steps - 1 - warmup)
        span = max(0.0, self.learning_rate - self.min_learning_rate)
        return self.learning_rate - span * (1 - math.cos(math.pi * done)) / 2


def make_recipe(config: TrainConfig, card: Card, length: int) -> Recipe:
    """Fill in what the user left empty.

    Args:
        config: the user's settings.
        card: the model's card.
        length: the benchmark's window length.

    Raises:
        UserError: for a model that cannot be trained here, an unknown size, or a value out of range.
    """
    if not card.train:
        raise UserError(f"{card.name} cannot be trained here: its card has no 'train' entry.")
    defaults = {key: value for key, value in card.train.items() if key not in ("size", *DESCRIPTIVE)}
    names = [f.name for f in fields(Recipe) if f.name not in ("size", "length")]
    for key in defaults:
        if key not in names:
            raise unknown(f"key in the 'train' entry of {card.name}'s card", key, names)
    known, wanted = card.train.get("size", {}), config.size or {}
    for key in wanted:
        if key not in known:
            raise unknown(f"size of {card.name}", str(key), known)
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    values = {**defaults, **given}
    if "betas" in values:
        values["betas"] = _pair("betas", values["betas"])
    return Recipe(length=config.length or length, size={**known, **wanted}, **values)


def _check_tokenizer(name: Any) -> None:
    if name in ("auto", "text8", "words"):
        return
    kind, colon, size = str(name).partition(":")
    if kind != "bpe":
        raise unknown("tokenizer", str(name), ("auto", "text8", "words", "bpe:512"))
    if not colon or not size.isdigit() or int(size) < 257:
        raise UserError(f"tokenizer '{name}' needs a size of at least 257, as in bpe:512.")


def _number(name: str, value: Any, least: float = -math.inf, above: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{name} must be a number, got '{value}'.")
    if value < least or value <= above:
        bound = f"at least {least:g}" if value < least else f"above {above:g}"
        raise UserError(f"{name} must be {bound}, got {value}.")
    return float(value)


def _whole(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{name} must be a whole number, 0 or more, got '{value}'.")


def _pair(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UserError(f"{name} must be two numbers, got '{value}'.")
    return _number(name, value[0]), _number(name, value[1])


def _word(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_word(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_word(entry) for entry in value) + "]"
    return str(value)
