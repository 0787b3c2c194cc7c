"""What the option `guidance` says: tokens that are wanted or unwanted, and where; and what came of a prompt.

Python 3.8 syntax with torch alone: the authors' code is guided from here too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Union

from torch import Tensor

from adapters.base import AdapterError
from adapters.tokenizers import Tokenizer

#: Somewhere in the text, or at every place of it.
ANY, ALL = "any", "all"
KEYS = ("word", "token", "weight", "position", "complement")


@dataclass(frozen=True)
class Wish:
    """One entry of the option `guidance`.

    Attributes:
        token: id.
        weight: of its log-probability.
        position: index in the text, "any" or "all".
        complement: whether the token is unwanted: the log-probability is that of any other.
    """

    token: int
    weight: float
    position: Union[int, str]
    complement: bool = False


def read_wishes(value: Any, tokenizer: Tokenizer, weight: float, length: int) -> List[Wish]:
    """The option `guidance`: a list of mappings with `word` (exactly one token) or `token` (its id), `position`
    (0..length-1, "any" or "all"), and where wanted `weight` and `complement`.

    Args:
        value: as the user gave it.
        tokenizer: of the model.
        weight: of an entry that names none.
        length: tokens of the text.

    Raises:
        AdapterError: naming the entry, what is wrong with it, and for a word that is not one token into what it falls.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise AdapterError(
            f"guidance must be a list such as [{{word: ' law', weight: 10, position: 4}}], got '{value}'"
        )
    return [_wish(f"guidance entry {i + 1}", entry, tokenizer, weight, length) for i, entry in enumerate(value)]


def _wish(name: str, entry: Any, tokenizer: Tokenizer, weight: float, length: int) -> Wish:
    if not isinstance(entry, Mapping):
        raise AdapterError(f"{name} must be a mapping such as {{word: ' law', position: 4}}, got '{entry}'")
    if extra := [str(key) for key in entry if key not in KEYS]:
        raise AdapterError(f"{name} has no key '{extra[0]}': its keys are {', '.join(KEYS)}")
    weight = entry.get("weight", weight)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
        raise AdapterError(f"{name}: weight is '{weight}', not a number")
    complement = entry.get("complement", False)
    if not isinstance(complement, bool):
        raise AdapterError(f"{name}: complement is '{complement}', not true or false")
    return Wish(_token(name, entry, tokenizer), float(weight), _position(name, entry, length), complement)


def _token(name: str, entry: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    if ("word" in entry) == ("token" in entry):
        raise AdapterError(f"{name} must have either a word or a token (its id)")
    if "word" in entry:
        ids = tokenizer.encode(str(entry["word"]))
        if len(ids) != 1:
            parts = ", ".join(f"'{tokenizer.decode([i])}' = {i}" for i in ids) or "none"
            raise AdapterError(f"{name}: '{entry['word']}' is not one token but {len(ids)}: {parts}")
        return ids[0]
    token = entry["token"]
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < tokenizer.vocab_size:
        raise AdapterError(f"{name}: token {token} is outside 0..{tokenizer.vocab_size - 1}")
    return token


def _position(name: str, entry: Mapping[str, Any], length: int) -> Union[int, str]:
    position = entry.get("position")
    if position in (ANY, ALL):
        return str(position)
    if isinstance(position, bool) or not isinstance(position, int):
        raise AdapterError(f"{name}: position is '{position}': it must be 0..{length - 1}, '{ANY}' or '{ALL}'")
    if not 0 <= position < length:
        raise AdapterError(f"{name}: position {position} is outside the text of {length} tokens (0..{length - 1})")
    return position


def prompt_shares(tokens: Tensor, rows: Tensor, given: Tensor) -> List[Optional[float]]:
    """For each text the share of its given tokens that the model wrote by itself.

    Args:
        tokens: ids [B, L] as the model wrote them.
        rows: ids [B, L] of the prompts.
        given: bool [B, L], where they are.

    Returns:
        None for a text with no prompt; empty where none has one.
    """
    if not given.any():
        return []
    kept, count = ((tokens == rows) & given).sum(-1).tolist(), given.sum(-1).tolist()
    return [k / n if n else None for k, n in zip(kept, count)]
