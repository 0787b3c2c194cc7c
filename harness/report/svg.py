"""matplotlib's SVG made fit for a page: theme colours by CSS variables, ids that cannot clash, titles on markers."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Contrast is at least 3:1 for lines and 4.5:1 for ink, on white and on #15181c. Order: hues that stay apart for
# colour-blind readers first; markers differ as well, so colour never carries a meaning alone.
_PALETTE = {  # on light pages: on dark pages
    "#0068a8": "#56b4e9",
    "#c65000": "#f08a3c",
    "#00805c": "#2fc79a",
    "#b04a86": "#e58fc0",
    "#8a6d00": "#e3c63c",
    "#4b3fae": "#a79bff",
    "#007d8f": "#4fd0e0",
    "#b3202c": "#ff7b80",
    "#5f7a00": "#b5cf4a",
    "#7a4a2b": "#cf9a74",
}
INK, FAINT = "#111213", "#c1c2c3"  # stand-ins that become variables; no other colour may equal them
SERIES_COLOURS = tuple(_PALETTE)
_VARIABLES = {c: f"var(--c{i})" for i, c in enumerate(_PALETTE)} | {INK: "var(--ink)", FAINT: "var(--rule)"}

_RC: dict[str, Any] = {
    "svg.hashsalt": "tdbench",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": FAINT,
    "legend.frameon": False,
    "axes.formatter.useoffset": False,
}


def style() -> AbstractContextManager[None]:
    """Context in which figures are built and saved; equal input gives equal bytes."""
    context: AbstractContextManager[None] = mpl.rc_context(_RC)
    return context


def palette_css(selector: str, dark: bool) -> str:
    """The series colours as CSS variables ``--c0`` to ``--c9``."""
    return selector + "{" + ";".join(f"--c{i}:{c}" for i, c in enumerate(_PALETTE.values() if dark else _PALETTE)) + "}"


def inline_svg(figure: Figure, prefix: str, label: str, titles: Mapping[str, str]) -> str:
    """A figure as an `<svg>` element.

    Args:
        figure: drawn inside `style()`; artists whose gid is ``s<i>`` or ``s<i>-<name>`` get the class ``s<i>``.
        prefix: put before every id, unique on the page.
        label: what a screen reader says.
        titles: by gid, the text shown when the pointer rests on the artist.
    """
    with style():
        canvas, buffer = FigureCanvasSVG(figure), io.StringIO()
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' (?:d|x|y|x1|y1|x2|y2|transform)="[^"]*"', lambda m: _short(m[0]), svg)
    svg = re.sub(r'<g id="([^"]*)">', lambda m: _group(m[1], titles), svg)
    ids = {old: f"{prefix}-{n}" for n, old in enumerate(re.findall(r' id="([^"]*)"', svg))}
    svg = re.sub(r'( id="|url\(#|href="#)([^")]*)', lambda m: m[1] + ids[m[2]], svg)
    opening = f'<svg role="img" aria-label="{escape(label)}" class="plot" font-family="system-ui, sans-serif" '
    return re.sub(r"\n\s*", "\n", svg).replace("<svg ", opening, 1).strip()


def _short(attribute: str) -> str:
    """Coordinates to a hundredth of a point, on one line."""
    return re.sub(r"(\.\d\d)\d+", r"\1", " " + " ".join(attribute.split())).replace(' "', '"')


def _group(gid: str, titles: Mapping[str, str]) -> str:
    series = re.match(r"s\d+(?=-|$)", gid)
    title = f"<title>{escape(titles[gid])}</title>" if gid in titles else ""
    return f'<g class="{series[0]}">{title}' if series else "<g>"


def file_svg(inline: str) -> str:
    """The same figure as a file of its own, readable on light and dark pages."""
    light = ":root{--ink:#1b1f24;--rule:#c9ced4;color-scheme:light dark}" + palette_css(":root", dark=False)
    dark = ":root{--ink:#e6e8eb;--rule:#454b53}" + palette_css(":root", dark=True)
    css = f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}</style>"
    at = inline.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{inline[:at]}{css}{inline[at:]}\n'
