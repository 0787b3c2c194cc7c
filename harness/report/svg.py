"""matplotlib's SVG made fit for a page: theme colours by CSS variables, ids that cannot clash, titles on markers."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Contrast is at least 3:1 on page and panel, light and dark. Any two stay apart for readers with no red, green or blue
# cones as well (tests/harness/report/test_looks.py measures by how much); markers differ too, so that colour never
# carries a meaning alone.
_PALETTE = {  # on light pages: on dark pages
    "#4572bf": "#70bff1",
    "#ce7035": "#cd8531",
    "#1d6f4f": "#8ae9b9",
    "#85247a": "#f093b0",
    "#976801": "#e5d938",
    "#221eb3": "#8e66e4",
    "#1096a9": "#168da0",
    "#c22a57": "#ef3a7b",
    "#4a600b": "#bdba4f",
    "#5b341f": "#9c681f",
}
# Stand-ins that become variables; no other colour may equal them.
INK, SOFT, FAINT = "#111213", "#818283", "#c1c2c3"
SERIES_COLOURS = tuple(_PALETTE)
_VARIABLES = {c: f"var(--c{i})" for i, c in enumerate(_PALETTE)} | {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    FAINT: "var(--rule)",
}

#: What holds without being said.
_SAID = {("stroke-dashoffset", "0"), ("text-anchor", "start"), ("stroke-linejoin", "round"), ("stroke-linecap", "butt")}

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
        prefix: a name that no other figure of the page has; every id is made from it.
        label: what a screen reader says.
        titles: by gid, the text shown when the pointer rests on the artist.
    """
    with style(), warnings.catch_warnings():
        # Text stays text and is drawn with the reader's fonts, so ours need not have every letter.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        canvas, buffer = FigureCanvasSVG(figure), io.StringIO()
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # A page with a strict content security policy takes no style of an element: what it says becomes attributes.
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    short = f"p{zlib.crc32(prefix.encode()):x}"
    ids = {old: f"{short}.{n}" for n, old in enumerate(re.findall(r'<[^<>]* id="([^"]*)"', svg))}
    svg = re.sub(r"<[^<>]*>", lambda m: _tag(m[0], ids, titles), svg)
    svg = _without_bare_groups(svg)
    opening = f'<svg role="img" aria-label="{escape(label)}" class="plot" font-family="system-ui, sans-serif" '
    opening += 'stroke-linejoin="round" '  # what matplotlib's own style sheet said of every element
    return re.sub(r">\s*\n\s*<", "><", svg).replace("<svg ", opening, 1).strip()


def _without_bare_groups(svg: str) -> str:
    """Without the groups that only hold something together, more than half of what matplotlib writes."""
    parts = re.split(r"(<g(?: [^<>/]*)?>|</g>)", svg)
    says: list[bool] = []
    kept = []
    for i, part in enumerate(parts):
        if part.startswith("<g"):
            says.append(part != "<g>" or parts[i + 1].startswith("<title>"))
        if i % 2 == 0 or (says.pop() if part == "</g>" else says[-1]):
            kept.append(part)
    return "".join(kept)


def _tag(tag: str, ids: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """One tag fit for the page; text between tags is nobody's business but the drawer's."""
    group = re.fullmatch(r'<g id="([^"]*)">', tag)
    if group:
        return _group(group[1], titles)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, variable)
    tag = re.sub(r' style="([^"]*)"', lambda m: _attributes(m[1]), tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", tag)
    tag = re.sub(r' (?:d|x|y|x1|y1|x2|y2|transform)="[^"]*"', lambda m: _short(m[0]), tag)
    return re.sub(r'( id="|url\(#|href="#)([^")]*)', lambda m: m[1] + ids[m[2]], tag)


def _attributes(style: str) -> str:
    """``fill: none; stroke-width: 0.8`` as attributes; fonts are the page's."""
    pairs = (declaration.split(":", 1) for declaration in style.split(";") if declaration.strip())
    named = ((name.strip(), value.strip()) for name, value in pairs)
    return "".join(
        f' {name}="{value}"' for name, value in named if (name, value) not in _SAID and name != "font-family"
    )


def _short(attribute: str) -> str:
    """Coordinates to a hundredth of a point, on one line, without spaces that say nothing."""
    text = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), " ".join(attribute.split()))
    return " " + re.sub(r' ?([MLCQz]) ?(?=[-\d".])', r"\1", text)


def _group(gid: str, titles: Mapping[str, str]) -> str:
    series = re.match(r"s\d+(?=-|$)", gid)
    title = f"<title>{escape(titles[gid])}</title>" if gid in titles else ""
    return f'<g class="{series[0]}">{title}' if series else f"<g>{title}"


def file_svg(inline: str) -> str:
    """The same figure as a file of its own, readable on light and dark pages."""
    light = ":root{--ink:#1b1f24;--soft:#55606c;--rule:#c9ced4;color-scheme:light dark}" + palette_css(
        ":root", dark=False
    )
    dark = ":root{--ink:#e6e8eb;--soft:#a4aeb9;--rule:#454b53}" + palette_css(":root", dark=True)
    css = f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}</style>"
    at = inline.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{inline[:at]}{css}{inline[at:]}\n'
