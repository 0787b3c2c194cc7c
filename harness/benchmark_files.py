"""The files of prepared benchmark data.

<folder>/train.txt         running training text
         heldout.txt       running held-out text, to watch a training by
         references.jsonl  {"text"}: held-out windows for likelihoods and as references
         prompts.jsonl     {"prefix", "suffix", "reference"}: the same windows, cut for the tasks, in the same order;
                           in a prompt benchmark its prompts, with a reference of null
         data.jsonl        {"text"}: a second held-out set, what the `data` control gives
         tokenizer.json    where the text has a tokenizer of its own
         benchmark.json    facts and digests, written last

A sequence-to-sequence benchmark has pairs in place of windows, and of the files above these hold:

<folder>/train.txt            targets of the training pairs, one a line; heldout.txt likewise
         references.jsonl     {"text"}: the first true text of each pair
         prompts.jsonl        {"prefix": "", "suffix": "", "reference", "source", "references"}: the same pairs, in the
                              same order, with all their true texts
         data.jsonl           {"text"}: for each of them another true text; empty where there is none
         train_pairs.jsonl    {"source", "target"}: a pair that has several true texts once for each
         heldout_pairs.jsonl  the same of further pairs, to watch a training by
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import tokenizers

from benchmarks.base import TOKENIZER_FILE, Pair, Source
from harness.worker.jsonl import json_lines

#: Training pairs of a sequence-to-sequence benchmark, and those to watch a training by.
TRAIN_PAIRS, HELDOUT_PAIRS = "train_pairs.jsonl", "heldout_pairs.jsonl"


def contents(source: Source) -> dict[str, str]:
    """Every data file by name, the facts excepted."""
    files = {
        "train.txt": source.train,
        "heldout.txt": source.heldout,
        "references.jsonl": json_lines({"text": text} for text in _references(source)),
        "prompts.jsonl": json_lines(_prompts(source)),
        "data.jsonl": json_lines({"text": text} for text in data_texts(source)),
    }
    if source.pairs:
        files[TRAIN_PAIRS] = json_lines(_targets(source.train_pairs))
        files[HELDOUT_PAIRS] = json_lines(_targets(source.heldout_pairs))
    if isinstance(source.tokenizer, tokenizers.Tokenizer):
        files[TOKENIZER_FILE] = source.tokenizer.to_str(pretty=True)
    return files


def _references(source: Source) -> list[str]:
    return [pair.references[0] for pair in source.pairs] or [window.text for window in source.references]


def data_texts(source: Source) -> list[str]:
    """What the `data` control gives."""
    return source.data_pairs or [window.text for window in source.data]


def _prompts(source: Source) -> list[dict[str, Any]]:
    own: list[dict[str, Any]] = [{"prefix": text, "suffix": "", "reference": None} for text in source.prompts]
    cut = [{"prefix": w.prefix, "suffix": w.suffix, "reference": w.text} for w in source.references]
    given = {"prefix": "", "suffix": ""}
    pairs = [
        {**given, "reference": pair.references[0], "source": pair.source, "references": list(pair.references)}
        for pair in source.pairs
    ]
    return own + cut + pairs


def _targets(pairs: Iterable[Pair]) -> Iterator[dict[str, str]]:
    return ({"source": pair.source, "target": text} for pair in pairs for text in pair.references)
