"""Decoded text as the authors' library versions tidy it, and how much of a row is a target's. Python 3.8 syntax: also
used beside the authors' code."""

from __future__ import annotations

from typing import Any, Mapping

from adapters.base import AdapterError

#: What transformers 4.22.2 (their pin) and tokenizers 0.12 (the only series it takes) replace in decoded text, in this
#: order. The WordPiece decoder of tokenizers 0.12 works on the whole joined text, and so makes "don't" of "do not" and
#: "don'thing" of "do nothing"; later ones look at one piece at a time and change less.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
#: What their evaluation removes from written text (scripts/eval_seq2seq.py), and start and end of an own vocabulary.
SPECIAL = ("[SEP]", "[CLS]", "[PAD]", "[START]", "[END]")
#: Of the row, what stays free for the target where the user says nothing: as the authors cut two texts that are both
#: too long.
TARGET_SHARE = 2


def clean_up(text: str) -> str:
    """Pieces joined by single spaces, tidied: "i ' m" becomes "i'm"."""
    for found, put in CLEAN_UP:
        text = text.replace(found, put)
    return text


def plain_text(text: str) -> str:
    """Written text as their evaluation reads it, without special tokens, and stripped."""
    for special in SPECIAL:
        text = text.replace(special, "")
    return text.strip()


def target_room(options: Mapping[str, Any], length: int) -> int:
    """The option `target_room`: positions kept for the target, its start and end included; None for half of the row.

    Raises:
        AdapterError: for one that is no whole number or leaves no room for the source's own three tokens.
    """
    room = options.get("target_room")
    if room is None:
        return min(length // TARGET_SHARE, length - 3)
    if isinstance(room, bool) or not isinstance(room, int) or not 1 <= room <= length - 3:
        raise AdapterError(
            f"target_room must be a whole number from 1 to {length - 3} for length {length}, got {room!r}"
        )
    return room
