"""Weight files that do harm where they are unpickled freely: what a stranger could publish.

Each runs one program of its own, which leaves a witness, calls a server, forks, reads the accounts of the machine and
writes into our code, and says in its witness what it could do.
"""

from __future__ import annotations

import os
import pickle
import shlex
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import adapters

#: What the program does; each deed that succeeds adds a line to the witness.
PROGRAM = """
import os, socket
def done(what):
    open({witness!r}, "a").write(what + "\\n")
def attempt(what, deed):
    try:
        deed()
        done(what)
    except BaseException:
        pass
attempt("written", lambda: None)
attempt("connected", lambda: socket.create_connection(("127.0.0.1", {port}), 2).close())
attempt("read", lambda: open("/etc/passwd").read())
attempt("code", lambda: open({code!r}, "w").close())
attempt("forked", lambda: os.fork() == 0 and os._exit(0))
"""
#: Reads each file freely, as `adapters.weights` never does.
CARELESS = """
import pickle, sys, torch
for file in sys.argv[1:]:
    try:
        pickle.load(open(file, "rb")) if file.endswith("pickle") else torch.load(file, weights_only=False)
    except Exception as error:
        print(file, error)
"""
#: The place in our code where it would leave a file.
CODE = Path(adapters.__file__).parent / "left-by-a-pickle"


@dataclass
class Trap:
    """A witness file and a server that malicious files are aimed at.

    Attributes:
        witness: made by whatever runs the program.
        server: listens on this machine.
    """

    witness: Path
    server: socket.socket

    @property
    def program(self) -> str:
        return PROGRAM.format(witness=str(self.witness), port=self.server.getsockname()[1], code=str(CODE))

    def check_harmless(self) -> None:
        """Nothing was written, nobody called."""
        assert not self.witness.exists(), f"the program ran: {self.witness.read_text()}"
        assert not CODE.exists()
        self.server.setblocking(False)
        try:
            self.server.accept()
        except BlockingIOError:
            return
        raise AssertionError("the program called the server")


class Call:
    """Calls a function where it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call

    def __call__(self) -> None:
        """pickle wants what it calls to look like a function."""


class Item:
    """An ordinary dictionary, but for an item that calls a function where it is unpickled."""

    def __init__(self, item: Call) -> None:
        self.item = item

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (), {"a": 1}, None, iter([("key", self.item)])


#: How the program gets to run, by name; each makes an object.
WAYS: dict[str, Callable[[str], Any]] = {
    "a function of Python": lambda program: Call(exec, program, {}),
    "the shell": lambda program: Call(os.system, shlex.join([sys.executable, "-c", program])),
    "while a dictionary is filled": lambda program: Item(Call(exec, program, {})),
    "as a key": lambda program: {Call(eval, f"exec({program!r}, {{}}) or 5"): 1},
    "behind a look-up": lambda program: Call(Call(getattr, Call(__import__, "builtins"), "exec"), program, {}),
}


def write(file: Path, way: str, trap: Trap, weights: Any = None, kind: str = "zip") -> Path:
    """Write a malicious file.

    Args:
        file: to write.
        way: one of `WAYS`.
        trap: what it is aimed at.
        weights: a dictionary that the object is put into, under "optimizer"; None for the object alone.
        kind: "zip" or "old" of `torch.save`, or "pickle" for `pickle.dump`.
    """
    harm = WAYS[way](trap.program)
    content = harm if weights is None else {**weights, "optimizer": harm}
    if kind == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "zip")
    return file


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    """A witness in the folder of the test, and a server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Trap(tmp_path / "witness", server)
        yield made
        CODE.unlink(missing_ok=True)
