"""What the YAML of a benchmark of pairs says under `corpus:`, as plain objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.corpora.settings import Remote, build_settings, read_remotes
from harness.errors import UserError


@dataclass(frozen=True)
class PairSplit:
    """One part of a corpus of pairs.

    Attributes:
        names: names of JSON-lines files that a folder may hold, the best first.
        sides: names of two line-aligned files that it may hold instead: sources, targets.
        members: patterns of line-aligned files, in an archive or unpacked from it, that are read one pair behind the
            other: sources, targets, sources, targets, ...
        files: the source's own: an archive, or a file of JSON lines; empty where a split has none.
    """

    names: tuple[str, ...]
    sides: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    files: tuple[Remote, ...] = ()


@dataclass(frozen=True)
class PairCorpus:
    """How a corpus of pairs is read.

    Attributes:
        languages: of source and target.
        form: how source and target are written in the files that the field uses, in words.
        splits: by name: "train", "validation", "test".
        remarks: what the reader of a report must know of this corpus.
    """

    languages: tuple[str, str]
    form: str
    splits: Mapping[str, PairSplit]
    remarks: tuple[str, ...] = ()


def read_pair_corpus(data: Mapping[str, Any], name: str) -> PairCorpus:
    """The `corpus:` part of a benchmark's YAML.

    Raises:
        UserError: for a key that is missing or unknown, naming it and the file, or sides that are no twos.
    """
    where = f"benchmark '{name}': its YAML's 'corpus'"
    corpus = build_settings(PairCorpus, data, where)
    splits = {key: _split(value, f"{where}.splits.{key}") for key, value in corpus.splits.items()}
    tuples = {"languages": tuple(corpus.languages), "remarks": tuple(corpus.remarks)}
    return build_settings(PairCorpus, {**data, **tuples, "splits": splits}, where)


def _split(data: Any, where: str) -> PairSplit:
    split = build_settings(PairSplit, data, where)
    for key in ("sides", "members"):
        if len(getattr(split, key)) % 2:
            raise UserError(f"{where}.{key}: sources and targets come in twos, got {list(getattr(split, key))}.")
    files = read_remotes(split.files, f"{where}.files")
    return PairSplit(tuple(split.names), tuple(split.sides), tuple(split.members), files)
