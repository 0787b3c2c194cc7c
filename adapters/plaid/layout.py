"""Names and numbers of Plaid's published layout, for our engine and beside the authors' code.

A folder with four files of ``torch.save``, each a bare state dict. They do not say how long the training rows were, so
a small `config.json` of ours may lie beside them: ``{"seq_len": 256}``, and ``"n_heads"`` where it is to be checked.
The tokenizer is `tokenizer.json`, or the authors' own file, which lies in their repository as misc/owt2_tokenizer.json
and is to be copied beside the weights under either name.

Python 3.8 syntax.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from adapters.base import CheckpointError
from adapters.tokenizers import Tokenizer, load_tokenizer, load_tokenizer_file
from adapters.weights import weight_file

#: The four modules in the order in which the authors make them; each is stored as NAME.pt.
MODULES = ("noise_schedule", "gamma_bounds", "embedding_matrix", "model")
CONFIG = "config.json"
TOKENIZERS = ("tokenizer.json", "owt2_tokenizer.json")
#: Width of the noise schedule's hidden layer, of the sinusoids of gamma, and the width at which muP scales nothing
#: (lib/models.py; train.py, base modules).
SCHEDULE_WIDTH = 1024
GAMMA_FEATURES = 64
BASE_WIDTH = 256
#: Rows of the published checkpoint's training by (width, blocks, embedding width, vocabulary): the release notes of
#: v1.0.0 name these numbers for Plaid 1B.
PUBLISHED_LENGTHS = {(2048, 24, 16, 32768): 1024}


@dataclass(frozen=True)
class PlaidSize:
    """Architecture numbers, under the authors' names.

    Attributes:
        dim: width of the transformer.
        embed_dim: width of a token's embedding, which is what is diffused.
        n_blocks: transformer blocks.
        n_heads: attention heads; dim / n_heads is even.
        vocab_size: tokens.
    """

    dim: int
    embed_dim: int
    n_blocks: int
    n_heads: int
    vocab_size: int


def file_of(folder: Path, module: str) -> Path:
    """Where one of `MODULES` is stored, as published or converted."""
    return weight_file(folder, module + ".pt")


def size_of(path: Path, shapes: Mapping[str, Mapping[str, Tuple[int, ...]]], heads: Optional[int] = None) -> PlaidSize:
    """What the shapes of the stored tensors say.

    Args:
        path: the folder, for messages.
        shapes: by module and by name in its state dict.
        heads: number of heads the config or the card names, None where it names none.

    Raises:
        CheckpointError: where they are not those of a Plaid network, or say another number of heads.
    """
    model = shapes["model"]
    vocab_size, embed_dim = _matrix(path, shapes["embedding_matrix"], "matrix")
    dim = _matrix(path, model, "input_linear.weight")[0]
    blocks = {name.split(".")[1] for name in model if name.startswith("blocks.")}
    frequencies = model.get("rotary_emb.inv_freq", (0,))
    own = dim // (2 * frequencies[0]) if len(frequencies) == 1 and frequencies[0] else 0
    if not blocks or not own or own * 2 * frequencies[0] != dim:
        raise CheckpointError(
            "{}: model.pt has {} blocks and rotary frequencies {} at width {}, so it is no Plaid network.".format(
                path, len(blocks), list(frequencies), dim
            )
        )
    if heads is not None and heads != own:
        raise CheckpointError(
            "{}: n_heads is said to be {}, but the rotary frequencies in model.pt are those of {} heads.".format(
                path, heads, own
            )
        )
    return PlaidSize(dim, embed_dim, len(blocks), own, vocab_size)


def _matrix(path: Path, shapes: Mapping[str, Tuple[int, ...]], name: str) -> Tuple[int, int]:
    shape = shapes.get(name, ())
    if len(shape) != 2:
        found = ", ".join(sorted(shapes)[:3]) or "nothing"
        raise CheckpointError(
            "{} is no Plaid checkpoint: '{}' is not a matrix in it (found: {}).".format(path, name, found)
        )
    return shape[0], shape[1]


def read_config(folder: Path) -> Dict[str, Any]:
    """What `config.json` beside the weights says, {} where there is none.

    Raises:
        CheckpointError: where it is no JSON object, or n_heads or seq_len is no count.
    """
    file = folder / CONFIG
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError("{} is not JSON ({}).".format(file, error)) from None
    if not isinstance(config, dict):
        raise CheckpointError('{} is no JSON object such as {{"seq_len": 256}}.'.format(file))
    for name in ("n_heads", "seq_len"):
        value = config.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise CheckpointError("{}: {} is {!r}, not a whole number from 1.".format(file, name, value))
    return config


def settings(folder: Path, options: Mapping[str, Any]) -> Dict[str, Any]:
    """n_heads and seq_len as the card's checkpoint options say, or else `config.json`; what nothing says is missing."""
    named = {**read_config(folder), **options}
    return {name: named[name] for name in ("n_heads", "seq_len") if named.get(name) is not None}


def row_length(folder: Path, size: PlaidSize, named: Mapping[str, Any]) -> int:
    """Tokens of a training row: as `settings` says, or that of the published checkpoint of this size.

    Raises:
        CheckpointError: where nothing tells.
    """
    shape = (size.dim, size.n_blocks, size.embed_dim, size.vocab_size)
    length = named.get("seq_len", PUBLISHED_LENGTHS.get(shape))
    if length is None:
        raise CheckpointError(
            "{}: Plaid's files do not say how long the training rows were: write {} beside them, for instance "
            '{{"seq_len": 256}}.'.format(folder, CONFIG)
        )
    return int(length)


def tokenizer_of(name: str, folder: Path) -> Tokenizer:
    """The tokenizer a card names; "folder" takes either of `TOKENIZERS` beside the weights.

    Raises:
        CheckpointError: where it is missing or malformed.
        AdapterError: where a Hub tokenizer cannot be had.
    """
    if name != "folder":
        return load_tokenizer(name, folder)
    found = [folder / file for file in TOKENIZERS if (folder / file).is_file()]
    if not found:
        raise CheckpointError(
            "{} has no tokenizer: copy misc/owt2_tokenizer.json of the authors' repository into it.".format(folder)
        )
    return load_tokenizer_file(found[0])
