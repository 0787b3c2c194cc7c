"""Record the figures of the authors' RADD code, run unchanged on a small random network.

    python -m tests.goldens.record_radd --upstream PATH_OF_A_CHECKOUT

Needs what their code imports (einops, omegaconf, huggingface_hub). Writes radd.json and radd.npz beside this file. The
shims for what does not run on a CPU are all in this file: a wrapper that rounds the network's output to float16 as CUDA
autocast does, and a stand-in for `torch` that gives their sampler a float32 buffer.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.radd.checkpoint import hub_config, load_network, save_hub_folder
from tests.adapters.radd_fixtures import AVERAGED, GOLDENS, LENGTH, SIZE, WEIGHTS, config, weights
from tests.goldens.weights import frozen_state

COMMIT = "60b772df3ad4bc0213e867ec62923fe90359b93d"
MASK = SIZE.tokens
GIVEN = {0: 3, 1: 30, 7: 12, 15: 0}
LOSSES = ("t_DSE", "t_DCE", "lambda_DCE", "k_DCE")


class Upstream:
    """The authors' modules."""

    def __init__(self, checkout: Path) -> None:
        sys.path.insert(0, str(checkout))
        self.model = importlib.import_module("model")
        self.noise_lib = importlib.import_module("noise_lib")
        self.sampling = importlib.import_module("sampling")
        self.losses = importlib.import_module("losses")
        self.load_model = importlib.import_module("load_model")
        self.ema = importlib.import_module("model.ema")
        self.utils = importlib.import_module("utils")

    def network(self, seed: int = WEIGHTS, dtype: str = "float32") -> Any:
        """Their network with the golden weights."""
        made = self.model.RADD(config(dtype=dtype))
        shapes = {name: tuple(p.shape) for name, p in made.named_parameters()}
        state = {name: torch.from_numpy(value) for name, value in frozen_state(shapes, seed).items()}
        made.load_state_dict(state, strict=False)
        return made.eval()

    def noise(self, name: str) -> Any:
        return self.noise_lib.get_noise(self.model.RADD(config(name)).config)


class Counting:
    """Their network, counting evaluations of each sequence, and giving its output in `dtype`.

    Which sequences a call is for is known to their sampler alone, in its local variable `changed`.
    """

    def __init__(self, network: Any, dtype: torch.dtype, batch: int) -> None:
        self.network = network
        self.dtype = dtype
        self.evaluations = [0] * batch

    def eval(self) -> None:
        self.network.eval()

    def _count(self, rows: int) -> None:
        changed = sys._getframe(2).f_locals.get("changed", torch.ones(rows, dtype=torch.bool))
        assert int(changed.sum()) == rows
        self.evaluations = [n + int(c) for n, c in zip(self.evaluations, changed, strict=True)]

    def __call__(self, x: Tensor) -> Tensor:
        self._count(len(x))
        out: Tensor = self.network(x).to(self.dtype)
        return out

    def logits(self, x: Tensor) -> Tensor:
        self._count(len(x))
        out: Tensor = self.network.logits(x).to(self.dtype)
        return out


class Float32Torch:
    """`torch` for their sampling module, with a float32 buffer where they ask for float16."""

    float16 = torch.float32

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def patched(module: ModuleType, **names: Any) -> Iterator[None]:
    """Names of a module replaced for a while."""
    before = {name: getattr(module, name) for name in names}
    for name, value in names.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def record_forward(upstream: Upstream) -> dict[str, np.ndarray]:
    """Logits and `forward` for clean, half-masked, fully masked and mixed-length inputs."""
    network = upstream.network()
    clean = torch.from_numpy(np.random.RandomState(5).randint(0, MASK, (4, LENGTH)))
    hide = torch.from_numpy(np.random.RandomState(6).uniform(size=(4, LENGTH)))
    share = torch.tensor([0.0, 0.3, 0.7, 1.0])
    tokens = torch.where(hide < share[:, None], MASK, clean)
    longer = torch.from_numpy(np.random.RandomState(7).randint(0, MASK + 1, (1, 29)))
    with torch.no_grad():
        return {
            "tokens": tokens.numpy(),
            "logits": network.logits(tokens).numpy(),
            "forward": network(tokens).numpy(),
            "longer_tokens": longer.numpy(),
            "longer_logits": network.logits(longer).numpy(),
        }


