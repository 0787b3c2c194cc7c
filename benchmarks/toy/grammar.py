"""Probabilistic context-free grammars in which the next word always decides the production.

Such a grammar (LL(1)) is unambiguous: a sentence has exactly one leftmost derivation, so its probability is the product
of the probabilities along it, and sampling, parsing and entropy are all exact and fast.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Symbols = tuple[str, ...]
Rules = Mapping[str, Sequence[tuple[float, Symbols]]]
#: The productions of a leftmost derivation, by number, in order.
Derivation = tuple[int, ...]

_TOLERANCE = 1e-9


class GrammarError(ValueError):
    """A grammar that breaks a rule of this module; names the symbol and what is wrong."""


def is_nonterminal(symbol: str) -> bool:
    """Whether a symbol is defined by rules: its first character is a capital."""
    return symbol[:1].isupper()


@dataclass(frozen=True)
class Production:
    """``left -> right`` with its probability among the productions of `left`; `right` may be empty."""

    left: str
    probability: float
    right: Symbols


class Grammar:
    """A validated grammar.

    Args:
        rules: for each nonterminal its productions (probability, symbols); the first nonterminal is the start.

    Raises:
        GrammarError: where probabilities are not positive or do not sum to one, a nonterminal is undefined or cannot be
            reached, two productions can begin with the same word, or derivations do not end with probability one.
    """

    def __init__(self, rules: Rules) -> None:
        self.start = next(iter(rules))
        self.nonterminals: Symbols = tuple(rules)
        self.productions = [Production(left, p, right) for left, options in rules.items() for p, right in options]
        self.words: Symbols = tuple(
            dict.fromkeys(s for production in self.productions for s in production.right if not is_nonterminal(s))
        )
        _check_probabilities(rules)
        _check_symbols(rules)
        self._table = _prediction_table(self.productions, self.start)
        self._row = {name: i for i, name in enumerate(self.nonterminals)}
        self._solve_expectations = _expectation_matrix(self.productions, self._row)
        self._right = [production.right[::-1] for production in self.productions]
        self._log = [math.log(production.probability) for production in self.productions]
        self._choices = self._sampling_table()

    def _sampling_table(self) -> dict[str, tuple[int, list[float]]]:
        """First production of each nonterminal and the inner borders of the cumulated probabilities."""
        table: dict[str, tuple[int, list[float]]] = {}
        for name in self.nonterminals:
            numbers = [i for i, production in enumerate(self.productions) if production.left == name]
            borders = list(accumulate(self.productions[i].probability for i in numbers))[:-1]
            table[name] = (numbers[0], borders)
        return table

    def sample(self, rng: random.Random) -> list[str]:
        """One sentence, drawn from the grammar's distribution."""
        words: list[str] = []
        stack = [self.start]
        while stack:
            symbol = stack.pop()
            choice = self._choices.get(symbol)
            if choice is None:
                words.append(symbol)
            else:
                first, borders = choice
                stack.extend(self._right[first + bisect_right(borders, rng.random())])
        return words

    def choice(self, nonterminal: str, word: str) -> Production | None:
        """The only production of a nonterminal that can come before `word`, None where none can."""
        number = self._table[nonterminal].get(word)
        return None if number is None else self.productions[number]

    def parse(self, tokens: Iterable[str]) -> Derivation | None:
        """The one derivation of a sentence, or None where it is not in the language."""
        derivation: list[int] = []
        stack = [self.start]
        for token in tokens:
            while stack and stack[-1] in self._table:
                number = self._table[stack.pop()].get(token)
                if number is None:
                    return None
                derivation.append(number)
                stack.extend(self._right[number])
            if not stack or stack.pop() != token:
                return None
        # What is left must be able to vanish: "" is the entry for the end of the text.
        while stack:
            number = self._table.get(stack.pop(), {}).get("")
            if number is None:
                return None
            derivation.append(number)
            stack.extend(self._right[number])
        return tuple(derivation)

    def generate(self, derivation: Derivation) -> list[str]:
        """The sentence of a derivation: the inverse of `parse`.

        Raises:
            ValueError: for a sequence of productions that is no complete leftmost derivation.
        """
        words: list[str] = []
        stack = [self.start]
        numbers = iter(derivation)
        while stack:
            symbol = stack.pop()
            if symbol not in self._table:
                words.append(symbol)
                continue
            number = next(numbers, None)
            if number is None or self.productions[number].left != symbol:
                raise ValueError(f"no derivation: {symbol} cannot be replaced by production {number}")
            stack.extend(self._right[number])
        if next(numbers, None) is not None:
            raise ValueError("no derivation: productions are left over")
        return words

    def log_probability(self, tokens: Iterable[str]) -> float | None:
        """Natural logarithm of a sentence's probability, or None where it is not in the language."""
        derivation = self.parse(tokens)
        return None if derivation is None else math.fsum(self._log[number] for number in derivation)

    def entropy(self) -> float:
        """Entropy of a sentence in nats, exact.

        H(N) = -sum_r p_r ln p_r + sum_r p_r sum_{children B of r} H(B) (Grenander 1976; derivations are unique here).
        """
        own = [-production.probability * math.log(production.probability) for production in self.productions]
        return self._expected_sum(own)

    def mean_length(self) -> float:
        """Expected number of words in a sentence, exact."""
        counts = [
            production.probability * sum(not is_nonterminal(symbol) for symbol in production.right)
            for production in self.productions
        ]
        return self._expected_sum(counts)

    def entropy_rate(self) -> float:
        """Nats per token of an endless stream of independent sentences: `entropy` / `mean_length`.

        The rate of a stationary source is the floor under nats/token of every model and bound on its windows.
        """
        return self.entropy() / self.mean_length()

    def _expected_sum(self, per_production: Sequence[float]) -> float:
        """Expected total over a derivation of figures given for each production, its probability included."""
        local = np.zeros(len(self.nonterminals))
        for production, figure in zip(self.productions, per_production, strict=True):
            local[self._row[production.left]] += figure
        return float(np.linalg.solve(self._solve_expectations, local)[self._row[self.start]])

    def enumerate_sentences(self, min_probability: float) -> Iterator[tuple[tuple[str, ...], float]]:
        """Every sentence at least `min_probability` likely with its probability, likeliest first."""
        heap: list[tuple[float, Derivation, Symbols, Symbols]] = [(-1.0, (), (), (self.start,))]
        while heap:
            negative, derivation, words, stack = heapq.heappop(heap)
            while stack and stack[-1] not in self._table:
                words, stack = (*words, stack[-1]), stack[:-1]
            if not stack:
                yield words, -negative
                continue
            for number in sorted(set(self._table[stack[-1]].values())):
                probability = -negative * self.productions[number].probability
                if probability >= min_probability:
                    rest = (*stack[:-1], *self._right[number])
                    heapq.heappush(heap, (-probability, (*derivation, number), words, rest))


