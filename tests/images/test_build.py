"""What a build's output becomes: progress, a log, one line for a failure. The engine here is a list of its events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import docker
import pytest

from harness.errors import UserError
from harness.images.build import build, failing_line, lines

STREAMS = Path(__file__).parent / "streams"


def events(name: str) -> list[dict]:
    """Events that an engine gave for a build."""
    return [json.loads(line) for line in (STREAMS / f"{name}.jsonl").read_text().splitlines()]


def run(said, tmp_path: Path) -> list[dict]:
    """Build with an engine that says this; returns what it was asked."""
    asked: list[dict] = []

    def answer(fileobj: Iterator[bytes], **words) -> Iterator[dict]:
        asked.append({**words, "bytes": len(b"".join(fileobj))})
        return iter(said)

    client = SimpleNamespace(api=SimpleNamespace(build=answer))
    with open(tmp_path / "build.log", "w") as log:
        build(client, {"Dockerfile": b"FROM base\n"}, "tdbench/trial:1", {"BASE": "b"}, False, log)
    return asked


def test_a_build_has_no_network_and_leaves_no_containers(tmp_path: Path) -> None:
    (asked,) = run([{"stream": "Step 1/1 : FROM base\n"}], tmp_path)
    assert asked == {
        "custom_context": True, "tag": "tdbench/trial:1", "buildargs": {"BASE": "b"},
        "network_mode": "none", "decode": True, "rm": True, "forcerm": True, "bytes": 2048,
    }  # fmt: skip


def test_a_failing_step_is_one_line_with_its_last_word(tmp_path: Path, capsys) -> None:
    with pytest.raises(UserError) as caught:
        run(events("failing_step"), tmp_path)
    log = tmp_path / "build.log"
    assert str(caught.value) == (
        "tdbench/trial:1 cannot be built: RUN sh /build/install.sh wheels rest /opt/rest failed: ERROR: No matching "
        f"distribution found for tiny===1.0. The whole output: {log}"
    )
    text = log.read_text()
    assert "ERROR: Could not find a version" in text
    assert "\x1b" not in text
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].endswith("RUN sh /build/install.sh wheels rest /opt/rest")
    assert not [line for line in shown if " ARG " in line]


def failing(*said: str, error: str = "code: 1") -> tuple[str, str]:
    """Step and reason of a build that said this; "!" before a line that went to a command's standard error."""
    events = [{"stream": f"\x1b[91m{line[1:]}\n\x1b[0m" if line.startswith("!") else f"{line}\n"} for line in said]
    return failing_line(list(lines([*events, {"error": error}])))


def test_a_step_that_said_nothing_has_the_engines_word() -> None:
    error = "The command '/bin/sh -c false' returned a non-zero code: 1"
    said = ["Step 1/2 : FROM base", " ---> f9d161bc", "Step 2/2 : RUN false", " ---> Running in 0c1"]
    assert failing(*said, error=error) == ("RUN false", error)
    assert failing(error="unknown instruction: FRMO") == ("the build", "unknown instruction: FRMO")


def test_the_line_of_an_earlier_step_is_not_blamed() -> None:
    said = ["Step 1/2 : RUN echo fine", "!a warning", "fine", "Step 2/2 : COPY a b"]
    assert failing(*said, error="COPY failed: no a") == ("COPY a b", "COPY failed: no a")


def test_standard_error_has_the_reason_whatever_came_after_it() -> None:
    assert failing("Step 1/1 : RUN pip", "!ERROR: first", "!ERROR: boom", "done.") == ("RUN pip", "ERROR: boom")
    assert failing("Step 1/1 : RUN pip", "first", "needy requires more") == ("RUN pip", "needy requires more")


def test_notices_and_warnings_of_the_builder_are_not_the_reason() -> None:
    said = ["Step 1/1 : RUN pip", "boom", "[notice] a new pip", "[Warning] swap", " ---> Running in 1"]
    assert failing(*said) == ("RUN pip", "boom")


@pytest.mark.parametrize(
    "said",
    [
        [{"error": "write /opt/tdbench/lib/libtorch_cuda.so: no space left on device"}],
        [
            {"stream": "Step 1/1 : RUN x\n"},
            {"stream": "ERROR: [Errno 28] No space left on device\n"},
            {"error": "code: 1"},
        ],
    ],
)
def test_a_full_disk_of_the_engine(said: list[dict], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tdbench/trial:1 cannot be built, the engine's disk is full: .*build\.log$"):
        run(said, tmp_path)


def test_a_line_may_come_in_pieces(tmp_path: Path) -> None:
    pieces = ["Step 1/1 : RUN x", "\n", "ERR", "OR: half ", "and half\n", "10%\r100%\nERROR: the last", " word"]
    with pytest.raises(UserError, match=r"RUN x failed: ERROR: the last word\. The whole"):
        run([*({"stream": piece} for piece in pieces), {"error": "code: 1"}], tmp_path)
    assert "ERROR: half and half\n10%\n100%\nERROR: the last word\ncode: 1\n" in (tmp_path / "build.log").read_text()


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run([{"stream": "Step 1/1 : RUN x\n" + "y" * 5000 + "\n"}, {"error": "code: 1"}], tmp_path)
    assert len(str(caught.value)) < 600


def test_an_engine_that_dies_is_one_line(tmp_path: Path) -> None:
    def dying() -> Iterator[dict]:
        yield {"stream": "Step 1/1 : FROM base\n"}
        raise docker.errors.APIError("500 Server Error", explanation="driver failed\nbadly")

    with pytest.raises(UserError, match="did not build tdbench/trial:1: driver failed badly") as caught:
        run(dying(), tmp_path)
    assert "\n" not in str(caught.value)
