"""Small tensors are fastest on one thread, and the tests of the worker start processes beside this one."""

from __future__ import annotations

import os

from tests.engine import hide_engine

os.environ.setdefault("OMP_NUM_THREADS", "1")
hide_engine()
