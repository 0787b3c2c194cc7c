"""Record what the authors' nanoDD code computes, for the tests of the native engine.

    python -m tests.goldens.record_nanodd --upstream PATH [--out FOLDER]

PATH is a checkout of github.com/flukeskywalker/nanoDD at commit b656fc6. Needs einops and ema-pytorch besides this
project's packages. Writes nanodd.npz (arrays) and nanodd.json (versions, checkpoint layout).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import runpy
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.goldens.nanodd_cases import BY_NAME, CASES, SAMPLE_BATCH, SAMPLE_SEEDS, Case

COMMIT = "b656fc6f158fc43a811558890f958453cd4e0550"
Arrays = dict[str, np.ndarray]


def install_shims(upstream: Path) -> None:
    """Make the authors' modules importable: no command line, no download of GPT-2's tokens."""
    sys.path.insert(0, str(upstream))
    sys.dont_write_bytecode = True
    sys.modules["fire"] = types.ModuleType("fire")
    tiktoken: Any = types.ModuleType("tiktoken")
    empty = types.SimpleNamespace(_pat_str="", _mergeable_ranks={}, _special_tokens={})
    tiktoken.get_encoding = lambda name: empty
    tiktoken.Encoding = lambda *args, **kwargs: empty
    sys.modules["tiktoken"] = tiktoken
    warnings.filterwarnings("ignore", message=".*CUDA is not available.*")


def authors_model(case: Case) -> Any:
    """The authors' module with the frozen weights, in eval mode."""
    with contextlib.redirect_stdout(io.StringIO()):
        model = import_module("d3pm_absorbing").D3PMAbsorbing(**case.args.as_dict())
    missing, unexpected = model.net.load_state_dict(case.weights(), strict=False)
    if missing != ["rotary_emb.inv_freq"] or unexpected:
        raise SystemExit(f"the network has other parameters than ours: {missing}, {unexpected}")
    return model.eval()


