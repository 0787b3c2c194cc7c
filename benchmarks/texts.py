"""What every benchmark that reads text shares: decoding, normalisation, windows, the byte tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from adapters.tokenizers import bpe_tokenizer
from benchmarks.base import Window
from harness.errors import UserError

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
    return decode(read_bytes(path, what), f"{what}={path}").replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path, what: str) -> bytes:
    """The bytes of a file; raises `UserError` where it is missing or unreadable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{what}={path}: there is no such file.") from None
    except OSError as error:
        raise UserError(f"{what}={path} cannot be read: {error.strerror}.") from None


def decode(raw: bytes, where: str) -> str:
    """UTF-8 as text, without a byte-order mark.

    Args:
        raw: the bytes.
        where: what they are, for messages.

    Raises:
        UserError: where they are not UTF-8 (the byte offset is named) or hold nothing but white space.
    """
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} (0x{raw[error.start]:02x})"
        raise UserError(f"{where} is not UTF-8: {byte}. Convert it first.") from None
    if not text.strip():
        raise UserError(f"{where} is empty.")
    return text


def cut(text: str, length: int) -> list[str]:
    """Windows of `length` characters at a stride of `length`; a shorter rest is dropped."""
    return [text[i : i + length] for i in range(0, len(text) - length + 1, length)]


def spread(items: Sequence[str], count: int) -> list[str]:
    """At most `count` items at even distances, so that a long text is not judged by its beginning alone."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def held_out_sets(pieces: Sequence[str], samples: int) -> tuple[list[Window], list[Window]]:
    """References, and windows for the `data` control, at most `samples` each.

    Neighbours alternate, so that both sets cover the same passages and share nothing.
    """
    first, second = (spread(half, samples) for half in (pieces[0::2], pieces[1::2]))
    return [_window(piece) for piece in first], [_window(piece) for piece in second]


def _window(text: str) -> Window:
    quarter = len(text) // 4
    return Window(text, text[:quarter], text[len(text) - quarter :])


def tokenizer_for(text8_symbols: bool) -> str | tokenizers.Tokenizer:
    """The benchmark's own tokenizer: text8's 27 symbols, or bytes, which can encode every text."""
    return "text8" if text8_symbols else bpe_tokenizer([], BYTE_VOCABULARY)
