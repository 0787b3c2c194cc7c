"""Data of the benchmark `text`: any UTF-8 file of the user's, cut into windows of characters."""

from __future__ import annotations

import re
from pathlib import Path

import tokenizers

from adapters.tokenizers import bpe_tokenizer
from benchmarks.base import Source, SourceRequest, Window
from harness.errors import UserError, unknown

NORMALIZE = ("text8", "none")
_DIGIT_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
#: 256 bytes and the end of text: every text can be encoded, nothing is learned from it.
BYTE_VOCABULARY = 257


def text8(text: str) -> str:
    """The 27-symbol form of the text8 corpus (Mahoney, About the Test Data, 2006).

    ASCII letters in lower case, digits spelled out, every run of anything else one space, none at the ends.
    """
    spelled = re.sub("[0-9]", lambda digit: f" {_DIGIT_WORDS[int(digit[0])]} ", text)
    # Letters outside ASCII are "anything else", so only A-Z are lowered ("K", the Kelvin sign, would become "k").
    lowered = re.sub("[A-Z]+", lambda run: run[0].lower(), spelled)
    return re.sub("[^a-z]+", " ", lowered).strip()


def read_text(path: Path, what: str) -> str:
    """A UTF-8 file, line breaks as "\\n", without a byte-order mark.

    Args:
        path: of the file.
        what: its name on the command line, as in "DATA".

    Raises:
        UserError: where it is missing, unreadable, not UTF-8 (the byte offset is named) or empty.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{what}={path}: there is no such file.") from None
    except OSError as error:
        raise UserError(f"{what}={path} cannot be read: {error.strerror}.") from None
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} (0x{raw[error.start]:02x})"
        raise UserError(f"{what}={path} is not UTF-8: {where}. Convert it first.") from None
    if not text.strip():
        raise UserError(f"{what}={path} is empty.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_heldout(text: str, share: float) -> tuple[str, str]:
    """Training and held-out part: the last `share` of the characters, cut behind the next white space."""
    at = len(text) - int(len(text) * share)
    space = re.compile(r"\s").search(text, at)
    end = space.end() if space else len(text)
    return text[:end], text[end:]


def cut(text: str, length: int) -> list[str]:
    """Windows of `length` characters at a stride of `length`; a shorter rest is dropped."""
    return [text[i : i + length] for i in range(0, len(text) - length + 1, length)]


def _spread(items: list[str], count: int) -> list[str]:
    """At most `count` items at even distances, so that a long file is not judged by its beginning alone."""
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _window(text: str) -> Window:
    quarter = len(text) // 4
    return Window(text, text[:quarter], text[len(text) - quarter :])


def build(request: SourceRequest) -> Source:
    """Training text and held-out windows of the user's file.

    Raises:
        UserError: for a file that is missing, empty, not UTF-8 or too short, or an unknown normalisation.
    """
    if request.normalize not in NORMALIZE:
        raise unknown("normalisation", request.normalize, NORMALIZE)
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
    # Neighbours alternate, so that both held-out sets cover the same passages.
    return Source(
        train=train,
        heldout=held,
        references=[_window(window) for window in _spread(found[0::2], request.samples)],
        data=[_window(window) for window in _spread(found[1::2], request.samples)],
        tokenizer="text8" if request.normalize == "text8" else _byte_tokenizer(),
        tokens="text8" if request.normalize == "text8" else "words",
        facts={
            "normalize": request.normalize,
            "heldout_rule": "a file" if request.reference else f"the last {request.options['heldout_share']:.0%}",
            "train_characters": len(train),
            "heldout_characters": len(held),
        },
    )


def _byte_tokenizer() -> tokenizers.Tokenizer:
    return bpe_tokenizer([], BYTE_VOCABULARY)


def _too_short(request: SourceRequest, train: int, held: int) -> str:
    after = " after normalisation" if request.normalize == "text8" else ""
    return (
        f"DATA={request.data} is too short: {train} characters to train on and {held} held out{after}; "
        f"needed are {request.length} and {2 * request.length}. Give a longer file, or REFERENCE=FILE."
    )
