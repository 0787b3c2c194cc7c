"""Random network weights that any machine can rebuild: goldens are recorded with them, CI needs no file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def _random(name: str, seed: int) -> np.random.RandomState:
    """A generator for one tensor; RandomState's stream is frozen by numpy's compatibility policy."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.RandomState(int.from_bytes(digest[:4], "big"))


def frozen_state(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, np.ndarray]:
    """Float32 weights for every named shape, each from its own generator, so the order of the names does not matter.

    Matrices and embedding tables are normal with standard deviation 1/sqrt(columns), vectors named `*bias` have
    standard deviation 0.1, and every other vector (the scale of a norm) is 1 plus 0.1 times a normal. Nothing is zero:
    a zero initialised layer would hide a mistake in everything behind it.
    """
    state: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        noise = _random(name, seed).standard_normal(tuple(shape))
        if len(shape) >= 2:
            value = noise / np.sqrt(float(np.prod(tuple(shape)[1:])))
        elif name.endswith("bias"):
            value = 0.1 * noise
        else:
            value = 1.0 + 0.1 * noise
        state[name] = value.astype(np.float32)
    return state