def _check_probabilities(rules: Rules) -> None:
    for name, options in rules.items():
        if not is_nonterminal(name):
            raise GrammarError(f"{name} is defined by a rule but does not begin with a capital")
        if any(not p > 0 for p, _ in options):
            raise GrammarError(f"{name} has a probability that is not above 0")
        total = math.fsum(p for p, _ in options)
        if abs(total - 1) > _TOLERANCE:
            raise GrammarError(f"the probabilities of {name} sum to {total:.12g}, not to 1")


def _check_symbols(rules: Rules) -> None:
    for name, options in rules.items():
        for symbol in (s for _, right in options for s in right):
            if is_nonterminal(symbol) and symbol not in rules:
                raise GrammarError(f"{name} uses {symbol}, which no rule defines")
    reached: set[str] = set()
    todo = [next(iter(rules))]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += [s for _, right in rules[name] for s in right if is_nonterminal(s)]
    for name in rules:
        if name not in reached:
            raise GrammarError(f"{name} cannot be reached from the start")


def _first_of(symbols: Iterable[str], first: Mapping[str, set[str]]) -> set[str]:
    """Words a sequence of symbols can begin with; "" is among them where the whole sequence can be empty."""
    found: set[str] = set()
    for symbol in symbols:
        begins = first[symbol] if is_nonterminal(symbol) else {symbol}
        found |= begins - {""}
        if "" not in begins:
            return found
    return found | {""}


def _first_sets(productions: Sequence[Production]) -> dict[str, set[str]]:
    first: dict[str, set[str]] = {production.left: set() for production in productions}
    changed = True
    while changed:
        changed = False
        for production in productions:
            new = _first_of(production.right, first) - first[production.left]
            first[production.left] |= new
            changed = changed or bool(new)
    return first


def _follow_sets(productions: Sequence[Production], start: str, first: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Words that can come after each nonterminal; "" stands for the end of the text."""
    follow: dict[str, set[str]] = {production.left: set() for production in productions}
    follow[start].add("")
    changed = True
    while changed:
        changed = False
        for production in productions:
            for i, symbol in enumerate(production.right):
                if not is_nonterminal(symbol):
                    continue
                after = _first_of(production.right[i + 1 :], first)
                new = (after - {""}) | (follow[production.left] if "" in after else set())
                changed = changed or not new <= follow[symbol]
                follow[symbol] |= new
    return follow


def _prediction_table(productions: Sequence[Production], start: str) -> dict[str, dict[str, int]]:
    """For each nonterminal and next word ("" at the end) the only production that can apply (an LL(1) table)."""
    first = _first_sets(productions)
    follow = _follow_sets(productions, start, first)
    table: dict[str, dict[str, int]] = {production.left: {} for production in productions}
    for number, production in enumerate(productions):
        begins = _first_of(production.right, first)
        if "" in begins:
            begins = (begins - {""}) | follow[production.left]
        for word in sorted(begins):
            if word in table[production.left]:
                shown = f"'{word}'" if word else "the end of the text"
                raise GrammarError(f"two productions of {production.left} are possible before {shown}: not LL(1)")
            table[production.left][word] = number
    return table


def _expectation_matrix(productions: Sequence[Production], row: Mapping[str, int]) -> NDArray[np.float64]:
    """I - M, where M[A, B] is the expected number of B in one expansion of A."""
    children = np.zeros((len(row), len(row)))
    for production in productions:
        for symbol in production.right:
            if is_nonterminal(symbol):
                children[row[production.left], row[symbol]] += production.probability
    radius = float(np.abs(np.linalg.eigvals(children)).max())
    if radius >= 1 - _TOLERANCE:
        raise GrammarError(f"derivations need not end: spectral radius {radius:.6g} of the expansions, not below 1")
    return np.eye(len(row)) - children
