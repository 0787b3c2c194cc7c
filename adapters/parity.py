"""Parity of the two engines: the authors' code RECORDS a case, our engine REPLAYS it, and the two are COMPARED.

A recording is a flat dict of tensors. Keys "in/..." are what the authors' code computed from (tokens, noise it drew,
states it visited), keys "out/..." what it computed. A replay has the same "out/..." keys, computed by our engine from
the "in/..." ones. Integers (tokens, evaluations) must be equal; floats must agree within the case's tolerance of the
output's scale.

A model takes part with two modules::

    adapters.<model>.parity     cases(model) -> List[Case]    what to compare for this checkpoint; takes our model
                                replay(model, case, recorded) -> Recording
    adapters.<model>.upstream   record(model, case) -> Recording, takes the authors'

Python 3.8 syntax, stdlib, torch and numpy: the recording side runs inside old images.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

Recording = Dict[str, Tensor]

KINDS = ("network", "step", "loss", "sample")
#: Largest difference allowed, as a share of the output's scale (float32 on the CPU; mostly it is 1e-6 or less).
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """One thing that both engines compute.

    Attributes:
        name: unique among the cases of a model; the table shows it.
        kind: "network" (raw output), "step" (transition from states the authors visited), "loss" (for the noise the
            authors drew) or "sample" (a whole run from a seed: "out/tokens" and "out/nfe").
        settings: plain JSON values, all that `record` and `replay` need (scheduler, steps, options, seed, batch, ...).
        tolerance: of floats, as a share of the largest absolute value of the recorded output.
    """

    name: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError("kind of case '{}' is '{}', not one of {}".format(self.name, self.kind, ", ".join(KINDS)))


@dataclass(frozen=True)
class Difference:
    """How far one output of a case is apart.

    Attributes:
        case: name of the case.
        kind: of the case.
        what: the output: its key without "out/", up to the next slash (several states of a run are one output).
        largest: floats: largest absolute difference by the largest absolute recorded value; integers: how many entries
            differ. Infinite where shapes or keys differ or one side has a number where the other has none.
        tolerance: largest one allowed; None where it is only reported.
        exact: integers, compared entry by entry.
    """

    case: str
    kind: str
    what: str
    largest: float
    tolerance: Optional[float]
    exact: bool

    @property
    def passed(self) -> bool:
        return self.tolerance is None or self.largest <= self.tolerance


def compare(case: Case, recorded: Recording, replayed: Recording, draws_agree: bool = True) -> List[Difference]:
    """Differences of all outputs of a case, one for each `Difference.what`.

    Args:
        case: what was computed.
        recorded: of the authors' code, "in/..." keys included.
        replayed: of ours.
        draws_agree: whether one seed gives both engines the same random numbers and enough digits to draw the same
            tokens (CPU, float32). Elsewhere a "sample" is reported, not judged.
    """
    theirs = {key: value for key, value in recorded.items() if key.startswith("out/")}
    if not theirs:
        raise ValueError(f"case '{case.name}' records no output")
    worst: Dict[str, Difference] = {}
    for key in sorted(set(theirs) | {key for key in replayed if key.startswith("out/")}):
        what = key.split("/")[1]
        largest, exact = _largest(theirs.get(key), replayed.get(key))
        tolerance: Optional[float] = 0.0 if exact else case.tolerance
        if case.kind == "sample" and not draws_agree:
            tolerance = None
        if what not in worst or largest > worst[what].largest:
            worst[what] = Difference(case.name, case.kind, what, largest, tolerance, exact)
    return list(worst.values())


def _largest(theirs: Optional[Tensor], ours: Optional[Tensor]) -> Any:
    """(difference, whether integers were compared)."""
    exact = theirs is not None and not theirs.is_floating_point()
    if theirs is None or ours is None or theirs.shape != ours.shape or ours.is_floating_point() == exact:
        return float("inf"), exact
    theirs, ours = theirs.cpu(), ours.cpu()
    if exact:
        return float((theirs != ours).sum()), True
    theirs, ours = theirs.double(), ours.double()
    known = torch.isfinite(theirs)
    if not torch.equal(known, torch.isfinite(ours)) or not torch.equal(
        theirs[~known].nan_to_num(), ours[~known].nan_to_num()
    ):
        return float("inf"), False
    if not known.any():
        return 0.0, False
    scale = float(theirs[known].abs().max())
    gap = float((theirs[known] - ours[known]).abs().max())
    return (gap / scale if scale else gap), False


def frozen_state(shapes: Mapping[str, Sequence[int]], seed: int) -> Dict[str, np.ndarray]:
    """Random float32 weights that any machine can rebuild, for every named shape.

    Each tensor has a generator of its own (numpy's RandomState, whose stream is frozen by numpy's compatibility
    policy), so the order of the names does not matter. Matrices and embedding tables are normal with standard deviation
    1/sqrt(columns), vectors named `*bias` have standard deviation 0.1, and every other vector (the scale of a norm) is
    1 plus 0.1 times a normal. Nothing is zero: a layer that starts at zero hides mistakes in all that is behind it.
    """
    state: Dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        noise = np.random.RandomState(int.from_bytes(digest[:4], "big")).standard_normal(tuple(shape))
        if len(shape) >= 2:
            value = noise / np.sqrt(float(np.prod(tuple(shape)[1:])))
        elif name.endswith("bias"):
            value = 0.1 * noise
        else:
            value = 1.0 + 0.1 * noise
        state[name] = np.asarray(value, dtype=np.float32)
    return state


@contextlib.contextmanager
def random_weights(module: torch.nn.Module, seed: Optional[int]) -> Iterator[None]:
    """`frozen_state` in place of all parameters for a while; nothing happens for seed None.

    A trained network can hide a mistake that a random one shows, and the other way round, so parity looks at both.
    """
    if seed is None:
        yield
        return
    parameters = dict(module.named_parameters())
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    made = frozen_state({name: tuple(parameter.shape) for name, parameter in parameters.items()}, seed)
    try:
        _fill(parameters, {name: torch.from_numpy(value) for name, value in made.items()})
        yield
    finally:
        _fill(parameters, kept)


def _fill(parameters: Mapping[str, torch.nn.Parameter], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


def probe_tokens(batch: int, length: int, mask_id: int, masked: Sequence[float], seed: int) -> Tensor:
    """Random ids [batch, length]; row i has about the share `masked[i % len(masked)]` of its positions masked."""
    random = np.random.RandomState(seed)
    tokens = torch.from_numpy(random.randint(0, mask_id, (batch, length)).astype(np.int64))
    share = torch.tensor([masked[i % len(masked)] for i in range(batch)], dtype=torch.float64)
    return tokens.masked_fill(torch.from_numpy(random.uniform(size=(batch, length))) < share[:, None], mask_id)
