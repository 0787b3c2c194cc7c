"""Record the parts of the authors' nanoDD that are no part of sampling or of a loss: their noise schedule, their
posterior for free inputs, a run of evaluate.py, and the checkpoint that train.py writes.

    python -m tests.goldens.record_nanodd CHECKOUT

CHECKOUT is a checkout of github.com/flukeskywalker/nanoDD at commit b656fc6. Needs einops and ema-pytorch besides this
project's packages. Writes nanodd.json. All else is recorded by ``tdbench parity nanodd --record``.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch

from adapters.cards import get_card
from adapters.nanodd.layout import FILE_NAME
from adapters.nanodd.upstream import MODULES, PACKAGES, quiet, stand_ins
from adapters.upstream import import_modules
from tests.goldens.nanodd_cases import BY_NAME, CASES, Case

Code = dict[str, ModuleType]
#: Positions in the recorded posterior.
POSITIONS = 3
#: At most this many entries of a schedule are kept.
SCHEDULE = 12


def authors_model(code: Code, case: Case) -> Any:
    """The authors' module with the frozen weights and buffers of its own, in eval mode."""
    with quiet():
        model = code["d3pm_absorbing"].D3PMAbsorbing(**case.args.as_dict())
    missing, unexpected = model.net.load_state_dict(case.weights(), strict=False)
    if missing != ["rotary_emb.inv_freq"] or unexpected:
        raise SystemExit(f"the network has other parameters than ours: {missing}, {unexpected}")
    return model.eval()


def record_schedule(code: Code, case: Case) -> dict[str, Any]:
    """Some entries of the buffers that the authors' constructor makes."""
    model = authors_model(code, case)
    index = np.unique(np.linspace(0, case.args.T, min(case.args.T + 1, SCHEDULE)).astype(int)).tolist()
    return {"index": index, "betas": model.betas[index].tolist(), "alpha_bars": model.alpha_bars[index].tolist()}


def record_posterior(code: Code, case: Case) -> dict[str, Any]:
    """The log posterior from clean ids and from probabilities at every t, for noise drawn by the authors' code."""
    model = authors_model(code, case)
    torch.manual_seed(12)
    t = torch.arange(case.args.T)
    clean = torch.randint(0, case.args.vocab_size, (case.args.T, POSITIONS))
    truth, noisy = model.compute_unnormalized_log_posterior(clean, t)
    probs = torch.randn(case.args.T, POSITIONS, model.K).mul(3).softmax(-1)
    predicted, _ = model.compute_unnormalized_log_posterior(probs, t, noisy)
    found = {"t": t, "clean": clean, "noisy": noisy, "probs": probs, "of_clean": truth, "of_probs": predicted}
    return {name: tensor.tolist() for name, tensor in found.items()}


@contextlib.contextmanager
def noise_of(model_class: Any, seen: list[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[None]:
    """Collect each (t, x_{t+1}) that the model draws."""
    original = model_class.compute_unnormalized_log_posterior

    def wrapped(self: Any, x_0: Any, t: Any, x_tplus1: Any = None) -> Any:
        drawn = x_tplus1 is None
        result = original(self, x_0, t, x_tplus1)
        if drawn:
            seen.append((t.clone(), result[1].clone()))
        return result

    model_class.compute_unnormalized_log_posterior = wrapped
    try:
        yield
    finally:
        model_class.compute_unnormalized_log_posterior = original


def record_evaluate(code: Code, case: Case) -> dict[str, Any]:
    """A run of evaluate.py on a small text: its crops, times and noise, and the figures it reports."""
    evaluate: Any = code["evaluate"]
    crops: list[torch.Tensor] = []
    noise: list[tuple[torch.Tensor, torch.Tensor]] = []
    reports: list[dict[str, float]] = []
    get_batch, estimate_total_loss = evaluate.get_batch, evaluate.estimate_total_loss

    def batch(*args: Any) -> torch.Tensor:
        crops.append(get_batch(*args))
        return crops[-1]

    def total(*args: Any) -> dict[str, float]:
        reports.append(estimate_total_loss(*args))
        return reports[-1]

    listen = mock.patch.multiple(evaluate, get_batch=batch, estimate_total_loss=total)
    with tempfile.TemporaryDirectory() as folder, quiet(), listen, noise_of(evaluate.D3PMAbsorbing, noise):
        text = np.random.RandomState(5).randint(0, case.args.vocab_size, 400).astype(np.uint16)
        np.save(Path(folder) / "val.npy", text)
        case.write(Path(folder))
        evaluate.main(
            str(Path(folder) / FILE_NAME), data_dir=folder, seq_len=case.length, batch_size=4, n_batches_kl=8,
            n_batches_recon=4, device="cpu",
        )  # fmt: skip
    runs = zip(crops, noise, strict=True)
    return {
        "batches": [{"crops": c.tolist(), "t": t.tolist(), "noisy": n.tolist()} for c, (t, n) in runs],
        "figures": [reports[0][name] for name in ("kl_mean", "recon_mean", "bits_per_token_mean")],
    }


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, dict):
        return {key: _described(inner) for key, inner in value.items() if not isinstance(key, int)}
    return type(value).__name__


def record_layout(checkout: Path, case: Case) -> dict[str, Any]:
    """Run the authors' training script for four steps and describe the checkpoint it writes."""
    with quiet():
        configs: Any = import_modules(checkout, ["configs"], "nanodd", PACKAGES, stand_ins())["configs"]
    training = {"batch_size": 2, "seq_len": 8, "max_iters": 4, "eval_interval": 4, "eval_iters": 1, "warmup_iters": 1}
    configs.d3pm_text8 = lambda: (configs.D3PMAbsorbing, case.args.as_dict(), training)
    save, here = torch.save, os.getcwd()
    saved: list[Path] = []

    def save_in_new_folder(content: Any, path: Path) -> None:
        path.parent.mkdir(parents=True)
        save(content, path)
        saved.append(path.resolve())

    with tempfile.TemporaryDirectory() as folder, quiet():
        (Path(folder) / "text8").mkdir()
        for split in ("train", "val"):
            np.save(Path(folder) / "text8" / f"{split}.npy", np.arange(200, dtype=np.uint16) % case.args.vocab_size)
        with (
            mock.patch.object(torch, "save", save_in_new_folder),
            mock.patch.object(sys, "argv", ["train.py", "d3pm_text8", "--no-compile"]),
            mock.patch.dict(sys.modules, configs=configs),
        ):
            os.chdir(folder)
            try:
                runpy.run_path(str(checkout / "train.py"), run_name="__main__")
            finally:
                os.chdir(here)
        content = torch.load(saved[0], weights_only=True)
    layout = {key: _described(value) for key, value in content.items() if key != "optimizer"}
    return {"args": case.name, "training_args": training, "top": sorted(content), "layout": layout}


def main() -> None:
    """Record everything."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    checkout = Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    with quiet():
        code = import_modules(checkout, MODULES, "nanodd", PACKAGES, stand_ins())
    small = BY_NAME["small"]
    with torch.no_grad():
        about = {
            "commit": get_card("nanodd").upstream.commit,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "schedule": {case.name: record_schedule(code, case) for case in CASES},
            "posterior": record_posterior(code, small),
            "evaluate": record_evaluate(code, small),
        }
    about["checkpoint"] = record_layout(checkout, BY_NAME["text8"])
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in about.items())
    (Path(__file__).parent / "nanodd.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
