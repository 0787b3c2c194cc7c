"""Published figures of a card: what the authors' paper or README says, with the protocol it was got by.

A card lists them in groups; what a group says holds for each of its figures unless the figure says otherwise::

    published_results:
      - checkpoint: nanodd-text8
        dataset: text8
        source: README
        protocol: random crops of 256 characters
        fields: {estimator: d3pm, bound: upper_bound}
        figures:
          - {metric: bits_per_char, value: "1.37", fields: {split: test}}
          - {metric: bits_per_char, by: steps, values: {500: "1.41", 1000: "1.37"}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from harness.errors import UserError

#: How sure a figure is, by what a card says.
CERTAINTY = {
    "read": "read in the source",
    "recalled": "as recalled: check the source before it is used as a bar",
    "plot": "read off a plot",
    "secondary": "from a secondary listing",
}


@dataclass(frozen=True)
class PublishedFigure:
    """One published figure.

    Attributes:
        metric: the column of the results table that holds ours, or a figure that the ledger derives from columns.
        value: as it was printed, so that its rounding is known: "1.30".
        source: where it was read.
        checkpoints: of the card that it may be of (a card writes one name or a list as `checkpoint`); () where its
            weights cannot be had by a name.
        network: which network it is of, where the checkpoint does not say it.
        dataset: as the benchmark here is called; None where any text will do.
        scale: ours in units of the published figure: published * scale.
        low: lower end of the published interval, None where none is given.
        high: upper end.
        tolerance: how far the printed figure may be from the true one; None: half a unit of its last digit.
        fields: what a row must agree in to have the same protocol (`harness.report.protocol.FIELDS`); a list is any of.
        protocol: in words.
        certainty: a key of `CERTAINTY`.
        cause: why ours may differ, as far as that is known; None where nothing is.
    """

    metric: str
    value: str
    source: str
    checkpoints: tuple[str, ...] = ()
    network: str | None = None
    dataset: str | None = None
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    tolerance: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = ""
    certainty: str = "read"
    cause: str | None = None

    @property
    def number(self) -> float:
        """The figure in our unit."""
        return float(self.value) * self.scale

    @property
    def reach(self) -> tuple[float, float]:
        """Lowest and highest true figure that is printed like this one, or the published interval, in our unit."""
        if self.low is not None and self.high is not None:
            return self.low * self.scale, self.high * self.scale
        exponent = Decimal(self.value).as_tuple().exponent
        half = 0.5 * 10.0 ** int(exponent) if self.tolerance is None else self.tolerance
        return self.number - half * self.scale, self.number + half * self.scale


def read_published(groups: Sequence[Mapping[str, Any]], where: str) -> tuple[PublishedFigure, ...]:
    """The figures of a card, one by one.

    Args:
        groups: the card's `published_results`.
        where: file name, for messages.

    Raises:
        UserError: for an unknown or missing key, a certainty that is not one of `CERTAINTY`, or a figure that is not
            printed text ("1.30": a bare 1.30 loses its last digit).
    """
    return tuple(_figure(entry, where) for group in groups for entry in _entries(group))


def _entries(group: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each figure with what its group says of all; `by` and `values` are one figure for each value."""
    shared = {key: value for key, value in group.items() if key != "figures"}
    for own in group.get("figures", ()):
        entry = {**shared, **own, "fields": {**shared.get("fields", {}), **own.get("fields", {})}}
        by, values = entry.pop("by", None), entry.pop("values", None)
        if by is None or values is None:
            yield entry
            continue
        for key, value in values.items():
            yield {**entry, "value": value, "fields": {**entry["fields"], by: key}}


def _figure(entry: dict[str, Any], where: str) -> PublishedFigure:
    names = entry.pop("checkpoint", None) or ()
    try:
        figure = PublishedFigure(checkpoints=(names,) if isinstance(names, str) else tuple(names), **entry)
    except TypeError as error:
        raise UserError(f"{where}, published_results: {error}.") from None
    if figure.certainty not in CERTAINTY:
        known = ", ".join(CERTAINTY)
        raise UserError(f"{where}, published_results: certainty is '{figure.certainty}', not one of {known}.")
    if not isinstance(figure.value, str) or not _is_number(figure.value):
        raise UserError(
            f"{where}, published_results: the value of {figure.metric} is {figure.value!r}; write it as printed, in "
            "quotes, so that its last digit is known."
        )
    return figure


def _is_number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False
