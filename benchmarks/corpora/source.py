"""Data of the corpora: documents read, detokenised, joined or kept apart, and cut into windows of characters.

Windows are cut in characters, not in tokens as in the papers, so that every model scores the same texts whatever its
tokenizer; only then can bits per byte be compared. What that differs in from the field stands in the facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.base import Source, SourceRequest
from benchmarks.corpora.detokenize import DETOKENIZERS
from benchmarks.corpora.files import Found, find_files, local_inputs, not_pinned, split_names
from benchmarks.corpora.readers import documents
from benchmarks.corpora.settings import DOCUMENTS, Corpus, read_corpus
from benchmarks.texts import cut, held_out_sets, text8, tokenizer_for
from harness.errors import UserError, unknown

__all__ = ["build", "local_inputs"]


@dataclass
class Part:
    """What was read of one split.

    Attributes:
        name: of the split.
        texts: detokenised and normalised documents; normalised ones may be empty.
        cut_at: characters after which reading stopped, None where all was read.
        files: that were read.
        marks: those of the corpus' marks that occur in the documents as they stand in the files.
    """

    name: str
    texts: list[str] = field(default_factory=list)
    cut_at: int | None = None
    files: list[Found] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)


def build(request: SourceRequest) -> Source:
    """Training text and held-out windows of a corpus.

    Raises:
        UserError: for an unknown split, files that are missing or bad, or a split too short for two windows.
    """
    corpus = read_corpus(request.corpus, request.name)
    options = request.options
    evaluated = str(options["split"])
    if evaluated not in corpus.splits:
        raise unknown(f"split of benchmark {request.name}", evaluated, corpus.splits)
    present = split_names(corpus, request.path, evaluated)
    if evaluated not in present:
        names = ", ".join(corpus.splits[evaluated].names)
        raise UserError(f"benchmark.path={request.path} has no file for the split '{evaluated}': looked for {names}.")
    as_text8 = request.normalize == "text8" and not corpus.text8_symbols
    held = _read(corpus, evaluated, request, options["heldout_characters"])
    training = next((name for name in ("train", "validation") if name in present and name != evaluated), None)
    train = _read(corpus, training, request, options["train_characters"]) if training else None
    watched = held
    if "validation" in present and evaluated != "validation" and training != "validation":
        watched = _read(corpus, "validation", request, options["heldout_characters"])
    running = _joined(corpus, held, as_text8)
    pieces, windowing = _pieces(corpus, held, running, request, as_text8)
    if len(pieces) < 2:
        raise UserError(_too_short(request, evaluated, len(pieces), len(running)))
    references, data = held_out_sets(pieces, request.samples)
    symbols = as_text8 or corpus.text8_symbols
    train_text = _joined(corpus, train, as_text8) if train else ""
    return Source(
        train=train_text,
        heldout=_joined(corpus, watched, as_text8),
        references=references,
        data=data,
        tokenizer=tokenizer_for(symbols),
        tokens="text8" if symbols else "words",
        facts={
            **_reading_facts(corpus, request, symbols),
            **_split_facts(corpus, held, train, running, train_text, watched.name),
            **windowing,
        },
    )


def _read(corpus: Corpus, name: str, request: SourceRequest, limit: int | None) -> Part:
    """The documents of a split, detokenised; reading stops once `limit` characters are there."""
    part = Part(name)
    detokenize = DETOKENIZERS[corpus.detokenize]
    left = limit
    for text in _documents(corpus, part, request):
        if left is not None and left <= 0:
            part.cut_at = limit
            break
        part.marks.update(mark for mark in corpus.marks or {} if mark in text)
        done = detokenize(text)
        if left is not None:
            if len(done) > left:
                part.cut_at = limit
            done, left = done[:left], left - len(done) - len(corpus.joiner)
        part.texts.append(done)
    return part


def _documents(corpus: Corpus, part: Part, request: SourceRequest) -> Iterator[str]:
    for found in find_files(corpus, part.name, request.path):
        part.files.append(found)
        yield from documents(found.path, corpus, corpus.splits[part.name])


def _joined(corpus: Corpus, part: Part, as_text8: bool) -> str:
    text = corpus.joiner.join(part.texts)
    return text8(text) if as_text8 else text


def _pieces(
    corpus: Corpus, held: Part, running: str, request: SourceRequest, as_text8: bool
) -> tuple[list[str], dict[str, Any]]:
    """All windows of the held-out text, and the facts about how they were cut."""
    length = request.length
    if request.options["wrapped"]:
        found = cut(running, length)
        dropped = len(running) - len(found) * length
        words = (
            f"wrapped: documents joined ({corpus.boundary}) and cut into windows of {length} characters at a stride of "
            f"{length}, a window may begin and end anywhere in a document; the last {dropped} characters are dropped"
        )
    else:
        texts = [text8(text) if as_text8 else text for text in held.texts]
        found = [text[:length] for text in texts if text.strip()]
        dropped = sum(len(text) for text in texts) - sum(len(text) for text in found)
        words = (
            f"one document a window: its first {length} characters, or all of a shorter one, so windows differ in "
            f"length; {dropped} characters behind them are dropped"
        )
    words += "; every second window is for the data control; both sets are spread evenly over the text"
    facts = {"windowing": words, "wrapped": bool(request.options["wrapped"]), "unit": "characters"}
    stride = length if request.options["wrapped"] else None
    return found, {**facts, "stride": stride, "dropped_characters": dropped, "windows_available": len(found)}


def _reading_facts(corpus: Corpus, request: SourceRequest, symbols: bool) -> dict[str, Any]:
    none_done = corpus.text8_symbols or not symbols
    return {
        "normalize": request.normalize,
        "normalization": "none" if none_done else "text8: a-z and single spaces, digits spelled out (Mahoney 2006)",
        "detokenize": corpus.detokenized_by,
        "documents": DOCUMENTS[corpus.documents],
        "boundary": corpus.boundary,
        "options": dict(request.options),
    }


def _split_facts(
    corpus: Corpus, held: Part, train: Part | None, running: str, text: str, watched: str
) -> dict[str, Any]:
    marks = [(corpus.marks or {})[mark] for mark in sorted(held.marks)]
    note = None if train and train.name == "train" else "there is no training text beside the evaluated one"
    if train and train.name != "train":
        why = "the training split is the evaluated one" if held.name == "train" else "there is no training split here"
        note = f"counted on {', '.join(found.path.name for found in train.files)}: {why}"
    return {
        "split": held.name,
        "heldout_split": watched,
        "heldout_characters": len(running),
        "heldout_cut_at": held.cut_at,
        "source": [found.fact() for found in held.files],
        "train": train.name if train else "none",
        "train_note": note,
        "train_characters": len(text),
        "train_cut_at": train.cut_at if train else None,
        "train_source": [found.fact() for found in train.files] if train else [],
        "marks": sorted(held.marks),
        "remarks": list(corpus.remarks),
        "data_notes": [*marks, *not_pinned(held.files + (train.files if train else []))],
    }


def _too_short(request: SourceRequest, split: str, windows: int, characters: int) -> str:
    return (
        f"benchmark {request.name}: the split '{split}' has {characters} characters, which make {windows} windows of "
        f"{request.length}; needed are 2. Give more text, or a smaller window=."
    )
