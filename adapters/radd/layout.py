"""Names in the two published layouts of RADD weights, for our loader and beside the authors'. Python 3.8 syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import numpy as np

CONFIG, WEIGHTS, OLD_WEIGHTS = "config.json", "model.safetensors", "pytorch_model.bin"
RUN_CONFIG, RUN_WEIGHTS = Path(".hydra") / "config.yaml", Path("checkpoints-meta") / "checkpoint.pth"
#: What rebuilds a numpy number; its module was renamed in numpy 2, and files of both kinds exist.
_REBUILD = np.float64(0).__reduce__()[0]
#: A training run's optimizer holds its learning rate as a numpy number; its pickle uses these names, which run no code.
NUMPY_NUMBER: List[Any] = [
    np.dtype,
    type(np.dtype(np.float64)),
    (_REBUILD, "numpy.core.multiarray.scalar"),
    (_REBUILD, "numpy._core.multiarray.scalar"),
]
