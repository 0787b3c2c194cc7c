"""Looks: one colour and one marker a model, the same everywhere, told apart by colour-blind readers too."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from adapters.cards import COLOURS, MARKERS, all_cards, read_card
from harness.errors import UserError
from harness.report import svg
from harness.report.looks import looks, swatch

# Machado, Oliveira, Fernandes 2009, severity 1, for linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
THEMES = {"light": ("#ffffff", "#f5f6f8"), "dark": ("#15181c", "#1e2227")}  # page, panel, as in report.css
Colour = npt.NDArray[np.float64]


def palette(theme: str) -> list[str]:
    return re.findall(r"#[0-9a-f]{6}", svg.palette_css(":root", dark=theme == "dark"))


def linear(colour: str) -> Colour:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.asarray(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def oklab(colour: Colour) -> Colour:
    """Ottosson 2020, times 100: 2 is about the least difference that is seen."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.asarray(100 * lab @ np.cbrt(cones @ np.clip(colour, 0, 1)))


def distance(a: str, b: str, kind: str) -> float:
    matrix = np.asarray(BLINDNESS[kind])
    return float(np.linalg.norm(oklab(matrix @ linear(a)) - oklab(matrix @ linear(b))))


def contrast(a: str, b: str) -> float:
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


# --- colours ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("kind", BLINDNESS)
def test_any_two_colours_stay_apart(theme: str, kind: str) -> None:
    """Measured: light 6.2 (protanopia) or more, dark 9.0 (deuteranopia) or more."""
    least = min(distance(a, b, kind) for a, b in itertools.combinations(palette(theme), 2))
    assert least > (6 if theme == "light" else 8.5)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("kind", BLINDNESS)
def test_neighbours_in_the_palette_stay_further_apart(theme: str, kind: str) -> None:
    """Measured: light 9.1 (deuteranopia) or more, dark 9.2 (deuteranopia) or more."""
    assert min(distance(a, b, kind) for a, b in itertools.pairwise(palette(theme))) > 9


@pytest.mark.parametrize("theme", THEMES)
def test_colours_are_seen_on_page_and_panel(theme: str) -> None:
    """WCAG 2.2, 1.4.11: 3:1 for graphics."""
    assert len(palette(theme)) == COLOURS == len(svg.SERIES_COLOURS)
    assert min(contrast(c, ground) for c in palette(theme) for ground in THEMES[theme]) >= 3


# --- who gets which --------------------------------------------------------------------------------------------------


def test_cards_have_looks_of_their_own() -> None:
    mine = {name: card.look for name, card in all_cards().items() if card.look}
    assert {"plaid", "radd", "nanodd", "diffuseq", "gpt2"} <= set(mine)
    assert len({look.colour for look in mine.values()}) == len(mine), "a colour each"
    assert len({look.marker for look in mine.values()}) == len(mine), "a marker each"
    found = looks(mine)
    assert {n: (found[n].colour_index, found[n].marker) for n in mine} == {
        n: (x.colour, x.marker) for n, x in mine.items()
    }


def test_a_model_looks_the_same_in_every_report() -> None:
    every = ["zeta", "plaid", "radd", "my_model", "gpt2"]
    assert looks(every) == looks(reversed(every)) == looks(every * 2)
    assert looks(["plaid"])["plaid"] == looks(every)["plaid"]
    assert looks(["my_model"])["my_model"] == looks(every)["my_model"], "names without a card too"


def test_others_get_what_cards_leave_free() -> None:
    names = [f"model_{i}" for i in range(5)]
    cards = [card.look for card in all_cards().values() if card.look]
    found = looks(names)
    assert not {look.colour_index for look in found.values()} & {look.colour for look in cards}
    assert not {look.marker for look in found.values()} & {look.marker for look in cards}
    assert len({look.colour for look in found.values()}) == len({look.marker for look in found.values()}) == 5


def test_as_many_looks_as_there_are_combinations() -> None:
    cards = sum(card.look is not None for card in all_cards().values())
    names = [f"model_{i}" for i in range(COLOURS * len(MARKERS) - cards)]
    assert len(set(looks(names).values())) == len(names)
    assert len(looks([f"{name}_{i}" for name in names for i in range(3)])) == 3 * len(names), "and then they repeat"


def test_checkpoints_of_a_model_share_its_colour() -> None:
    found = looks(["radd tiny", "radd radd-small", "radd radd-medium", "plaid"])
    own = all_cards()["radd"].look
    assert own is not None
    mine = [look for name, look in found.items() if name.startswith("radd")]
    assert {look.colour_index for look in mine} == {own.colour}
    assert len({look.marker for look in mine}) == 3
    assert own.marker in {look.marker for look in mine}


@pytest.mark.parametrize("name", ["", " ", "\ud800", "<b>", "x" * 10_000])
def test_any_name_has_a_look(name: str) -> None:
    assert looks([name])[name].marker in MARKERS


def test_a_swatch_is_the_marker_in_the_colour_and_needs_no_style() -> None:
    for look in looks(["plaid", "radd", "nanodd", "diffuseq", *"abcde", "gpt2"]).values():
        text = str(swatch(look))
        assert f'fill="var(--c{look.colour_index})"' in text
        assert "style" not in text
        numbers = [float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", look.path)]
        assert numbers
        assert max(map(abs, numbers)) <= 5.5, "inside its box"
    assert swatch(None) == ""


def test_up_is_up_in_a_swatch() -> None:
    """The y axis of SVG points down: the tip of the triangle, alone at its height, has the lowest y."""
    look = next(look for look in looks(["nanodd"]).values())
    heights = sorted(float(y) for _, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", look.path))
    assert look.marker == "^"
    assert heights[0] < 0 < heights[-1]
    assert heights.count(heights[-1]) > heights.count(heights[0])


@pytest.mark.parametrize(
    ("look", "word"),
    [
        ('{colour: 10, marker: "o"}', "colour is 0 to 9"),
        ('{colour: -1, marker: "o"}', "colour is 0 to 9"),
        ('{colour: 1, marker: "oo"}', "marker one of"),
        ('{colour: 1, marker: ""}', "marker one of"),
        ('{colour: 1, marker: "$"}', "marker one of"),
        ("{colour: 1}", "marker"),
        ('{colour: 1, marker: "o", size: 3}', "size"),
        ("[1, 2]", "colour"),
        ("7", "colour"),
    ],
)
def test_a_look_that_plots_do_not_have_is_refused(look: str, word: str, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(f"name: x\ntitle: x\nrole: model\nfamily: null\nlook: {look}\n")
    with pytest.raises(UserError, match=word):
        read_card(tmp_path, "x")
