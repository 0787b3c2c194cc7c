"""The container engine: reaching it, what it can do, and its errors in one line each.

The package `docker` is imported only where an engine is asked for. Podman's socket will do too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import MissingPackage, UserError

if TYPE_CHECKING:
    import docker

#: Seconds that the engine may take for an answer; making a container copies files on some storage drivers.
PATIENCE = 120
#: What an engine must be able to limit, by the name of its `info`.
NEEDED_LIMITS = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "CPU time"}
#: Where CDI describes devices to engines.
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
NO_GPU = (
    "the container engine cannot give a GPU to a container: install the NVIDIA Container Toolkit and run "
    "`sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker`, "
    "or choose device=cpu or runtime=local."
)


class EngineError(UserError):
    """The engine refused or did not answer; one line."""


class NoContainer(EngineError):
    """There is no such container (any more)."""


def connect() -> docker.DockerClient:
    """A client of the engine that DOCKER_HOST names, else of docker's current context.

    Raises:
        UserError: where the package `docker` is missing, no engine answers, its socket is not ours to use, or
            DOCKER_HOST is wrong.
    """
    try:
        import docker
    except ImportError:
        raise MissingPackage("docker", "runtime=docker") from None
    address = os.environ.get("DOCKER_HOST") or _context_address() or docker.constants.DEFAULT_UNIX_SOCKET
    shown = address.replace("http+unix://", "unix://")
    client = None
    try:
        settings = docker.utils.kwargs_from_env()
        client = docker.DockerClient(**{**settings, "base_url": address}, timeout=PATIENCE)
        client.ping()
    except _engine_errors() as error:
        if client is not None:
            client.close()
        raise UserError(_unreachable(shown, error)) from None
    return client


def _context_address() -> str | None:
    """Address of docker's current context, which a rootless engine sets; None for the usual one."""
    from docker.context import ContextAPI

    context = ContextAPI.get_current_context()
    return context.Host if context is not None and context.name != "default" else None


def engine_problem() -> str | None:
    """Why no container can be run here, in one line; None where an engine answers that can contain a worker."""
    try:
        client = connect()
        try:
            return limit_problem(info(client))
        finally:
            client.close()
    except UserError as error:
        return str(error)


def limit_problem(facts: Mapping[str, Any]) -> str | None:
    """What an engine cannot limit, in one line; None where it can limit all that we rely on.

    Args:
        facts: what it says of itself.
    """
    missing = [what for name, what in NEEDED_LIMITS.items() if not facts.get(name)]
    if not missing:
        return None
    return (
        f"the container engine cannot limit {', '.join(missing)}, so it would not contain a worker: give it the "
        "cgroup controllers memory, pids and cpu (a rootless engine needs cgroup v2 and systemd's delegation), or "
        "choose runtime=local."
    )


def gpu_problem(client: docker.DockerClient) -> str | None:
    """Why containers get no GPU, in one line; None where the engine has NVIDIA's runtime, its hook, or CDI."""
    return None if gpu_driver(info(client)) else NO_GPU


def gpu_driver(facts: Mapping[str, Any]) -> Literal["nvidia", "cdi"] | None:
    """How an engine hands out GPUs, None where it does not.

    Args:
        facts: what the engine says of itself.
    """
    if "nvidia" in (facts.get("Runtimes") or {}) or shutil.which("nvidia-container-runtime-hook"):
        return "nvidia"
    found = any(
        str(device.get("ID", "")).startswith("nvidia.com/gpu") for device in facts.get("DiscoveredDevices") or ()
    )
    described = any(file for folder in CDI_FOLDERS for file in Path(folder).glob("nvidia*"))
    return "cdi" if found or described else None


def info(client: docker.DockerClient) -> dict[str, Any]:
    """What the engine says of itself."""
    with asking("say what it can do"):
        facts: dict[str, Any] = client.info()
        return facts


def security_options(facts: Mapping[str, Any]) -> set[str]:
    """Names among the engine's security options, as "rootless", "selinux", "userns"."""
    parts = [part for option in facts.get("SecurityOptions") or () for part in str(option).split(",")]
    return {part.removeprefix("name=") for part in parts if part.startswith("name=")}


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Errors of the engine inside become `EngineError`.

    Args:
        what: what was asked of it, as in "start a container".
    """
    try:
        yield
    except _engine_errors() as error:
        kind = NoContainer if _is_missing_container(error) else EngineError
        raise kind(_refusal(what, error)) from None


def _engine_errors() -> tuple[type[Exception], ...]:
    import docker
    import requests

    return (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


def _is_missing_container(error: Exception) -> bool:
    import docker

    return isinstance(error, docker.errors.NotFound) and "container" in str(error.explanation).lower()


def _refusal(what: str, error: Exception) -> str:
    """One line for a person."""
    import docker

    if not isinstance(error, docker.errors.APIError):
        return f"the container engine did not {what}: {_reason(error)}. Is it still running? See `docker info`."
    said = " ".join(str(error.explanation or error).split())
    for sign, text in _KNOWN.items():
        if sign in said.lower():
            return text.format(said=said)
    return f"the container engine did not {what}: {said.rstrip('.')}."


#: What an engine says (in lower case: Docker's and Podman's differ in that), and what to do about it.
_KNOWN = {
    "could not select device driver": NO_GPU,
    "unresolvable cdi devices": NO_GPU,
    "bind source path does not exist": (
        "the container engine does not see a folder of this machine ({said}): it must run on this machine, "
        "see DOCKER_HOST."
    ),
    "no space left on device": (
        "the container engine's disk is full ({said}): see `docker system df`, remove what is not needed."
    ),
    "no such image": "{said}: build it again with `tdbench images`.",
}


def _reason(error: BaseException) -> str:
    """The reason of the operating system below an error of the SDK, else its first line."""
    found = _system_error(error)
    if found is not None and found.strerror:
        return found.strerror
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _system_error(error: BaseException | None) -> OSError | None:
    """The operating system's error in a chain of errors; `requests`' own are OSErrors without a number."""
    while error is not None:
        for candidate in (error, *error.args):
            if isinstance(candidate, OSError) and candidate.errno is not None:
                return candidate
        error = error.__cause__ or error.__context__
    return None


def _unreachable(address: str, error: BaseException) -> str:
    found = _system_error(error)
    hint = "start Docker (sudo systemctl start docker), set DOCKER_HOST, or choose runtime=local"
    if isinstance(found, PermissionError):
        return (
            f"no permission to use the container engine at {address}: join its group (sudo usermod -aG docker $USER, "
            "then log in again), use a rootless engine, or choose runtime=local."
        )
    if isinstance(found, FileNotFoundError):
        return f"no container engine: there is no socket {address}. To have one, {hint}."
    if isinstance(found, ConnectionRefusedError):
        return f"the container engine at {address} does not answer: {hint}."
    return f"no container engine at {address} ({_reason(error)}): {hint}."
