"""The judge: an autoregressive language model that scores texts and turns them into features.

What a judge does to a text, all of it in `Judge.settings`::

    tokens   = the judge's own tokenizer on the text (retokenised: the generating model's ids play no part)
    sequence = BOS + tokens              BOS is prepended once and is not scored
    EOS        is never appended; one inside the text is scored like any other token
    window   = the judge's context; a longer sequence is read in windows that advance by half of it, and each token is
               scored once, in the first window that holds it
    features = final hidden state at the last token of the first window (as mauve-text takes them)

A text that the judge's tokenizer cannot encode (an unknown word, or a mask left in the text, under a word-level
tokenizer) is `None` in every list: its likelihood is not zero, not one, but unknown.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from adapters.base import AdapterError
from adapters.tokenizers import Tokenizer, load_tokenizer
from harness.checkpoints import training_facts
from harness.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]
_FILES = ("config.json", "tokenizer.json", "training.json")
_BATCH_TOKENS = 8192
_BATCH_LOGITS = 1 << 26  # 256 MB in float32
_REMEMBERED = 8  # results of whole sample sets, so that two metrics share one pass

T = TypeVar("T")


class TextNll(NamedTuple):
    """Negative log-likelihood of one text in nats, and the judge tokens it covers."""

    nats: float
    tokens: int


class _Chunk(NamedTuple):
    """One window of one text: `ids` are read, those from `scored_from` on are scored."""

    text: int
    ids: list[int]
    scored_from: int


class Judge:
    """A causal language model in a folder of Hugging Face's layout.

    Args:
        name: as the user knows it.
        digest: SHA-256 over the weights, 16 hex digits.
        model: a transformers causal language model in eval mode.
        tokenizer: gives ids below the model's vocabulary size.
        bos: id prepended to every text.
        device: torch device name.
    """

    def __init__(self, name: str, digest: str, model: Any, tokenizer: Tokenizer, bos: int, device: str = "cpu") -> None:
        self.name = name
        self.digest = digest
        self._model = model.to(device)
        self._tokenizer = tokenizer
        self._bos = bos
        self._device = device
        self.window = int(model.config.max_position_embeddings)
        self._remembered: OrderedDict[str, Any] = OrderedDict()

    @property
    def stride(self) -> int:
        """Tokens by which a window advances."""
        return max(1, self.window // 2)

    def settings(self) -> dict[str, Any]:
        """What a figure of this judge depends on beside the texts."""
        return {
            "judge": self.name,
            "judge_digest": self.digest,
            "window": self.window,
            "stride": self.stride,
            "bos": "prepended, not scored",
            "eos": "not appended; inside a text scored as any token",
            "dtype": str(self._model.dtype).removeprefix("torch."),
        }

    def nll(self, texts: Sequence[str]) -> list[TextNll | None]:
        """For each text its negative log-likelihood; None where it cannot be encoded. An empty text has 0 tokens."""
        return self._remember("nll", texts, self._compute_nll)

    def features(self, texts: Sequence[str]) -> npt.NDArray[np.float32] | None:
        """Features [N, D] of the texts, or None where one of them cannot be encoded."""
        return self._remember("features", texts, self._compute_features)

    def unscorable(self, texts: Sequence[str]) -> tuple[int, str]:
        """How many texts cannot be encoded, and why the first one cannot ("" for none)."""
        reasons = [reason for text in texts if (reason := self._encode(text)[1])]
        return len(reasons), reasons[0] if reasons else ""

    def _remember(self, kind: str, texts: Sequence[str], compute: Callable[[Sequence[str]], T]) -> T:
        key = hashlib.sha256(json.dumps([kind, list(texts)]).encode()).hexdigest()
        if key not in self._remembered:
            self._remembered[key] = compute(texts)
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        value: T = self._remembered[key]
        return value

    def _encode(self, text: str) -> tuple[list[int] | None, str]:
        """Ids of a text, or None and the reason."""
        try:
            return self._tokenizer.encode(text), ""
        except AdapterError as error:
            return None, str(error)

    def _compute_nll(self, texts: Sequence[str]) -> list[TextNll | None]:
        encoded = [self._encode(text)[0] for text in texts]
        nats = np.zeros(len(texts))
        for batch in self._batches(chunk for i, ids in enumerate(encoded) if ids for chunk in self._chunks(i, ids)):
            for chunk, value in zip(batch, self._score(batch), strict=True):
                nats[chunk.text] += value
        return [None if ids is None else TextNll(float(nats[i]), len(ids)) for i, ids in enumerate(encoded)]

    def _chunks(self, text: int, tokens: list[int]) -> Iterable[_Chunk]:
        """The windows of BOS + tokens; every token is scored in exactly one."""
        ids = [self._bos, *tokens]
        end = 1
        for start in range(0, len(ids), self.stride):
            stop = min(start + self.window, len(ids))
            yield _Chunk(text, ids[start:stop], end - start)
            end = stop
            if stop == len(ids):
                return

    def _batches(self, chunks: Iterable[_Chunk]) -> Iterable[list[_Chunk]]:
        """Chunks of like length together, within the token budget."""
        budget = max(1, min(_BATCH_TOKENS, _BATCH_LOGITS // self._model.config.vocab_size))
        batch: list[_Chunk] = []
        for chunk in sorted(chunks, key=lambda chunk: len(chunk.ids)):
            if batch and (len(batch) + 1) * len(chunk.ids) > budget:
                yield batch
                batch = []
            batch.append(chunk)
        if batch:
            yield batch

    def _padded(self, batch: Sequence[_Chunk]) -> torch.Tensor:
        """Ids [B, L], padded on the right, where a causal model's earlier positions cannot see it."""
        longest = max(len(chunk.ids) for chunk in batch)
        rows = [chunk.ids + [self._bos] * (longest - len(chunk.ids)) for chunk in batch]
        return torch.tensor(rows, device=self._device)

    @torch.inference_mode()
    def _score(self, batch: Sequence[_Chunk]) -> list[float]:
        """Nats of the scored part of each chunk; summed in float64."""
        ids = self._padded(batch)
        logits = self._model(input_ids=ids, use_cache=False).logits[:, :-1].float()
        nats = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").double()
        return [float(row[c.scored_from - 1 : len(c.ids) - 1].sum()) for row, c in zip(nats, batch, strict=True)]

    @torch.inference_mode()
    def _compute_features(self, texts: Sequence[str]) -> npt.NDArray[np.float32] | None:
        chunks = []
        for i, text in enumerate(texts):
            ids = self._encode(text)[0]
            if ids is None:
                return None
            chunks.append(_Chunk(i, [self._bos, *ids][: self.window], 1))
        features: dict[int, npt.NDArray[np.float32]] = {}
        for batch in self._batches(chunks):
            states = self._model.base_model(input_ids=self._padded(batch), use_cache=False).last_hidden_state
            for row, chunk in zip(states, batch, strict=True):
                features[chunk.text] = row[len(chunk.ids) - 1].float().cpu().numpy()
        return np.stack([features[i] for i in range(len(texts))])


