"""One build in the engine: the context sent, the output kept in a log, a failure in one line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from harness.errors import UserError
from harness.images.context import Context, tar_stream
from harness.runtimes.engine import asking

if TYPE_CHECKING:
    import docker

_STEP = re.compile(r"Step \d+/\d+ : ")
#: Steps worth a line of progress.
_LONG_STEP = re.compile(_STEP.pattern + "(FROM|COPY|RUN) ")
#: Lines of the builder itself, not of a step's commands.
_CHATTER = re.compile(r" ?---> |Removing intermediate container |Successfully (built|tagged) |\[(Warning|notice)\]")
#: How the builder marks what a command wrote to its standard error.
_RED = "\x1b[91m"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: Longest line shown of a failure.
_LENGTH = 300


def build(
    client: docker.DockerClient,
    files: Context,
    tag: str,
    arguments: Mapping[str, str],
    network: bool,
    log: TextIO,
) -> None:
    """Build an image.

    Args:
        client: of the engine.
        files: the build context with its Dockerfile.
        tag: name of the image.
        arguments: build arguments.
        network: whether its commands may use the network of this machine.
        log: gets everything the build says.

    Raises:
        UserError: where it fails: the step and its last line, and where the rest is.
    """
    said: list[Line] = []
    with asking(f"build {tag}"):
        events = client.api.build(
            fileobj=tar_stream(files),
            custom_context=True,
            tag=tag,
            buildargs=dict(arguments),
            # The machine's own, since an engine may have no bridge and a proxy may listen on localhost.
            network_mode="host" if network else "none",
            decode=True,
            rm=True,
            forcerm=True,
        )
        for line in lines(events):
            said.append(line)
            print(line.text, file=log, flush=True)
            if _LONG_STEP.match(line.text):
                print(f"  {line.text}", file=sys.stderr)
            if line.source == "engine":
                raise UserError(f"{_failure(tag, said)} The whole output: {log.name}")


class Line(NamedTuple):
    """A line of a build's output.

    Attributes:
        text: without colours.
        source: "output" or "errors" of a command (the builder's own lines are output, too), or "engine" for its word
            for a failure, the last line.
    """

    text: str
    source: Literal["output", "errors", "engine"]


def lines(events: Iterable[Mapping[str, Any]]) -> Iterator[Line]:
    """The lines of the events of a build."""
    rest = ""
    for event in events:
        text = str(event.get("stream", ""))
        rest += _COLOUR.sub("", text)
        # A progress bar overwrites its line; an event may end within one.
        *whole, rest = re.split(r"[\r\n]+", rest)
        if "error" in event:
            whole, rest = [*whole, rest], ""
        source: Literal["output", "errors"] = "errors" if _RED in text else "output"
        yield from (Line(each.rstrip(), source) for each in whole if each.strip())
        if "error" in event:
            yield Line(str(event["error"]), "engine")


def _failure(tag: str, said: Sequence[Line]) -> str:
    if any("no space left on device" in line.text.lower() for line in said):
        return f"{tag} cannot be built, the engine's disk is full: see docker system df and docker image prune."
    step, why = failing_line(said)
    return f"{tag} cannot be built: {step} failed: {why.rstrip('.')[:_LENGTH]}."


def failing_line(said: Sequence[Line]) -> tuple[str, str]:
    """The step that failed and the line that says why.

    Args:
        said: all lines of a failed build.

    Returns:
        The step without its number ("RUN ..."), "the build" before the first. The last line that its command wrote to
        its standard error, else to its output, else the engine's word.
    """
    step, last = "the build", {"engine": said[-1].text}
    for line in said[:-1]:
        if _STEP.match(line.text):
            step, last = _STEP.sub("", line.text), {"engine": said[-1].text}
        elif not _CHATTER.match(line.text):
            last[line.source] = line.text.strip()
    return step, next(last[source] for source in ("errors", "output", "engine") if source in last)
