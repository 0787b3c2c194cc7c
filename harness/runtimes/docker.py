"""The docker runtime: a container a job, from the image of its model, which sees the job's files and nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import UserError
from harness.runtimes.base import Ending, events_of, write_log
from harness.runtimes.contain import PYTHON, Box, Container, Limits, open_log
from harness.runtimes.engine import connect
from harness.runtimes.job_folder import JOB, LOG, put_right
from harness.runtimes.leftovers import clean
from harness.runtimes.mounts import link_targets, real_place
from harness.store import Record

if TYPE_CHECKING:
    import docker

#: Packages of ours that a worker imports.
PACKAGES = ("harness", "adapters", "benchmarks")
#: Fields of `adapters.base.LoadSpec` that are paths.
READ = ("checkpoint", "upstream", "data")
#: Variables that a local worker inherits and that change its figures or its speed; no other goes inside.
INHERITED = (
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "OMP_WAIT_POLICY",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "OPENBLAS_NUM_THREADS",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTHONHASHSEED",
)
#: The settings of a training run, two folders above its checkpoints.
RUN_SETTINGS = ".hydra"


class DockerRuntime:
    """Workers in containers.

    Args:
        image_id: the image ("sha256:...").
        facts: what rows record of the image.
        limits: of each worker.
        device: the job's device: "cpu", "cuda" (every GPU, or those of CUDA_VISIBLE_DEVICES), "cuda:2" (that one).
        client: of the engine; by default a new one.

    Raises:
        UserError: where there is no engine to talk to.
    """

    def __init__(
        self, image_id: str, facts: Record, limits: Limits, device: str, client: docker.DockerClient | None = None
    ) -> None:
        self.facts: Record = {"name": "docker", **facts, "image_id": image_id, "limits": asdict(limits)}
        self._image = image_id
        self._limits = limits
        self._gpus = gpus_of(device)
        self._client = client or connect()

    def inside(self, load: Record) -> Record:
        """See `Runtime`. One GPU that is given has no number."""
        paths = {key: str(real_place(Path(load[key]))) for key in READ if load.get(key)}
        device = load["device"]
        return {**load, **paths, "device": "cuda" if device.startswith("cuda") else device}

    def claim(self, folder: Path) -> None:
        """See `Runtime`."""
        clean(self._client, folder.resolve())
        put_right(folder)

    def start(self, folder: Path, skip: Sequence[str]) -> DockerWorker:
        """See `Runtime`."""
        folder = folder.resolve()
        clean(self._client, folder)
        job = json.loads((folder / JOB).read_text(encoding="utf-8"))
        code = packages(job["adapter"])
        box = Box(
            image=self._image,
            # Of its own folder the job's description is not the worker's to change: the next start reads it.
            read=(*code, *data_paths(job["load"]), folder / JOB),
            write=(folder,),
            limits=self._limits,
            gpus=self._gpus,
            environment={**_inherited(), "PYTHONPATH": python_path(code)},
        )
        command = [PYTHON, "-m", "harness.worker", str(folder), *skip]
        return DockerWorker(Container(self._client, box, command, folder / LOG), folder)


class DockerWorker:
    """One worker in a container, with its job folder."""

    def __init__(self, container: Container, folder: Path) -> None:
        self.container = container
        self.folder = folder

    def events(self) -> Iterator[Record | None]:
        """See `Worker`."""
        return events_of(self.container.lines(), self.container.log)

    def wait(self) -> Ending:
        """See `Worker`."""
        return self.container.wait()

    def stop(self) -> None:
        """See `Worker`."""
        self.container.stop()
        said = put_right(self.folder)
        with open_log(self.folder / LOG) as log:
            write_log(log, "".join(f"{line}\n" for line in said).encode())


def gpus_of(device: str) -> Literal["all"] | tuple[str, ...] | None:
    """The GPUs that a job's device stands for, by the engine's ids. Torch counts those of CUDA_VISIBLE_DEVICES only."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return None
    visible = tuple(name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip())
    if index:
        return (visible[int(index)],) if visible else (index,)
    return visible or "all"


def packages(adapter: str) -> tuple[Path, ...]:
    """Folders (or single files) of the code that a worker imports: ours, and the package of a third party's adapter."""
    names = dict.fromkeys([*PACKAGES, adapter.partition(".")[0]])
    return tuple(place for name in names for place in _places(name))


def _places(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise UserError(f"the package '{package}' of an adapter is not installed in this Python.")
    if spec.submodule_search_locations:
        return [Path(os.path.abspath(place)) for place in spec.submodule_search_locations]
    return [Path(os.path.abspath(str(spec.origin)))]


def python_path(code: Sequence[Path]) -> str:
    """PYTHONPATH for some packages."""
    return os.pathsep.join(dict.fromkeys(str(place.parent) for place in code))


def data_paths(load: Record) -> tuple[Path, ...]:
    """What a model's loading and its points read: weights, the authors' code, the prepared data."""
    places = {key: real_place(Path(load[key])) for key in READ if load.get(key)}
    weights = places.pop("checkpoint", None)
    return (*places.values(), *((*_with_siblings(weights), *link_targets(weights)) if weights else ()))


def _with_siblings(place: Path) -> tuple[Path, ...]:
    """A folder; of a weight file its own and, where it is of a training run, the run's settings: loaders read them."""
    if place.is_dir():
        return (place,)
    settings = place.parent.parent / RUN_SETTINGS
    return (place.parent, settings) if settings.is_dir() else (place.parent,)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}
