"""Record the layouts in which the authors' RADD code writes weights.

    python -m tests.goldens.record_radd CHECKOUT

CHECKOUT is a checkout of github.com/ML-GSAI/RADD at commit 60b772d. Writes radd.json: what their `save_pretrained` and
their training loop's `save_checkpoint` leave. All else is recorded by ``tdbench parity radd --record``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from adapters.radd.upstream import MODULES, PACKAGES, quiet
from adapters.upstream import import_modules
from tests.goldens.radd_checkpoints import LENGTH, config, weights

Code = dict[str, ModuleType]


def authors_network(code: Code) -> Any:
    """Their network with the golden weights."""
    made = code["model"].RADD(config())
    made.load_state_dict(weights(), strict=False)
    return made.eval()


def record_hub(code: Code, folder: Path) -> dict[str, Any]:
    """What their network's `save_pretrained` writes."""
    network = authors_network(code)
    network.save_pretrained(folder)
    return {
        "files": sorted(path.name for path in folder.iterdir()),
        "shapes": {name: list(tensor.shape) for name, tensor in network.state_dict().items()},
        "parameters": [name for name, _ in network.named_parameters()],
        "config": json.loads((folder / "config.json").read_text(encoding="utf-8")),
    }


def record_run(code: Code, folder: Path) -> dict[str, Any]:
    """The shape of what `save_checkpoint` writes after an optimizer step, its learning rate set as in losses.py."""
    network = authors_network(code)
    ema = code["model.ema"].ExponentialMovingAverage(network.parameters(), decay=0.9999)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
    with quiet():
        network.logits(torch.arange(LENGTH)[None]).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 3e-4 * np.minimum(7 / 2500, 1.0)
    wrapped = torch.nn.Module()
    wrapped.module = network
    file = folder / "checkpoint.pth"
    code["utils"].save_checkpoint(str(file), {"optimizer": optimizer, "model": wrapped, "ema": ema, "step": 7})
    saved = torch.load(file, weights_only=False)  # written a moment ago
    return {
        "keys": sorted(saved),
        "ema": {key: type(value).__name__ for key, value in saved["ema"].items()},
        "averaged": [list(tensor.shape) for tensor in saved["ema"]["shadow_params"]],
        "model": list(saved["model"]),
        "learning_rate": type(saved["optimizer"]["param_groups"][0]["lr"]).__name__,
    }


def main() -> None:
    """Record both layouts."""
    with quiet():
        code = import_modules(Path(sys.argv[1]), [*MODULES, "model.ema", "utils"], "radd", PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        run = record_run(code, Path(folder))
        hub = record_hub(code, Path(folder) / "hub")
    lines = [f'"{key}": {json.dumps(value)}' for key, value in {"hub": hub, "run": run}.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (Path(__file__).parent / "radd.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