def load_judge(name: str, device: str = "auto") -> Judge:
    """Load a judge in float32.

    Args:
        name: a folder (as given, or below the project) with config.json, tokenizer.json and safetensors weights (as
            `tdbench train model=gpt2` writes), or a model on the Hugging Face Hub that has these files, such as
            "gpt2-large".
        device: torch device name; "auto" takes the GPU where there is one.

    Raises:
        UserError: when it is not there, not whole, or not a causal language model.
    """
    folder = _find_folder(name)
    weights = sorted(folder.glob("*.safetensors"))
    # A judge trained here on characters has no tokenizer.json: its training.json says how it reads.
    reads = training_facts(folder).get("tokenizer") or "folder"
    needed = ["config.json", *(["tokenizer.json"] if reads == "folder" else [])]
    lacking = [file for file in needed if not (folder / file).is_file()] + ([] if weights else ["model.safetensors"])
    if lacking:
        raise UserError(f"the judge '{name}' lacks {', '.join(lacking)} in {folder}.")
    try:
        tokenizer = load_tokenizer(reads, folder)
    except AdapterError as error:
        raise UserError(f"the judge '{name}' cannot be used: {error}") from None
    model = _load_model(name, folder)
    bos = model.config.bos_token_id
    size = model.config.vocab_size
    if not isinstance(bos, int) or not 0 <= bos < size or tokenizer.vocab_size > size:
        raise UserError(
            f"the judge '{name}' does not fit its tokenizer: bos_token_id {bos}, {tokenizer.vocab_size} tokens, "
            f"but the model knows {size}. Check config.json."
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Judge(name, _digest(weights), model, tokenizer, bos, device)


def _find_folder(name: str) -> Path:
    for folder in (Path(name).expanduser(), _ROOT / name):
        if folder.is_dir():
            return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=[*_FILES, "*.safetensors"]))
    except HFValidationError:  # a path, not a name
        reason = "it is no name of a model there"
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = _first_line(error)
    raise UserError(
        f"the judge '{name}' is no folder here and could not be had from the Hugging Face Hub ({reason}). "
        "Give a folder with config.json, model.safetensors and tokenizer.json."
    )


def _load_model(name: str, folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    from adapters.causal import load_causal

    try:
        return load_causal(folder, AutoModelForCausalLM, torch.float32)[0]
    except AdapterError as error:
        raise UserError(f"the judge '{name}' cannot be loaded: {error}") from None


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 over the weight files, in name order, 16 hex digits."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
