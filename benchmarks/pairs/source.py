"""Data of the benchmarks of pairs: sources with one true text each, in the order of the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.base import NO_LIKELIHOOD, Pair, Source, SourceRequest
from benchmarks.pairs.files import PairFiles, files_of, local_split
from benchmarks.pairs.readers import read_pairs
from benchmarks.pairs.settings import PairCorpus, read_pair_corpus
from benchmarks.texts import tokenizer_for
from harness.errors import UserError, unknown

#: Where a training is watched by the end of the training pairs, because there are no others.
CUT_OFF = "the end of the training pairs"


@dataclass
class Part:
    """What was read of one split.

    Attributes:
        name: of the split.
        pairs: as texts; none with an empty side.
        empty: lines left out because a side is empty.
        cut_at: pairs after which reading stopped, None where all were read.
        files: that were read, as facts.
    """

    name: str
    pairs: list[Pair] = field(default_factory=list)
    empty: int = 0
    cut_at: int | None = None
    files: list[dict[str, Any]] = field(default_factory=list)


def local_inputs(request: SourceRequest) -> list[Path]:
    """The user's files that the data depend on."""
    if request.path is None:
        return []
    corpus = read_pair_corpus(request.corpus, request.name)
    evaluated = str(request.options["split"])
    found = [local_split(split, request.path, name == evaluated) for name, split in corpus.splits.items()]
    return sorted({file for files in found if files for file in files.files})


def build(request: SourceRequest) -> Source:
    """Pairs of a corpus: the first `samples` of the evaluated split, and those to train on.

    Raises:
        UserError: for an unknown split, files that are missing or bad, or an evaluated split without a whole pair.
    """
    corpus = read_pair_corpus(request.corpus, request.name)
    options = request.options
    evaluated = str(options["split"])
    if evaluated not in corpus.splits:
        raise unknown(f"split of benchmark {request.name}", evaluated, corpus.splits)
    if request.normalize != "none":
        raise UserError(f"benchmark {request.name} has pairs, which are not normalised: normalize=none.")
    found = files_of(corpus, request.path, evaluated)
    tested = _read(evaluated, found, request, None)
    if not tested.pairs:
        raise UserError(f"benchmark {request.name}: no pair of the split '{evaluated}' has both sides.")
    train = _read("train", found, request, options["train_pairs"]) if evaluated != "train" else Part("none")
    watched, watched_name = _watched(found, request, evaluated, train)
    parts = [tested, train, watched]
    return Source(
        train=_targets(train.pairs),
        heldout=_targets(watched.pairs),
        references=[],
        data=[],
        tokenizer=tokenizer_for(False),
        tokens="words",
        facts={**_facts(corpus, request, tested, train), "heldout_split": watched_name, "data_notes": _notes(parts)},
        pairs=tested.pairs[: request.samples],
        train_pairs=train.pairs,
        heldout_pairs=watched.pairs,
    )


def _read(name: str, found: dict[str, PairFiles], request: SourceRequest, limit: int | None) -> Part:
    """The pairs of a split; reading stops once `limit` are there. A split without files has none."""
    if name not in found:
        return Part("none")
    part = Part(name, files=found[name].facts())
    lowercase = bool(request.options["lowercase"])
    for source, target in read_pairs(found[name]):
        if not source or not target:
            part.empty += 1
        elif limit is not None and len(part.pairs) >= limit:
            part.cut_at = limit
            break
        else:
            part.pairs.append(Pair(source.lower(), (target.lower(),)) if lowercase else Pair(source, (target,)))
    return part


def _watched(found: dict[str, PairFiles], request: SourceRequest, evaluated: str, train: Part) -> tuple[Part, str]:
    """Pairs to watch a training by: the validation split, else the last ones to train on, which are taken from them."""
    count = request.options["heldout_pairs"]
    if evaluated != "validation" and "validation" in found:
        return _read("validation", found, request, count), "validation"
    keep = max(1, len(train.pairs) - (count or 0)) if len(train.pairs) > 1 else len(train.pairs)
    watched = Part(train.name, train.pairs[keep:])
    train.pairs = train.pairs[:keep]
    return watched, CUT_OFF if watched.pairs else "none"


def _facts(corpus: PairCorpus, request: SourceRequest, tested: Part, train: Part) -> dict[str, Any]:
    seen = {pair.source for pair in train.pairs}
    overlap = sum(pair.source in seen for pair in tested.pairs) / len(tested.pairs) if train.pairs else None
    return {
        "languages": list(corpus.languages),
        "form": corpus.form,
        "options": dict(request.options),
        "split": tested.name,
        "pairs_available": len(tested.pairs),
        "pairs_left_out": tested.empty,
        "references_per_source": 1,
        "source": tested.files,
        "train": train.name,
        "train_note": None if train.pairs else "there are no training pairs beside the evaluated ones",
        "train_pairs": len(train.pairs),
        "train_cut_at": train.cut_at,
        "train_source": train.files,
        "overlap_with_training": overlap,
        "remarks": list(corpus.remarks),
    }


def _notes(parts: Sequence[Part]) -> list[str]:
    left_out = [
        f"{part.empty} pairs of the split '{part.name}' have an empty source or target and are left out"
        for part in parts
        if part.empty
    ]
    return [*left_out, NO_LIKELIHOOD]


def _targets(pairs: Sequence[Pair]) -> str:
    """The targets, one a line."""
    return "".join(" ".join(pair.references[0].splitlines()) + "\n" for pair in pairs)
