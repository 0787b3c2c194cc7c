"""Data of the benchmark `text`: any UTF-8 file of the user's, cut into windows of characters."""

from __future__ import annotations

import re

from benchmarks.base import Source, SourceRequest
from benchmarks.texts import cut, held_out_sets, read_text, text8, tokenizer_for
from harness.errors import UserError


def split_heldout(text: str, share: float) -> tuple[str, str]:
    """Training and held-out part: the last `share` of the characters, cut behind the next white space."""
    at = len(text) - int(len(text) * share)
    space = re.compile(r"\s").search(text, at)
    end = space.end() if space else len(text)
    return text[:end], text[end:]


def build(request: SourceRequest) -> Source:
    """Training text and held-out windows of the user's file.

    Raises:
        UserError: for a file that is missing, empty, not UTF-8 or too short.
    """
    if request.data is None:
        raise UserError("the benchmark 'text' needs a file: DATA=FILE.")
    clean = text8 if request.normalize == "text8" else str
    text = read_text(request.data, "DATA")
    if request.reference is None:
        train, held = split_heldout(text, float(request.options["heldout_share"]))
    else:
        train, held = text, read_text(request.reference, "REFERENCE")
    train, held = clean(train), clean(held)
    found = cut(held, request.length)
    if len(train) < request.length or len(found) < 2:
        raise UserError(_too_short(request, len(train), len(held)))
    references, data = held_out_sets(found, request.samples)
    return Source(
        train=train,
        heldout=held,
        references=references,
        data=data,
        tokenizer=tokenizer_for(request.normalize == "text8"),
        tokens="text8" if request.normalize == "text8" else "words",
        facts={
            "normalize": request.normalize,
            "heldout_rule": "a file" if request.reference else f"the last {request.options['heldout_share']:.0%}",
            "train_characters": len(train),
            "heldout_characters": len(held),
        },
    )


def _too_short(request: SourceRequest, train: int, held: int) -> str:
    after = " after normalisation" if request.normalize == "text8" else ""
    return (
        f"DATA={request.data} is too short: {train} characters to train on and {held} held out{after}; "
        f"needed are {request.length} and {2 * request.length}. Give a longer file, or REFERENCE=FILE."
    )
