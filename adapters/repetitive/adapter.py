"""The control `repetitive`: samplers with no parameters whose text a judge finds predictable and a reader senseless.

Franca and Tong (2026, "Hacking Generative Perplexity", arXiv 2606.08417) name four: common tokens drawn independently,
the same with a second half that copies the first, the common tokens read out in a circle, and a bank of common 5-grams
strung together. That much is theirs, as summaries of the paper tell it; the paper itself was not at hand. Ours is:

* how many tokens are "common": e^H of them, H the mean unigram entropy of windows of the training text, so that reading
  them in a circle has the entropy of real text;
* the phrases: an eighth of the sequence or a little more, from behind one break to the next (a space, or the end of a
  sentence), because seams inside words or sentences are what small judges notice. Long ones are rarely repeated in the
  training text; then the bank holds the first ones of it, and what repeats itself is the sample;
* how a prompt is met: `periodic` and `mirror` repeat it, which is the same trick, the others write on behind it.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import cycle, islice

import numpy as np

from adapters.base import AdapterError, GenerateRequest, LoadSpec, NotAvailable
from adapters.controls import Control, Ids, PreparedData, prepared_data

#: Training tokens that are counted; the start of a large corpus says enough.
COUNTED_TOKENS = 2_000_000
#: Windows that the entropy of real text is measured on.
ENTROPY_WINDOWS = 200
#: Phrases in a sequence, about.
PHRASES = 8
#: Least share of the tokens that a kind of break must have to cut phrases by.
BREAK_SHARE = 0.02

#: Writes tokens: (given tokens, how many, rng) -> that many ids.
Writer = Callable[[list[int], int, random.Random], list[int]]


class Repetitive(Control):
    """The four samplers over one training text.

    Args:
        data: the prepared benchmark.
        ids: of its training text; with none every request says why.
    """

    schedulers = ("phrases", "periodic", "mirror", "top_tokens")

    def __init__(self, data: PreparedData, ids: Ids) -> None:
        super().__init__(data)
        self.notes = data.train_notes
        self._ids = ids[:COUNTED_TOKENS]
        self._writers: dict[tuple[str, int, int], Writer] = {}

    def check(self, request: GenerateRequest) -> None:
        super().check(request)
        if len(self._ids) == 0:
            raise self.data.no_training_text()
        bank_size(request.options)

    def fill(self, request: GenerateRequest, row: int, ids: Ids, blank: Ids, rng: random.Random) -> None:
        given = ids[: blank[0]].tolist()
        ids[blank] = self._writer(request)(given, len(blank), rng)

    def _writer(self, request: GenerateRequest) -> Writer:
        key = (request.scheduler, request.length, bank_size(request.options))
        if key not in self._writers:
            self._writers[key] = self._make(*key)
        return self._writers[key]

    def _make(self, scheduler: str, length: int, size: int) -> Writer:
        if scheduler == "phrases":
            return phrases(self._bank(length, size))
        tokens, counts = common_tokens(self._ids, length)
        writers = {
            "periodic": periodic(tokens),
            "mirror": mirror(tokens, counts),
            "top_tokens": drawn(tokens, counts),
        }
        return writers[scheduler]

    def _bank(self, length: int, size: int) -> list[list[int]]:
        at_least = max(1, length // PHRASES)
        bank = phrase_bank(self._ids, self._breaks(), at_least, size)
        if not bank:
            raise NotAvailable(f"the training text is too short for one phrase of {at_least} tokens.")
        return bank

    def _breaks(self) -> Ids:
        """Ids behind which text may be cut: spaces, or ends of sentences, or where neither is common the commonest."""
        counts = np.bincount(self._ids, minlength=self.tokenizer.vocab_size)
        texts = {int(i): self.tokenizer.decode([int(i)]) for i in np.flatnonzero(counts)}
        for kind in ({" "}, {".", "!", "?"}):
            found = np.array([i for i, text in texts.items() if text in kind], dtype=np.int64)
            if counts[found].sum() >= BREAK_SHARE * len(self._ids):
                return found
        return np.array([counts.argmax()])


def bank_size(options: Mapping[str, object]) -> int:
    """The option `bank`: how many phrases there are."""
    size = options.get("bank", 100)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise AdapterError(f"bank must be a whole number, 1 or more, got '{size}'.")
    return size


def entropy(ids: Ids) -> float:
    """Shannon entropy of the tokens of one sequence, in nats."""
    shares = np.unique(ids, return_counts=True)[1] / len(ids)
    return float(-(shares * np.log(shares)).sum())


def common_tokens(ids: Ids, length: int) -> tuple[list[int], list[int]]:
    """The e^H commonest tokens, the commonest first, and their counts; H is the mean entropy of windows of `length`."""
    starts = np.linspace(0, max(0, len(ids) - length), ENTROPY_WINDOWS).astype(np.int64)
    mean = float(np.mean([entropy(ids[start : start + length]) for start in starts]))
    ranked = Counter(ids.tolist()).most_common(max(1, round(math.exp(mean))))
    return [token for token, _ in ranked], [count for _, count in ranked]


def phrase_bank(ids: Ids, breaks: Ids, at_least: int, size: int) -> list[list[int]]:
    """The `size` commonest phrases; among equals the first in the text.

    Args:
        ids: of the training text.
        breaks: ids that a phrase begins behind and ends with.
        at_least: tokens of a phrase; it goes on to the next break.
        size: phrases wanted.
    """
    places = np.flatnonzero(np.isin(ids, breaks))
    starts = np.append(0, places + 1)
    ends = np.append(places, len(ids))[np.searchsorted(places, starts + at_least - 1)]
    text = ids.tolist()
    # An end at len(ids) is no break: the text stops inside that phrase.
    found = (tuple(text[start : end + 1]) for start, end in zip(starts, ends, strict=True) if end < len(ids))
    return [list(phrase) for phrase, _ in Counter(found).most_common(size)]


def phrases(bank: list[list[int]]) -> Writer:
    """Phrases drawn uniformly from a bank and strung together."""

    def write(given: list[int], count: int, rng: random.Random) -> list[int]:
        written: list[int] = []
        while len(written) < count:
            written += rng.choice(bank)
        return written[:count]

    return write


def periodic(tokens: list[int]) -> Writer:
    """What is given, or else `tokens` from a random place on, over and over."""

    def write(given: list[int], count: int, rng: random.Random) -> list[int]:
        start = rng.randrange(len(tokens))
        return list(islice(cycle(given or tokens[start:] + tokens[:start]), count))

    return write


def drawn(tokens: list[int], counts: list[int]) -> Writer:
    """Independent draws at the rate of the counts."""

    def write(given: list[int], count: int, rng: random.Random) -> list[int]:
        return rng.choices(tokens, counts, k=count)

    return write


def mirror(tokens: list[int], counts: list[int]) -> Writer:
    """What is given, or else independent draws for the first half, copied until the end."""
    first_half = drawn(tokens, counts)

    def write(given: list[int], count: int, rng: random.Random) -> list[int]:
        half = given or first_half([], (count + 1) // 2, rng)
        return list(islice(cycle(half), count))

    return write


def load(spec: LoadSpec) -> Repetitive:
    """The `repetitive` control of a prepared benchmark."""
    data = prepared_data(spec)
    return Repetitive(data, data.train_ids())
