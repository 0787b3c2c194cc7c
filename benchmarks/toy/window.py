"""Exact probability of a window of the benchmark `toy`: words cut out of the stream without regard to sentences.

A window begins at a random word of the stream. What follows that word is what its derivation still has to write: the
symbols right of it in its production, then those right of its parent in the parent's production, up to the root, then
new sentences. So the probability is a sum over all uses of the first word and, recursively, over all uses of the
nonterminals above it, each weighted by its expected number in a sentence. The sum is exact: uses that write no word of
the window lead back to the same position, which is a linear system.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.toy.grammar import Grammar, Symbols, is_nonterminal
from benchmarks.toy.rules import toy_grammar

Floats = NDArray[np.float64]


class Uses:
    """How a grammar uses its symbols.

    Attributes:
        grammar: the grammar.
        counts: expected number of each nonterminal in a sentence, in the order of the grammar.
        parents: for each symbol its uses: expected number in a sentence, number of the parent, symbols right of it.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        row = {name: i for i, name in enumerate(grammar.nonterminals)}
        children = np.zeros((len(row), len(row)))
        for production in grammar.productions:
            for symbol in filter(is_nonterminal, production.right):
                children[row[symbol], row[production.left]] += production.probability
        root = np.arange(len(row)) == row[grammar.start]
        self.counts: Floats = np.linalg.solve(np.eye(len(row)) - children, root.astype(np.float64))
        self.parents: dict[str, list[tuple[float, int, Symbols]]] = {}
        for production in grammar.productions:
            parent = row[production.left]
            rate = float(self.counts[parent]) * production.probability
            for i, symbol in enumerate(production.right):
                self.parents.setdefault(symbol, []).append((rate, parent, production.right[i + 1 :]))


@cache
def _toy_uses() -> Uses:
    return Uses(toy_grammar())


def window_nats(text: str) -> float:
    """-ln p of a window of `toy` with at least one word; infinite for one that the source never gives."""
    probability = window_probability(_toy_uses(), text.split())
    return -math.log(probability) if probability > 0 else math.inf


def window_probability(uses: Uses, words: Sequence[str]) -> float:
    """Probability that a random word of the stream and those behind it are `words`."""
    after = _after(uses, words)
    total = 0.0
    for rate, parent, rest in uses.parents.get(words[0], ()):
        end, chance = _write(uses.grammar, rest, words, 1)
        total += rate * chance * float(after[end][parent])
    return total / uses.grammar.mean_length()


def _write(grammar: Grammar, symbols: Symbols, words: Sequence[str], i: int) -> tuple[int, float]:
    """Where symbols stop that write `words` from position i on, and with what probability they do; (n, p) where they
    write all the rest, whatever they write behind it. The next word decides every production, so there is one way.
    """
    stack = list(reversed(symbols))
    chance = 1.0
    while stack and i < len(words):
        symbol = stack.pop()
        if not is_nonterminal(symbol):
            if symbol != words[i]:
                return i, 0.0
            i += 1
            continue
        production = grammar.choice(symbol, words[i])
        if production is None:
            return i, 0.0
        chance *= production.probability
        stack.extend(reversed(production.right))
    return i, chance


def _after(uses: Uses, words: Sequence[str]) -> list[Floats]:
    """For each position i of 0..n and each nonterminal, the probability of the words from i on where an occurrence of
    it, any of the stream, has just been written.
    """
    names, n = uses.grammar.nonterminals, len(words)
    after: list[Floats] = [np.ones(len(names)) for _ in range(n + 1)]
    fresh = [1.0] * (n + 1)  # of the words from i on where a sentence begins
    for i in reversed(range(n)):
        end, chance = _write(uses.grammar, (uses.grammar.start,), words, i)
        fresh[i] = chance * fresh[end] if chance else 0.0
        known, stay = np.zeros(len(names)), np.zeros((len(names), len(names)))
        for row, name in enumerate(names):
            known[row] = fresh[i] / uses.counts[row] if name == uses.grammar.start else 0.0
            for rate, parent, rest in uses.parents.get(name, ()):
                end, chance = _write(uses.grammar, rest, words, i)
                share = rate * chance / float(uses.counts[row])
                if end == i:
                    stay[row, parent] += share
                else:
                    known[row] += share * after[end][parent]
        after[i] = np.asarray(np.linalg.solve(np.eye(len(names)) - stay, known), dtype=np.float64)
    return after
