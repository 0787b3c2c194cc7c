"""Text of unknown origin made fit to be shown: what cannot be seen, or cannot be written as UTF-8, gets a sign."""

from __future__ import annotations

import re

#: Control characters except tab and line feed, and halves of surrogate pairs, which UTF-8 has no bytes for.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` with a picture in place of each control character (U+2400 to U+2421), U+FFFD where there is none.

    Tabs, line ends and writing direction marks stay: the page isolates each text's direction.
    """
    return _UNSEEN.sub(lambda found: _picture(ord(found[0])), text)


def _picture(code: int) -> str:
    if code == 0x7F:
        return "\u2421"
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"
