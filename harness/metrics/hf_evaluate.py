"""Any metric of Hugging Face evaluate: ``evaluate:NAME`` or ``evaluate:SCRIPT``, with ``#KEY`` for one of its figures.

A bare name is fetched from the Hub as a script and runs on this machine: name only metrics you trust. A path works
offline.
"""

from __future__ import annotations

import importlib.util
import math
import numbers
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.errors import MissingPackage, UserError
from harness.metrics.base import Metric, Score, ScoreInput, missing

PREFIX = "evaluate:"


def evaluate_metric(name: str) -> Metric:
    """The metric called ``evaluate:NAME`` or ``evaluate:NAME#KEY``. Loads nothing yet.

    Raises:
        UserError: for an empty name.
        MissingPackage: where `evaluate` is not installed.
    """
    target, _, key = name.removeprefix(PREFIX).partition("#")
    if not target:
        raise UserError(f"'{name}' names no metric. Give {PREFIX}NAME, such as {PREFIX}rouge#rougeL.")
    if importlib.util.find_spec("evaluate") is None:
        raise MissingPackage("evaluate", f"the metric '{name}'")
    return Metric(
        name=name,
        version=1,
        unit="as the metric defines it",
        better="none",
        needs=frozenset({"references"}),
        compute=partial(run_evaluate, target=target, key=key),
        summary=f"Hugging Face evaluate metric '{target}'" + (f", its figure '{key}'" if key else ""),
        settings=partial(_settings, target=target),
    )


def run_evaluate(data: ScoreInput, target: str, key: str = "") -> Score:
    """The figure of one evaluate metric, without an interval (its inside is unknown); all its figures in the detail.

    References are the true texts of the samples where there are such (lists of them where a sample has several), else
    as many held-out texts in no order: right for a metric that compares two sets, without meaning for one that compares
    pairs. The settings say which.
    """
    predictions = list(data.texts)
    references = _references(data)
    if len(references) < len(predictions):
        return missing(f"{len(predictions)} samples but only {len(references)} held-out texts")
    try:
        module = _load(target)
    except (OSError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return missing(f"evaluate metric '{target}' cannot be loaded: {reason}")
    result = module.compute(predictions=predictions, references=references) or {}
    return _pick(result, key or Path(target).stem)


def _references(data: ScoreInput) -> list[Any]:
    paired = data.paired_references
    if paired is None:
        return list(data.references[: len(data.texts)])
    single = all(len(references) == 1 for references in paired)
    return [references[0] if single else list(references) for references in paired]


@cache
def _load(target: str) -> Any:
    import evaluate

    return evaluate.load(target)


def _pick(result: Mapping[str, Any], key: str) -> Score:
    """The finite figure named `key`, or the only one there is."""
    numeric = {name: float(value) for name, value in result.items() if isinstance(value, numbers.Real)}
    figures = {name: value for name, value in numeric.items() if math.isfinite(value)}
    if key not in figures and len(figures) == 1:
        key = next(iter(figures))
    if key not in figures:
        known = ", ".join(figures) or "none"
        return missing(f"the metric gives no finite figure '{key}': name one with #KEY, of {known}")
    return Score(figures[key], detail={"figure": key, "figures": figures})


def _settings(data: ScoreInput, target: str) -> dict[str, Any]:
    pairing = "held-out texts, not paired" if data.paired_references is None else "paired"
    return {"evaluate": target, "references": pairing}
