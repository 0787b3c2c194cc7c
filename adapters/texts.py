"""What every model of text shares: prompts as rows of tokens, texts as windows, windows as figures.

Written in Python 3.8 syntax with torch alone, because upstream engines import it inside old images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from adapters.base import (
    AdapterError,
    CountedNetwork,
    GenerateRequest,
    LikelihoodRequest,
    LikelihoodResult,
    NotAvailable,
    TextLikelihood,
)
from adapters.tokenizers import Tokenizer

#: Monte-Carlo draws a text where a likelihood request names none.
DEFAULT_DRAWS = 16


def check_vocabulary(tokenizer: Tokenizer, mask_id: int) -> None:
    """Raise `AdapterError` where a tokenizer is not that of a network whose tokens are ids 0..mask_id-1."""
    if tokenizer.vocab_size != mask_id:
        raise AdapterError(
            "the tokenizer has {} ids but the network was trained on {}; name the right tokenizer".format(
                tokenizer.vocab_size, mask_id
            )
        )


def prompt_rows(request: GenerateRequest, tokenizer: Tokenizer, mask_id: int) -> Tensor:
    """Rows [B, L] int64 on the CPU: each prompt's prefix at the start, its suffix at the end, `mask_id` elsewhere.

    Raises:
        AdapterError: for a prompt that leaves nothing to write.
    """
    tokens = torch.full((request.count, request.length), mask_id, dtype=torch.int64)
    for row, prompt in enumerate(request.prompts):
        prefix, suffix = tokenizer.encode(prompt.prefix), tokenizer.encode(prompt.suffix)
        given = len(prefix) + len(suffix)
        if given >= request.length:
            raise AdapterError(
                "prompt {} has {} tokens, which leaves nothing to write in {}".format(row, given, request.length)
            )
        tokens[row, : len(prefix)] = torch.tensor(prefix, dtype=torch.int64)
        tokens[row, request.length - len(suffix) :] = torch.tensor(suffix, dtype=torch.int64)
    return tokens


def decode_rows(tokenizer: Tokenizer, tokens: Tensor) -> List[str]:
    """The texts of rows [B, L]."""
    return [tokenizer.decode(ids) for ids in tokens.tolist()]


def cut(ids: Sequence[int], max_length: Optional[int]) -> List[List[int]]:
    """Windows side by side of at most `max_length` ids, the last one shorter; None cuts nothing."""
    size = max_length or max(len(ids), 1)
    return [list(ids[i : i + size]) for i in range(0, len(ids), size)]


@dataclass(frozen=True)
class Windows:
    """Windows of one length: padding would be seen by a network without an attention mask.

    Attributes:
        texts: for each window the index of its text.
        tokens: ids [R, L] int64, on the CPU.
    """

    texts: List[int]
    tokens: Tensor


def windows_of(texts: Sequence[str], tokenizer: Tokenizer, max_length: Optional[int]) -> List[Windows]:
    """The windows of some texts, grouped by length, short ones first; an empty text has none."""
    groups: Dict[int, List[int]] = {}
    rows: Dict[int, List[List[int]]] = {}
    for index, text in enumerate(texts):
        for window in cut(tokenizer.encode(text), max_length):
            groups.setdefault(len(window), []).append(index)
            rows.setdefault(len(window), []).append(window)
    return [Windows(groups[length], torch.tensor(rows[length])) for length in sorted(groups)]


class WindowSums:
    """Adds up the figures of windows to those of their texts; the errors of windows are independent.

    Args:
        texts: how many there are.
    """

    def __init__(self, texts: int) -> None:
        self._nats = [0.0] * texts
        self._variance = [0.0] * texts
        self._tokens = [0] * texts
        self._nfe = [0] * texts
        self._terms: List[Dict[str, float]] = [{} for _ in range(texts)]

    def add(
        self,
        windows: Windows,
        nats: Sequence[float],
        errors: Sequence[float],
        nfe: Sequence[int],
        terms: Optional[Mapping[str, Sequence[float]]] = None,
    ) -> None:
        """Add one group.

        Args:
            windows: the group, R windows.
            nats: figure of each window.
            errors: its Monte-Carlo standard error; 0 where exact, NaN where unknown.
            nfe: network evaluations spent on it.
            terms: parts of its figure by name.

        Raises:
            ValueError: where these are not R figures each.
        """
        if not len(windows.texts) == len(nats) == len(errors) == len(nfe):
            counts = (len(windows.texts), len(nats), len(errors), len(nfe))
            raise ValueError("windows, nats, errors and nfe differ in number: {}".format(counts))
        for i, text in enumerate(windows.texts):
            self._nats[text] += nats[i]
            self._variance[text] += errors[i] ** 2
            self._tokens[text] += windows.tokens.shape[1]
            self._nfe[text] += nfe[i]
            for name, values in (terms or {}).items():
                self._terms[text][name] = self._terms[text].get(name, 0.0) + values[i]

    def result(self, kind: str) -> LikelihoodResult:
        """The figures of the texts, `kind` as in `LikelihoodResult`."""
        figures = [
            TextLikelihood(nats, None if math.isnan(variance) else math.sqrt(variance), tokens, terms)
            for nats, variance, tokens, terms in zip(self._nats, self._variance, self._tokens, self._terms)
        ]
        return LikelihoodResult(figures, kind, self._nfe)


def bounds_of_texts(
    request: LikelihoodRequest,
    estimators: Sequence[str],
    score: Callable[[Tensor, int], Tuple[Tensor, Tensor, Mapping[str, Tensor]]],
    counted: CountedNetwork,
    tokenizer: Tokenizer,
    max_length: Optional[int],
) -> LikelihoodResult:
    """Upper bounds of some texts, each the sum over its windows.

    Args:
        request: the texts, an estimator, and in its options `draws`.
        estimators: names that the model has.
        score: (ids [R, L] on the CPU, draws a window) -> bound, its Monte-Carlo standard error and its parts by name,
            [R] each in nats a window, by the estimator that the request names.
        counted: the network that `score` evaluates.
        tokenizer: of the model.
        max_length: longest window in tokens, None where unlimited.

    Raises:
        NotAvailable: where the model has no estimator.
        AdapterError: for an estimator that is not one of them.
    """
    if not estimators:
        raise NotAvailable("this model has no likelihood estimator")
    if request.estimator not in estimators:
        raise AdapterError("estimator '{}' is not one of {}".format(request.estimator, ", ".join(estimators)))
    sums = WindowSums(len(request.texts))
    draws = int(request.options.get("draws", DEFAULT_DRAWS))
    for windows in windows_of(request.texts, tokenizer, max_length):
        counted.reset(len(windows.texts))
        nats, errors, terms = score(windows.tokens, draws)
        parts = {name: values.tolist() for name, values in terms.items()}
        sums.add(windows, nats.tolist(), errors.tolist(), counted.nfe, parts)
    return sums.result("upper_bound")
