"""Data of the benchmark `toy_paraphrase`: sources and other sentences that mean the same."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import median

from adapters.tokenizers import word_tokenizer
from benchmarks.base import NO_LIKELIHOOD, Pair, Source, SourceRequest
from benchmarks.paraphrase.forms import count_forms, draw_form
from benchmarks.paraphrase.lexicon import lexicon
from benchmarks.paraphrase.meaning import MOST_WORDS, Meaning, count_meanings, draw_meaning
from benchmarks.paraphrase.parser import parse

#: Pairs to watch a training by.
HELDOUT_PAIRS = 2000
#: True texts of a held-out source; one more is for the `data` control.
REFERENCES = 4
#: How many sentences are drawn before a meaning is left out, because too few of them differ.
DRAWS = 64
#: One meaning of so many belongs to each of the held-out parts, whatever the seed; all others are for training.
PARTS = 8
_HELD_OUT = {"references": 0, "heldout": 1}


def part_of(meaning: Meaning) -> str:
    """The part of the data that a meaning belongs to: "references", "heldout" or "train"."""
    number = int.from_bytes(hashlib.sha256(repr(meaning).encode()).digest()[:4], "big") % PARTS
    return next((name for name, held in _HELD_OUT.items() if held == number), "train")


def meanings(part: str, seed: int) -> Iterator[Meaning]:
    """Endless meanings of a part."""
    # A text seed is hashed with SHA-512 by `random`, so the stream is the same for every Python version and process.
    rng = random.Random(f"paraphrase/{part}/{seed}")
    while True:
        meaning = draw_meaning(rng)
        if part_of(meaning) == part:
            yield meaning


def pairs(part: str, seed: int, count: int, references: int) -> list[Pair]:
    """The first `count` pairs of a part: a source and `references` other sentences, all different."""
    rng = random.Random(f"paraphrase/{part} forms/{seed}")
    drawn = (_sentences(meaning, references + 1, rng) for meaning in meanings(part, seed))
    enough = (found for found in drawn if len(found) == references + 1)
    return [Pair(found[0], tuple(found[1:])) for found in islice(enough, count)]


def _sentences(meaning: Meaning, count: int, rng: random.Random) -> list[str]:
    """Different sentences with a meaning: `count`, or fewer where `DRAWS` gave no more."""
    found: dict[str, None] = {}  # a set in the order in which they came
    for _ in range(DRAWS):
        found[draw_form(meaning, rng)] = None
        if len(found) == count:
            break
    return list(found)


def build(request: SourceRequest) -> Source:
    """The data of one seed. Each of its parts comes from a stream of its own and has meanings of its own."""
    train = pairs("train", request.seed, int(request.options["train_pairs"]), 1)
    heldout = pairs("heldout", request.seed, HELDOUT_PAIRS, 1)
    tested = pairs("references", request.seed, request.samples, REFERENCES + 1)
    words = lexicon()
    sources = [_meaning(pair) for pair in tested]
    return Source(
        train=_lines(train),
        heldout=_lines(heldout),
        references=[],
        data=[],
        tokenizer=word_tokenizer(words.words),
        tokens="words",
        facts={
            "words": len(words.words),
            "meanings": count_meanings(words),
            "longest_sentence_tokens": MOST_WORDS,
            "mean_source_tokens": _mean([len(pair.source.split()) for pair in tested]),
            "median_forms": median(map(count_forms, sources)),
            "references_per_source": REFERENCES,
            "train_pairs": len(train),
            "overlap_with_training": 0.0,
            "data_notes": [NO_LIKELIHOOD],
        },
        pairs=[Pair(pair.source, pair.references[:REFERENCES]) for pair in tested],
        train_pairs=train,
        heldout_pairs=heldout,
        data_pairs=[pair.references[REFERENCES] for pair in tested],
    )


def _meaning(pair: Pair) -> Meaning:
    meaning = parse(pair.source)
    assert meaning is not None, pair.source
    return meaning


def _overlap(tested: list[Pair], train: list[Pair]) -> float:
    """Share of the held-out sources that occur in the training pairs; 0 because their meanings do not."""
    seen = {sentence for pair in train for sentence in (pair.source, *pair.references)}
    return _mean([pair.source in seen for pair in tested])


def _lines(part: list[Pair]) -> str:
    return "".join(f"{pair.references[0]}\n" for pair in part)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
