"""What the source of a benchmark is asked for and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

#: Where `adapters.tokenizers.load_tokenizer("folder", ...)` looks; named here too because that module brings torch.
TOKENIZER_FILE = "tokenizer.json"
#: What every benchmark of pairs says of its likelihoods.
NO_LIKELIHOOD = "pairs are not scored by likelihood: no model here has a bound of a target given its source"


@dataclass(frozen=True)
class SourceRequest:
    """What `build` of a source module is given.

    Attributes:
        seed: of generated data; another seed gives other, independent text.
        samples: windows wanted in each of the two held-out sets.
        length: size of a window: words (toy) or characters.
        options: the benchmark's own settings from its YAML, the user's in their place.
        data: a text file, for benchmarks that read one.
        reference: a held-out text file, or None.
        normalize: "text8" or "none", for benchmarks that read files.
        name: of the benchmark.
        corpus: where its text is and how it is read, from its YAML.
        path: local file or folder to read instead of a download, or None.
    """

    seed: int
    samples: int
    length: int
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Path | None = None
    reference: Path | None = None
    normalize: str = "none"
    name: str = ""
    corpus: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None


@dataclass(frozen=True)
class Window:
    """One held-out text, cut for the tasks: `prefix` begins it and `suffix` ends it."""

    text: str
    prefix: str
    suffix: str


@dataclass(frozen=True)
class Pair:
    """A source text and what may be written from it: one true text or more, the first being the usual one."""

    source: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """What `build` gives.

    Attributes:
        train: running training text; "" where the benchmark has none (its facts say why: `train_note`).
        heldout: running text apart from it, to watch a training by.
        references: held-out windows for likelihoods, references and prompts; at most `samples`.
        data: other held-out windows of the same distribution, which the `data` control gives; at most `samples`.
        tokenizer: "text8", or the tokenizer to be written beside the data.
        tokens: how people count this text: "words" or "text8" (characters).
        facts: further figures for benchmark.json.
        prompts: prefixes without a true continuation, where the benchmark has those in place of held-out text.
        pairs: held-out pairs of a sequence-to-sequence benchmark; at most `samples`. It has no windows: `references`
            and `data` are empty.
        train_pairs: its training pairs; `train` holds their targets, one a line, for the controls that count.
        heldout_pairs: further pairs, apart from both, to watch a training by.
        data_pairs: for each of `pairs` another true text, what the `data` control gives; empty where there is none.
    """

    train: str
    heldout: str
    references: list[Window]
    data: list[Window]
    tokenizer: str | tokenizers.Tokenizer
    tokens: str
    facts: dict[str, Any] = field(default_factory=dict)
    prompts: list[str] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    train_pairs: list[Pair] = field(default_factory=list)
    heldout_pairs: list[Pair] = field(default_factory=list)
    data_pairs: list[str] = field(default_factory=list)
