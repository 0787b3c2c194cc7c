"""Small tensors are fastest on one thread, and the tests of the worker start processes beside this one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