def record_rates(upstream: Upstream) -> list[dict[str, Any]]:
    """Chance of leaving the mask, at the sampler's own times."""
    rows = []
    for noise in ("loglinear", "geometric"):
        for method in ("tweedie", "euler"):
            sampler = upstream.sampling.DiffusionSampler(
                method, None, upstream.noise(noise), (1, LENGTH), MASK + 1, "direct", device=torch.device("cpu")
            )
            for steps in (2, 16, 1024):
                times = torch.linspace(1, sampler.eps, steps + 1)
                for i in sorted({0, steps // 3, steps // 2, steps - 1}):
                    with torch.no_grad():
                        rate = float(sampler.get_update_rate(times[i], steps))
                    rows.append({"noise": noise, "method": method, "steps": steps, "t": float(times[i]), "rate": rate})
    return rows


def record_losses(upstream: Upstream) -> dict[str, Any]:
    """Each loss with the noise it drew."""
    network = upstream.network()
    batch = torch.from_numpy(np.random.RandomState(8).randint(0, MASK, (5, LENGTH)))
    rows = []
    for noise in ("loglinear", "geometric"):
        for name in LOSSES:
            rows += [_one_loss(upstream, network, batch, noise, name, seed) for seed in (0, 1)]
    return {"tokens": batch.tolist(), "rows": rows}


def _one_loss(upstream: Upstream, network: Any, batch: Tensor, noise: str, name: str, seed: int) -> dict[str, Any]:
    losses = upstream.losses
    seen: dict[str, Tensor] = {}
    uniform, add_k = losses.Batch_Uniform_Sampler, losses.add_noise_k

    def watched_uniform(*args: Any, **kwargs: Any) -> Tensor:
        seen["level"] = uniform(*args, **kwargs)
        return seen["level"]

    def watched_k(clean: Tensor, k: Tensor, mask: int) -> Tensor:
        seen["level"] = k
        return add_k(clean, k, mask)

    class Watched:
        def __call__(self, x: Tensor) -> Tensor:
            seen["noisy"] = x
            out: Tensor = network(x)
            return out

        def eval(self) -> None:
            network.eval()

    torch.manual_seed(seed)
    with torch.no_grad(), patched(losses, Batch_Uniform_Sampler=watched_uniform, add_noise_k=watched_k):
        value = losses.get_loss_fn(upstream.noise(noise), MASK + 1, False, loss_type=name)(Watched(), batch)
    level = seen["level"]
    if name.startswith("t_"):
        level = (1 - 1e-3) * level + 1e-3
    return {
        "noise": noise,
        "loss": name,
        "level": level.tolist(),
        "mask": ["".join(str(int(m)) for m in row) for row in seen["noisy"] == MASK],
        "nats": value.tolist(),
    }


def diffusion_cases() -> Iterator[dict[str, Any]]:
    """Runs of their DiffusionSampler."""
    base: dict[str, Any] = {
        "noise": "loglinear",
        "method": "tweedie",
        "strategy": "direct",
        "para": 0.8,
        "given": False,
    }
    for dtype in ("float16", "float32"):
        for steps, batch, seed in ((1, 2, 0), (4, 3, 1), (12, 3, 2), (64, 4, 3), (512, 1, 4), (4096, 4, 9)):
            yield {**base, "dtype": dtype, "steps": steps, "batch": batch, "seed": seed}
        for noise, method in (("loglinear", "euler"), ("geometric", "tweedie"), ("geometric", "euler")):
            yield {**base, "noise": noise, "method": method, "dtype": dtype, "steps": 24, "batch": 3, "seed": 5}
        yield {**base, "dtype": dtype, "steps": 10, "batch": 3, "seed": 6, "given": True}
        for strategy, para in (("top_p", 0.8), ("top_p", 0.3), ("top_k", 5), ("top_k", 30)):
            case = {**base, "strategy": strategy, "para": para, "dtype": dtype, "steps": 12, "batch": 3}
            yield {**case, "seed": 7}
            yield {**case, "seed": 8, "given": True}
            yield {**case, "seed": 9, "noise": "geometric"}


def ordered_cases() -> Iterator[dict[str, Any]]:
    """Runs of their OrderedSampler. Its random order is drawn for 1024 positions, whatever the length."""
    for dtype in ("float16", "float32"):
        for order in ("forward", "backward"):
            case: dict[str, Any] = {"order": order, "dtype": dtype, "batch": 2, "length": LENGTH}
            yield {**case, "strategy": "direct", "para": 0.8, "steps": LENGTH, "seed": 0}
            yield {**case, "strategy": "top_p", "para": 0.5, "steps": 9, "seed": 1}
            yield {**case, "strategy": "top_k", "para": 4, "steps": LENGTH, "seed": 2}
        case = {"order": "random", "dtype": dtype, "batch": 1, "length": 1024, "strategy": "direct", "para": 0.8}
        yield {**case, "steps": 5, "seed": 3}


def clamp(x: Tensor) -> Tensor:
    """Their `proj_fun` for the given tokens."""
    x[:, list(GIVEN)] = torch.tensor(list(GIVEN.values()))
    return x


def record_sampling(upstream: Upstream) -> list[dict[str, Any]]:
    """Final tokens and evaluations of each sequence."""
    rows = []
    sampling = upstream.sampling
    for case in diffusion_cases():
        dtype = getattr(torch, case["dtype"])
        counting = Counting(upstream.network(), dtype, case["batch"])
        stand_in = torch if case["dtype"] == "float16" else Float32Torch()
        with patched(sampling, torch=stand_in):
            sampler = sampling.DiffusionSampler(
                case["method"],
                counting,
                upstream.noise(case["noise"]),
                (case["batch"], LENGTH),
                MASK + 1,
                case["strategy"],
                case["para"],
                device=torch.device("cpu"),
            )
            torch.manual_seed(case["seed"])
            tokens = sampler.sample(case["steps"], clamp if case["given"] else lambda x: x)
        rows.append({**case, "tokens": tokens.tolist(), "evaluations": counting.evaluations})
    return rows


def record_ordered(upstream: Upstream) -> list[dict[str, Any]]:
    """Final tokens (for the long random-order runs what is no mask, by position) and evaluations of each sequence."""
    rows = []
    orders = {"forward": torch.arange(LENGTH), "backward": torch.arange(LENGTH - 1, -1, -1), "random": None}
    for case in ordered_cases():
        counting = Counting(upstream.network(), getattr(torch, case["dtype"]), case["batch"])
        shape = (case["batch"], case["length"])
        sampler = upstream.sampling.OrderedSampler(
            counting, shape, MASK + 1, case["strategy"], case["para"], orders[case["order"]], torch.device("cpu")
        )
        torch.manual_seed(case["seed"])
        tokens = sampler.sample(case["steps"])
        written = [[[i, t] for i, t in enumerate(row) if t != MASK] for row in tokens.tolist()]
        rows.append({**case, "written": written, "evaluations": counting.evaluations})
    return rows


def record_hub(upstream: Upstream, folder: Path) -> dict[str, Any]:
    """What their `save_pretrained` writes; their loader reads what we write."""
    network = upstream.network()
    network.save_pretrained(folder / "theirs")
    ours, _, _ = load_network(folder / "theirs", "cpu", torch.float32)
    tokens = torch.arange(LENGTH)[None]
    save_hub_folder(folder / "ours", ours.state_dict(), hub_config(SIZE, LENGTH, {"steps": 7}))
    back, _ = upstream.load_model.load_model_hf(str(folder / "ours"), torch.device("cpu"))
    with torch.no_grad():
        expected = network.logits(tokens)
        assert torch.equal(back.eval().logits(tokens), expected), "their loader reads our folder differently"
        difference = float((ours(tokens) - expected).abs().max() / expected.abs().max())
    return {
        "files": sorted(p.name for p in (folder / "theirs").iterdir()),
        "shapes": {name: list(tensor.shape) for name, tensor in network.state_dict().items()},
        "parameters": [name for name, _ in network.named_parameters()],
        "config": json.loads((folder / "theirs" / "config.json").read_text()),
        "largest_relative_difference_when_recorded": difference,
    }


def record_run(upstream: Upstream, root: Path) -> tuple[dict[str, Any], np.ndarray]:
    """A training run saved by their helper after one real optimizer step, loaded by their loader."""
    network, averaged = upstream.network(), upstream.network(AVERAGED)
    ema = upstream.ema.ExponentialMovingAverage(averaged.parameters(), decay=0.9999)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
    network.logits(torch.arange(LENGTH)[None]).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 3e-4 * np.minimum(7 / 2500, 1.0)
    wrapped = torch.nn.Module()
    wrapped.module = network
    omega = importlib.import_module("omegaconf").OmegaConf
    (root / ".hydra").mkdir(parents=True)
    (root / "checkpoints-meta").mkdir()
    omega.save(network.config, root / ".hydra" / "config.yaml")
    file = root / "checkpoints-meta" / "checkpoint.pth"
    upstream.utils.save_checkpoint(str(file), {"optimizer": optimizer, "model": wrapped, "ema": ema, "step": 7})

    def trusting_load(
        *args: Any, **kwargs: Any
    ) -> Any:  # our own file of a moment ago; torch >= 2.6 refuses its numpy number
        return torch.load(*args, **{**kwargs, "weights_only": False})

    class TrustingTorch:
        load = staticmethod(trusting_load)

    with patched(upstream.load_model, torch=TrustingTorch()):
        theirs, _ = upstream.load_model.load_model_local(str(root), torch.device("cpu"))
    ours, _, _ = load_network(root, "cpu", torch.float32)
    tokens = torch.arange(LENGTH)[None]
    with torch.no_grad():
        expected = theirs.eval().logits(tokens)
        assert torch.equal(expected, averaged.logits(tokens)), "their loader did not use the average"
        difference = float((ours(tokens) - expected).abs().max() / expected.abs().max())
    return {"largest_relative_difference_when_recorded": difference}, expected.numpy()


def main() -> None:
    """Record everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", type=Path, required=True, help="checkout of the authors' repository")
    upstream = Upstream(parser.parse_args().upstream)
    torch.set_num_threads(1)
    names = [name for name, _ in upstream.network().named_parameters()]
    assert names == list(weights()), "the parameter names or their order differ from the authors'"
    with tempfile.TemporaryDirectory() as folder:
        hub = record_hub(upstream, Path(folder))
        run, run_logits = record_run(upstream, Path(folder) / "run")
    golden = {
        "upstream": {"commit": COMMIT, "torch": torch.__version__, "numpy": np.__version__},
        "hub": hub,
        "run": run,
        "given": [[position, token] for position, token in GIVEN.items()],
        "rates": record_rates(upstream),
        "losses": record_losses(upstream),
        "sampling": record_sampling(upstream),
        "ordered": record_ordered(upstream),
    }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items())
    (GOLDENS / "radd.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    arrays: dict[str, Any] = {"run_logits": run_logits, **record_forward(upstream)}
    np.savez_compressed(GOLDENS / "radd.npz", **arrays)


if __name__ == "__main__":
    main()
