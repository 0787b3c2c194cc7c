"""The authors' code of DiffuSeq that makes rows of texts and texts of rows, with what it needs replaced.

Python 3.8 syntax: this runs inside old images too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import torch

from adapters.diffuseq.layout import OWN_VOCABULARY
from adapters.diffuseq.texts import clean_up
from adapters.upstream import StandIn, patched

#: Start, end, unknown and padding, with which an own vocabulary begins.
OWN_SPECIAL = 4


class Rows(Dict[str, List[Any]]):
    """Stand-in for their `datasets.Dataset`: columns by name."""

    @classmethod
    def from_dict(cls, columns: Mapping[str, List[Any]]) -> Rows:
        return cls(columns)

    def map(
        self, function: Callable[[Dict[str, Any]], Dict[str, Any]], remove_columns: Sequence[str] = (), **_: Any
    ) -> Rows:
        """All rows as one batch through `function`."""
        columns = {**self, **function(dict(self))}
        return Rows({name: column for name, column in columns.items() if name not in remove_columns})


def stand_ins() -> Dict[str, ModuleType]:
    """Stand-ins for the packages that their data code imports."""

    class Process:
        def memory_info(self) -> Namespace:
            return Namespace(rss=0)

    found: Dict[str, Dict[str, Any]] = {
        "datasets": {"Dataset": Rows, "DatasetDict": dict},
        "psutil": {"Process": Process},
    }
    modules = {}
    for name, content in found.items():
        modules[name] = ModuleType(name)
        modules[name].__dict__.update(content)
    return modules


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what their code prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


class TheirTokenizer:
    """Their tokenizer as ours are: no special tokens added, text as their library version decodes it.

    Args:
        tokens: their `myTokenizer`.
    """

    eos_id: Optional[int] = None

    def __init__(self, tokens: Any) -> None:
        self.tokens = tokens
        self.vocab_size = int(tokens.vocab_size)
        self._rust = None if isinstance(tokens.tokenizer, dict) else tokens.tokenizer.backend_tokenizer

    def encode(self, text: str) -> List[int]:
        """Ids without the first and last one, which their code adds."""
        ids: List[int] = self.tokens.encode_token([text])[0][1:-1]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Their `decode_token`: special tokens stay, paddings at the end do not."""
        text: str = self.tokens.decode_token(torch.tensor(list(ids), dtype=torch.int64)[:, None])
        return text if self._rust is None else clean_up(text)


class CutSources:
    """Their tokenizer for sources alone: theirs would fill the row with a long source, and leave a target no room.

    Args:
        tokens: their `myTokenizer`.
        most: tokens kept of each text.
    """

    def __init__(self, tokens: Any, most: int) -> None:
        self._tokens = tokens
        self._most = most
        self.sep_token_id, self.pad_token_id = tokens.sep_token_id, tokens.pad_token_id
        #: Tokens cut off each text so far: of the sources, then of the (empty) targets.
        self.left_off: List[int] = []

    def encode_token(self, texts: Sequence[str]) -> List[List[int]]:
        """Ids of each text, cut, with their start and end."""
        rows = self._tokens.encode_token(texts)
        self.left_off += [max(0, len(row) - 2 - self._most) for row in rows]
        return [row[:1] + row[1:-1][: self._most] + row[-1:] for row in rows]


def load_tokens(code: Mapping[str, ModuleType], folder: Path, args: Mapping[str, Any]) -> Any:
    """Their tokenizer from the files in the folder."""
    utils = code["basic_utils"]
    with tempfile.TemporaryDirectory() as scratch, quiet():
        chosen = Namespace(vocab=args["vocab"], config_name=str(folder), checkpoint_path=scratch)
        if chosen.vocab != "bert":
            chosen.vocab = _word_list(folder, Path(scratch))
        with patched(utils, os=StandIn(os, environ={"LOCAL_RANK": "0"})):
            tokens = utils.myTokenizer(chosen)
    if not isinstance(tokens.tokenizer, dict):
        _decode_whole(tokens.tokenizer)
    return tokens


def _word_list(folder: Path, scratch: Path) -> str:
    """The file they read an own vocabulary from, made again of what their training run leaves."""
    ids = json.loads((folder / OWN_VOCABULARY).read_text(encoding="utf-8"))
    words = sorted(ids, key=ids.__getitem__)[OWN_SPECIAL:]
    file = scratch / "words.txt"
    file.write_text("\n".join(words) + "\n", encoding="utf-8")
    return str(file)


def _decode_whole(tokenizer: Any) -> None:
    """Leave all tidying of decoded text to `clean_up`, whatever version of `tokenizers` is installed."""
    from tokenizers import decoders

    tokenizer.backend_tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.clean_up_tokenization_spaces = False
