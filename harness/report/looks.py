"""Colour and marker of each model: the same in every plot, table and legend, and from report to report.

A card fixes the look of its model. Names without one (imported texts, third parties) get what cards leave free,
chosen by the name itself, so that neither the order of rows nor the rest of a run decides it while there is room.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from markupsafe import Markup
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from adapters.cards import COLOURS, MARKERS, all_cards
from harness.report import svg

_T = TypeVar("_T")
_COMMANDS: dict[Any, str] = {
    Path.MOVETO: "M",
    Path.LINETO: "L",
    Path.CURVE3: "Q",
    Path.CURVE4: "C",
    Path.CLOSEPOLY: "Z",
}


class Look(NamedTuple):
    """What a model looks like.

    Attributes:
        colour_index: 0 to 9.
        colour: as CSS, ``var(--c<colour_index>)``: follows the theme of the page.
        marker: as matplotlib names it.
    """

    colour_index: int
    colour: str
    marker: str

    @property
    def drawn(self) -> str:
        """The colour for matplotlib, which `svg.inline_svg` turns into `colour`."""
        return svg.SERIES_COLOURS[self.colour_index]

    @property
    def path(self) -> str:
        """The marker as the ``d`` of an SVG path around 0, 0, ten units wide or a little more."""
        return _path(self.marker)


def looks(models: Iterable[str]) -> dict[str, Look]:
    """The look of each model.

    Args:
        models: names as `Names.model` gives them: "radd", or "radd tiny" where a place has several checkpoints. Two
            checkpoints of a model have its colour; all but the first by name have another marker.
    """
    cards = {name: (card.look.colour, card.look.marker) for name, card in all_cards().items() if card.look}
    found: dict[str, tuple[int, str]] = {}
    for model in sorted(set(models)):
        found[model] = _choose(model, cards, found)
    return {model: Look(colour, f"var(--c{colour})", marker) for model, (colour, marker) in found.items()}


def _choose(model: str, cards: dict[str, tuple[int, str]], found: dict[str, tuple[int, str]]) -> tuple[int, str]:
    own = cards.get(model) or cards.get(model.partition(" ")[0])
    if own and own not in found.values():
        return own
    taken = set(cards.values()) | set(found.values())
    number = zlib.crc32(model.encode("utf-8", "replace"))
    colour = own[0] if own else _least_used(range(COLOURS), Counter(c for c, _ in taken), number)
    free = [marker for marker in MARKERS if (colour, marker) not in taken] or list(MARKERS)
    return colour, _least_used(free, Counter(marker for _, marker in taken), number // COLOURS)


def _least_used(options: Sequence[_T], used: Counter[_T], number: int) -> _T:
    """One of the options that are used least; `number` says which."""
    least = min(used[option] for option in options)
    rest = [option for option in options if used[option] == least]
    return rest[number % len(rest)]


def swatch(look: Look | None) -> Markup:
    """A marker as an inline image beside a model's name; nothing for None (controls have no look).

    The name beside it says the same, so readers of the page by ear are not told of it.
    """
    if look is None:
        return Markup("")
    image = '<svg class="swatch" viewBox="-6 -6 12 12" width="12" height="12" aria-hidden="true" focusable="false">'
    return Markup('{}<path d="{}" fill="{}"/></svg>').format(Markup(image), look.path, look.colour)


@cache
def _path(marker: str) -> str:
    style = MarkerStyle(marker)
    path: Any = style.get_path().transformed(style.get_transform())
    scale = min(10.0, 5.5 / abs(path.vertices).max())
    words = []
    for ends, code in path.iter_segments():
        # y points down in SVG; 0.0 is added so that no -0 is written.
        pairs = [f"{round(scale * x, 2) + 0.0:g} {round(-scale * y, 2) + 0.0:g}" for x, y in ends.reshape(-1, 2)]
        words.append(_COMMANDS[int(code)] + ("" if code == Path.CLOSEPOLY else " ".join(pairs)))
    return "".join(words)
