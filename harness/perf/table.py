"""The table of both engines, and what it says."""

from __future__ import annotations

from collections.abc import Sequence

from harness.perf.engines import Cost, Row

HEADING = (
    "case", "steps", "batch", "ours / authors'", "native s", "upstream s", "ratio", "native outside",
    "upstream outside", "native MiB", "upstream MiB", "native NFE", "upstream NFE", "products s", "native / products",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """One line; what is unknown is empty."""
    ours, theirs = row.native, row.upstream
    case = row.case
    return (
        case.name,
        str(case.steps if row.work.count("/") else case.draws),
        str(case.batch),
        row.work,
        f"{ours.seconds:.3g}",
        f"{theirs.seconds:.3g}" if theirs else "",
        f"{row.ratio:.2f}" if row.ratio else "",
        f"{ours.outside:.1%}",
        f"{theirs.outside:.1%}" if theirs else "",
        _mebibytes(ours),
        _mebibytes(theirs),
        str(ours.nfe),
        str(theirs.nfe) if theirs else "",
        f"{row.products:.3g}",
        f"{ours.seconds / row.products:.2f}",
    )


def _mebibytes(cost: Cost | None) -> str:
    return "" if cost is None or cost.memory is None else f"{cost.memory / 2**20:.0f}"


def sentences(rows: Sequence[Row], speed: float) -> list[str]:
    """What the time is spent on, what the limit is, and how the engines compare, in whole sentences."""
    outside = [row.native.outside for row in rows]
    above = [row.native.seconds / row.products for row in rows]
    said = [
        f"Of our time {_span([1 - share for share in outside], '.0%')} is spent in the network and "
        f"{_span(outside, '.1%')} outside it, on random numbers and draws.",
        "The limit is the network's own matrix products (the linear layers; attention is not counted): at the "
        f"{speed / 1e9:.0f} GFLOP/s of one large product on this machine those of our runs take "
        f"{_span([row.products for row in rows], '.2g')} s; we need {_span(above, '.2f')} times as long.",
    ]
    compared = [(row, row.upstream, row.ratio) for row in rows if row.upstream and row.ratio]
    if compared:
        slowest, _, least = min(compared, key=lambda entry: entry[2])
        shares = [theirs.outside for _, theirs, _ in compared]
        memory = [
            row.native.memory / theirs.memory for row, theirs, _ in compared if row.native.memory and theirs.memory
        ]
        text = (
            f"We are {_span([ratio for _, _, ratio in compared], '.2f')} times as fast as the authors' code (least in "
            f"{slowest.case.name}, {slowest.work}: {least:.2f}), of whose time {_span(shares, '.0%')} is outside the "
            "network"
        )
        said.append(text + (f"; our peak memory is {_span(memory, '.2f')} times theirs." if memory else "."))
    return said


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
