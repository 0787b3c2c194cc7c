"""What `auto` means: the checkpoint, the runtime and the device of a job on this machine, each with its reason.

An explicit value is taken or refused, never replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from adapters.cards import Card, CheckpointCard
from harness import devices
from harness.config import AUTO, BenchConfig
from harness.errors import UserError, unknown
from harness.images import Image, find_image, image_names
from harness.memory import gib, needed_memory
from harness.runtimes.engine import connect, engine_problem, gpu_problem


@dataclass(frozen=True)
class Place:
    """Where a job runs.

    Attributes:
        runtime: "local" or "docker".
        device: torch device name of the host, "cpu", "cuda" or "cuda:N".
        image_name: folder of containers/ with the image's recipe, None for local.
        image: the built image, None for local and where it is still to be built.
    """

    runtime: str
    device: str
    image_name: str | None = None
    image: Image | None = None


#: This Python, on the CPU.
HERE = Place("local", "cpu")


class Machine:
    """What this machine has, each fact looked up once when it is first needed."""

    @cached_property
    def gpus(self) -> tuple[devices.Gpu, ...]:
        """What the driver sees."""
        return devices.gpus()

    @cached_property
    def torch_gpus(self) -> int:
        """How many of them the torch of this Python can use."""
        return devices.torch_gpus()

    @cached_property
    def engine_problem(self) -> str | None:
        """Why no Docker engine can be used, None where one answers."""
        return engine_problem()

    @cached_property
    def engine_gpu_problem(self) -> str | None:
        """Why no container can have a GPU, None where it can."""
        if self.engine_problem:
            return self.engine_problem
        if not self.gpus:
            return "this machine has no NVIDIA device with a working driver"
        return gpu_problem(connect())

    def find_image(self, name: str, device: str, base: str | None) -> Image | None:
        """The built image of a name that serves a device, on `base` where one is wanted."""
        return find_image(connect(), name, device, base)


@dataclass
class Choices:
    """The choices of one configuration.

    Attributes:
        config: what the user asked for.
        machine: what there is.
        reasons: for each choice made for the user ("checkpoint=auto: tiny", its reason), the models it was made for.
    """

    config: BenchConfig
    machine: Machine
    reasons: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    # --- checkpoint -------------------------------------------------------------------------------------------------

    def checkpoint(self, card: Card) -> str:
        """Name or folder of the checkpoint of a model; controls have one of their own."""
        if card.role == "control":
            return next(iter(card.checkpoints))
        wanted = self.config.checkpoint
        named = wanted.get(card.name, AUTO) if isinstance(wanted, dict) else wanted
        return self._auto_checkpoint(card) if named == AUTO else str(named)

    def _auto_checkpoint(self, card: Card) -> str:
        published = next((entry for entry in card.checkpoints.values() if entry.kind == "published"), None)
        if "tiny" not in card.checkpoints or published is None:
            return next(iter(card.checkpoints))
        problem = self._no_room(published)
        chosen = "tiny" if problem else published.name
        return self._because(card, f"checkpoint=auto: {chosen}", problem or "a CUDA device with room for it is here")

    def _no_room(self, entry: CheckpointCard) -> str | None:
        """Why a published checkpoint cannot be run here, None where it can."""
        device = self.wanted_device
        if device == "cpu":
            return "device=cpu" if self.config.device == "cpu" else "no CUDA device here"
        batch = max(self.config.batch_size)
        needed = needed_memory(entry, batch, self.config.length or entry.length or 1, self.config.dtype)
        free = self._free_memory(device)
        if needed is None or free is None or needed <= free:
            return None
        return (
            f"{entry.name} takes about {gib(needed)} at batch_size={batch} and {gib(free)} are free: "
            "a smaller batch_size may fit"
        )

    def _free_memory(self, device: str) -> int | None:
        index = devices.parse_device(device)[1]
        return self.machine.gpus[index].memory if index < len(self.machine.gpus) else None

    # --- device and runtime -----------------------------------------------------------------------------------------

    @cached_property
    def wanted_device(self) -> str:
        """The device a job shall have: what the user named, else a GPU where some allowed runtime can give one."""
        if self.config.device != AUTO:
            devices.parse_device(self.config.device)
            return self.config.device
        runtimes = ("docker", "local") if self.config.runtime == AUTO else (self.config.runtime,)
        return "cuda" if any(self._gpu_problem(runtime) is None for runtime in runtimes) else "cpu"

    def _gpu_problem(self, runtime: str) -> str | None:
        """Why a runtime can give no GPU, None where it can."""
        if runtime == "docker":
            return self.machine.engine_gpu_problem
        return None if self.machine.torch_gpus else "this machine has no CUDA device that torch can use"

    def place(self, card: Card, engine: str, published: bool) -> Place:
        """Where a job of a model runs.

        Args:
            card: the model.
            engine: which code computes.
            published: whether its weights are a stranger's, worth building an image for.

        Raises:
            UserError: for an explicit runtime or device that cannot be had.
        """
        if self.config.runtime == "local":
            return self._local()
        name = self._image_name(card, engine)
        if self.config.runtime == "docker":
            return self._docker(name)
        problem = self._no_docker(name, published)
        chosen = "local" if problem else "docker"
        self._because(
            card, f"runtime=auto: {chosen}", problem or "an engine answers and has the image, or may build it"
        )
        return self._local() if problem else self._docker(name)

    def _no_docker(self, image_name: str, published: bool) -> str | None:
        """Why runtime=auto is not docker, None where it is."""
        if self.machine.engine_problem:
            return "no Docker engine answers here"
        if self.wanted_device != "cpu" and self._gpu_problem("docker"):
            return f"a container can have no GPU: {self._gpu_problem('docker')}"
        if image_name not in image_names():
            return f"there is no containers/{image_name}"
        if not published and self._find_image(image_name) is None:
            return f"the image is not built (make images NAMES={image_name})"
        return None

    def _image_name(self, card: Card, engine: str) -> str:
        if self.config.image != "default":
            if self.config.image not in image_names():
                raise unknown("image", str(self.config.image), image_names())
            return str(self.config.image)
        return "native" if engine == "native" else card.name

    def _find_image(self, name: str) -> Image | None:
        return self.machine.find_image(name, self.wanted_device, self.config.image_base)

    def _local(self) -> Place:
        self._check_device("local", self.machine.torch_gpus)
        return Place("local", self.wanted_device)

    def _docker(self, name: str) -> Place:
        if self.machine.engine_problem:
            raise UserError(f"runtime=docker: {self.machine.engine_problem}")
        if name not in image_names():
            raise UserError(
                f"runtime=docker: there is no image for it, containers/{name}. Known: {', '.join(image_names())}; "
                "image=native runs the authors' code beside today's torch."
            )
        self._check_device("docker", len(self.machine.gpus))
        return Place("docker", self.wanted_device, name, self._find_image(name))

    def _check_device(self, runtime: str, count: int) -> None:
        kind, index = devices.parse_device(self.wanted_device)
        if kind == "cuda":
            problem = self._gpu_problem(runtime)
            devices.check_index(self.wanted_device, index, 0 if problem else count, (problem or "").rstrip("."))

    # --- what is said of it -----------------------------------------------------------------------------------------

    def _because(self, card: Card, choice: str, reason: str) -> str:
        models = self.reasons.setdefault((choice, reason), [])
        if card.name not in models:
            models.append(card.name)
        return choice.partition(": ")[2]

    def notes(self) -> list[str]:
        """One sentence a choice: what, for whom, why."""
        return [f"{choice} for {_listed(models)}: {reason}." for (choice, reason), models in self.reasons.items()]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