def record_network(case: Case, model: Any) -> Arrays:
    """Logits for some states and times, buffers included."""
    generator = torch.Generator().manual_seed(11)
    times = torch.tensor([1, (case.args.T + 1) // 2, case.args.T])
    tokens = torch.randint(0, case.args.vocab_size + 1, (3, case.length), generator=generator)
    tokens[2] = case.args.vocab_size
    logits = model.net(tokens, times.float())
    return {
        "tokens": tokens.numpy(),
        "times": times.numpy(),
        "logits": logits.numpy(),
        "betas": model.betas.numpy(),
        "alpha_bars": model.alpha_bars.numpy(),
        "inv_freq": model.net.rotary_emb.inv_freq.numpy(),
    }


def _times(case: Case) -> torch.Tensor:
    """A batch of t with the ends in it."""
    last = case.args.T - 1
    return torch.tensor(sorted({0, 1, 2, last // 2, last - 1, last}))


def record_posterior(case: Case, model: Any) -> Arrays:
    """The log posterior from clean ids and from probabilities, for noise drawn by the authors' code."""
    torch.manual_seed(12)
    t = _times(case)
    clean = torch.randint(0, case.args.vocab_size, (len(t), case.length))
    truth, noisy = model.compute_unnormalized_log_posterior(clean, t)
    probs = torch.randn(len(t), case.length, model.K).mul(3).softmax(-1)
    predicted, _ = model.compute_unnormalized_log_posterior(probs, t, noisy)
    return {
        "clean": clean.numpy(),
        "t": t.numpy(),
        "noisy": noisy.numpy(),
        "probs": probs.numpy(),
        "log_posterior_clean": truth.numpy(),
        "log_posterior_probs": predicted.numpy(),
    }


@contextlib.contextmanager
def noise_of(model: Any, seen: list[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[None]:
    """Collect each (t, x_{t+1}) that the model draws."""
    original = type(model).compute_unnormalized_log_posterior

    def wrapped(self: Any, x_0: Any, t: Any, x_tplus1: Any = None) -> Any:
        drawn = x_tplus1 is None
        result = original(self, x_0, t, x_tplus1)
        if drawn:
            seen.append((t.clone(), result[1].clone()))
        return result

    type(model).compute_unnormalized_log_posterior = wrapped
    try:
        yield
    finally:
        type(model).compute_unnormalized_log_posterior = original


def record_loss(case: Case, model: Any) -> Arrays:
    """Loss and metrics of whole batches (with and without t = 0) and of each row alone."""
    times = _times(case)
    batches = {"mixed": times, "positive": times[times > 0], "first": torch.zeros(3, dtype=torch.int64)}
    batches |= {f"row{i}": times[i : i + 1] for i in range(len(times))}
    out: Arrays = {}
    for i, (name, t) in enumerate(batches.items()):
        torch.manual_seed(20 + i)
        data = torch.randint(0, case.args.vocab_size, (len(t), case.length))
        noise: list[tuple[torch.Tensor, torch.Tensor]] = []
        with noise_of(model, noise):
            _, loss, metrics = model(data, t)
        figures = [loss, metrics["kl"], metrics["ce"], metrics["l_T"], metrics["bpt"]]
        out |= {f"{name}/data": data.numpy(), f"{name}/t": t.numpy(), f"{name}/noisy": noise[0][1].numpy()}
        out[f"{name}/figures"] = np.array([float(f) for f in figures])
    return out


def record_samples(case: Case, model: Any) -> Arrays:
    """Whole trajectories of the authors' sampler, and how often it called the network."""
    sample_d3pm_absorbing = import_module("sample").sample_d3pm_absorbing
    out: Arrays = {}
    for seed in SAMPLE_SEEDS:
        calls: list[int] = []
        hook = model.net.register_forward_hook(lambda module, args, output, calls=calls: calls.append(len(args[0])))
        torch.manual_seed(seed)
        trajectory = sample_d3pm_absorbing(model, SAMPLE_BATCH, case.length, visualize=False)
        hook.remove()
        # The whole trajectory of a thousand steps is large: every 97th state and the last two.
        kept = sorted({*range(0, len(trajectory), 1 if case.args.T < 50 else 97), len(trajectory) - 2, case.args.T})
        out |= {
            f"{seed}/states": trajectory[kept].numpy().astype(np.int16),
            f"{seed}/kept": np.array(kept),
            f"{seed}/nfe": np.array(len(calls)),
        }
    return out


def record_evaluate(case: Case, model: Any) -> Arrays:
    """A run of evaluate.py on a small text: its crops, times and noise, and the figures it reports."""
    evaluate: Any = import_module("evaluate")
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

    evaluate.get_batch, evaluate.estimate_total_loss = batch, total
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        text = np.random.RandomState(5).randint(0, case.args.vocab_size, 400).astype(np.uint16)
        np.save(Path(folder) / "val.npy", text)
        state = {f"ema_model.{name}": tensor for name, tensor in model.state_dict().items()}
        content = {"ema": state, "model_cls": "D3PMAbsorbing", "model_args": case.args.as_dict()}
        torch.save(content, Path(folder) / "ckpt.pt")
        with noise_of(model, noise):
            evaluate.main(
                str(Path(folder) / "ckpt.pt"), data_dir=folder, seq_len=case.length, batch_size=4, n_batches_kl=8,
                n_batches_recon=4, device="cpu",
            )  # fmt: skip
    evaluate.get_batch, evaluate.estimate_total_loss = get_batch, estimate_total_loss
    return {
        "crops": torch.stack(crops).numpy(),
        "t": torch.stack([t for t, _ in noise]).numpy(),
        "noisy": torch.stack([noisy for _, noisy in noise]).numpy(),
        "figures": np.array([reports[0][k] for k in ("kl_mean", "recon_mean", "bits_per_token_mean")]),
    }


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, dict):
        return {key: _described(inner) for key, inner in value.items() if not isinstance(key, int)}
    return type(value).__name__


def record_layout(case: Case) -> dict[str, Any]:
    """Run the authors' training script for four steps and describe the checkpoint it writes."""
    configs: Any = import_module("configs")
    training = {"batch_size": 2, "seq_len": 8, "max_iters": 4, "eval_interval": 4, "eval_iters": 1, "warmup_iters": 1}
    configs.d3pm_text8 = lambda: (configs.D3PMAbsorbing, case.args.as_dict(), training)
    save, argv, here = torch.save, sys.argv, os.getcwd()
    saved: list[Path] = []

    def save_in_new_folder(content: Any, path: Path) -> None:
        path.parent.mkdir(parents=True)
        save(content, path)
        saved.append(path.resolve())

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        (Path(folder) / "text8").mkdir()
        for split in ("train", "val"):
            np.save(Path(folder) / "text8" / f"{split}.npy", np.arange(200, dtype=np.uint16) % case.args.vocab_size)
        try:
            torch.save = save_in_new_folder  # type: ignore[assignment]
            sys.argv = ["train.py", "d3pm_text8", "--no-compile"]
            os.chdir(folder)
            runpy.run_path(str(Path(configs.__file__).with_name("train.py")), run_name="__main__")
            content = torch.load(saved[0], weights_only=True)
        finally:
            torch.save, sys.argv = save, argv
            os.chdir(here)
    layout = {key: _described(value) for key, value in content.items() if key != "optimizer"}
    return {"args": case.name, "training_args": training, "top": sorted(content), "layout": layout}


@torch.no_grad()
def main() -> None:
    """Record everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--upstream", type=Path, required=True, help="checkout of the authors' repository")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    install_shims(options.upstream.resolve())
    arrays: Arrays = {}
    for case in CASES:
        model = authors_model(case)
        parts = {
            "network": record_network(case, model),
            "posterior": record_posterior(case, model),
            "loss": record_loss(case, model),
            "sample": record_samples(case, model),
        }
        if case.args.T < 50:
            parts["evaluate"] = record_evaluate(case, model)
        arrays |= {f"{case.name}/{part}/{key}": value for part, got in parts.items() for key, value in got.items()}
    np.savez_compressed(options.out / "nanodd.npz", **arrays)  # type: ignore[arg-type]
    with torch.enable_grad():
        layout = record_layout(BY_NAME["text8"])
    about = {"commit": COMMIT, "torch": torch.__version__, "numpy": np.__version__, "checkpoint": layout}
    (options.out / "nanodd.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
