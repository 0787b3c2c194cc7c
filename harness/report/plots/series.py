"""The lines of the plots: a model sets colour and marker, the same everywhere, and a method sets the dashes."""

from __future__ import annotations

from typing import Any, NamedTuple

from harness.report.data import Row, group_by, row_label, unique
from harness.report.looks import Look
from harness.report.page import Page

_LINES: tuple[Any, ...] = (
    *("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1))),
    *((0, (9, 2, 3, 2)), (0, (1, 4))),
)


class Series(NamedTuple):
    """One line: a model and a method, with its number on the page."""

    number: int
    model: str
    method: str
    label: str
    look: Look
    line: Any

    @property
    def gid(self) -> str:
        """What `svg.inline_svg` makes a class of."""
        return f"s{self.number}"


SeriesByLine = dict[tuple[str, str], Series]


def dashes(number: int) -> Any:
    """The dashes of the n-th method of a plot."""
    return _LINES[number % len(_LINES)]


def is_drawn(row: Row) -> bool:
    """Whether a row is of a line: controls are references instead."""
    return row.get("kind") == "generate" and row.get("role") != "control" and not row.get("same_as")


def all_series(page: Page) -> list[SeriesByLine]:
    """The lines of each place of the page, by model and method, numbered through."""
    found: list[SeriesByLine] = []
    names = page.names
    for place in page.places:
        first = sum(map(len, found))
        mine = [row for row in place.rows if is_drawn(row)]
        lines = list(group_by(mine, lambda r: (names.model(r), names.method(r))))
        methods = unique(method for _, method in lines)
        kinds = {m: ", ".join(unique(map(row_label, same))) for m, same in group_by(mine, names.model).items()}
        found.append(
            {
                (model, method): Series(
                    number=i,
                    model=model,
                    method=method,
                    label=f"{model} ({kinds[model]})",
                    look=page.looks[model],
                    line=dashes(methods.index(method)),
                )
                for i, (model, method) in enumerate(lines, start=first)
            }
        )
    return found
