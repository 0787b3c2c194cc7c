"""The command that makes one row again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from harness.report.data import Row

#: Setting of `tdbench bench` <- field of a point.
_COMMON = {
    "engine": "engine",
    "benchmark": "benchmark",
    "runtime": "runtime",
    "device": "device",
    "dtype": "dtype",
    "batch_size": "batch_size",
}
_GENERATE = {
    "task": "task",
    "schedulers": "scheduler",
    "steps": "steps",
    "seeds": "seed",
    "samples": "samples",
    "options": "options",
}
_LIKELIHOOD = {"likelihood": "estimator", "likelihood_samples": "samples", "seeds": "seed"}
#: What the row leaves out of the run, and the run's name, which belongs to the whole sweep.
_OTHERS_OFF = {"generate": {"likelihood": "none", "controls": "[]"}, "likelihood": {"controls": "[]"}}
_NEVER_KEPT = {"model", "run", "schedulers", "steps", "task", "options", "draws"}


def row_command(row: Row, base_command: str) -> str:
    """The `tdbench bench` command which makes this row again, with as little else as the settings allow.

    A likelihood row keeps the run's `samples`, because the size of the prepared data follows from them; a row chosen
    among seeds keeps the run's `seeds`. Imported rows have no such command.

    Args:
        row: a row of the run's table.
        base_command: the command of the whole run; settings which the row does not fix (a data file or a benchmark's
            own settings, a judge, a checkpoint folder, a checkout, a length, which sets the held-out texts too) are
            kept.
    """
    settings = {"model": _value(row.get("model"))}
    kind = "likelihood" if row.get("kind") == "likelihood" else "generate"
    if row.get("checkpoint_kind") in ("tiny", "published") and row.get("checkpoint") is not None:
        settings["checkpoint"] = _value(row["checkpoint"])
    for setting, field in (_COMMON | (_LIKELIHOOD if kind == "likelihood" else _GENERATE)).items():
        value = row.get(field)
        if value not in (None, {}) and (value != 0 or field == "seed"):  # 0 steps: a control, which has none
            settings[setting] = _value(value)
    if kind == "likelihood":
        settings["task"] = "none"
        options = row.get("options")
        if isinstance(options, Mapping) and options.get("draws") is not None:
            settings["draws"] = _value(options["draws"])
    settings |= _OTHERS_OFF[kind]
    dropped = _NEVER_KEPT | ({"upstream"} if row.get("engine") == "native" else set())
    dropped |= {"image", "memory"} if row.get("runtime") == "local" else set()
    kept = {key: value for key, value in _settings(base_command).items() if key.partition(".")[0] not in dropped}
    settings |= {key: value for key, value in kept.items() if key not in settings}
    return " ".join(["tdbench", "bench", *(shlex.quote(f"{k}={v}") for k, v in settings.items())])


def _settings(command: str) -> dict[str, str]:
    """The ``key=value`` words of a command."""
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: not a command any shell took, so plain words are the best reading
        words = command.split()
    pairs = (word.partition("=") for word in words if "=" in word)
    return {key: value for key, _, value in pairs}


def _value(value: Any) -> str:
    """A value in Hydra's override grammar."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_value(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    plain = all(c.isalnum() or c in "_-./" for c in text) and text != ""
    return text if plain else json.dumps(text)
