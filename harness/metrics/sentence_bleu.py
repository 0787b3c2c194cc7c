"""BLEU of one sentence with the smoothing that DiffuSeq and its followers use, fast enough for MBR.

It is nltk's ``sentence_bleu(..., smoothing_function=SmoothingFunction().method4)`` with uniform weights, float for
float (the tests compare them), from n-gram counts that are made once a text and not once a pair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from harness.metrics.ngrams import Ngram, count_ngrams

ORDER = 4
#: Constant of smoothing method 4 (Chen and Cherry 2014, section 3.4; nltk's default).
K = 5


class Counted(NamedTuple):
    """A text as BLEU sees it: its number of tokens, and for each order 1, 2, ... the counts of its n-grams."""

    length: int
    counts: list[Counter[Ngram]]


def counted(text: str, order: int = ORDER) -> Counted:
    """A text cut at white space, its n-grams counted up to `order`."""
    tokens = text.split()
    return Counted(len(tokens), [count_ngrams(tokens, n) for n in range(1, order + 1)])


def sentence_bleu(hypothesis: Counted, references: Sequence[Counted]) -> float:
    """Smoothed BLEU, 0..1, of one text against one reference or more, up to the order that was counted.

    Matches are clipped by the largest count in any reference and the brevity penalty takes the reference of the nearest
    length, the shorter of two (Papineni et al. 2002). The k-th order without a match counts as
    ln(length) / (2^k * K) matches, k = 1, 2, ...; a text without any common word has 0. In a text of one word, orders
    without a match are left out, as nltk does.
    """
    precisions, zeros = [], 1
    for n, counts in enumerate(hypothesis.counts):
        matches: float = _matches(counts, [reference.counts[n] for reference in references])
        if not matches:
            if n == 0:
                return 0.0
            if hypothesis.length == 1:
                continue
            matches = 1 / (2**zeros * K / math.log(hypothesis.length))
            zeros += 1
        precisions.append(matches / max(1, hypothesis.length - n))
    weight = 1 / len(hypothesis.counts)
    penalty = _brevity_penalty(hypothesis.length, [reference.length for reference in references])
    return penalty * math.exp(math.fsum(weight * math.log(precision) for precision in precisions))


def _matches(counts: Counter[Ngram], references: Sequence[Counter[Ngram]]) -> int:
    if len(references) == 1:
        other = references[0]
        return sum(min(count, other[gram]) for gram, count in counts.items() if gram in other)
    return sum(min(count, max(other[gram] for other in references)) for gram, count in counts.items())


def _brevity_penalty(length: int, references: Sequence[int]) -> float:
    closest = min(references, key=lambda reference: (abs(reference - length), reference))
    return 1.0 if length > closest else math.exp(1 - closest / length)
