"""The container engine of this machine, for the tests that are about containers.

All others see none: with `runtime=auto` they would take it, and one machine would test other things than another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_VARIABLE = "DOCKER_HOST"
_ITS_OWN = os.environ.get(_VARIABLE)


def hide_engine() -> None:
    """Let this process and those it starts find no engine."""
    os.environ[_VARIABLE] = "unix:///nowhere/engine.sock"


@contextmanager
def own_engine() -> Iterator[None]:
    """Let them find it, for a while."""
    with pytest.MonkeyPatch.context() as patch:
        if _ITS_OWN is None:
            patch.delenv(_VARIABLE)
        else:
            patch.setenv(_VARIABLE, _ITS_OWN)
        yield
