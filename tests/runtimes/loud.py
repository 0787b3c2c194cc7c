"""The shaky model with deeds that concern the output of its process."""

from __future__ import annotations

import os
import subprocess
import time

from tests.fakes.shaky import adapter as shaky


def chatty(calls):
    os.write(1, b"straight to file descriptor 1\n{half a line\n[]\n")


def silent(calls):
    """Close the output and go on: the end of a stream is no end of a worker."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    time.sleep(60)


def endless(calls):
    """Print without a pause."""
    while True:
        os.write(1, b"noise\n" * 100)


def orphan(calls):
    """Die, and leave a process behind that holds the output open."""
    subprocess.Popen(["sleep", "30"])
    os._exit(7)


def load(spec):
    shaky.MISBEHAVIOUR.update(chatty=chatty, silent=silent, endless=endless, orphan=orphan)
    return shaky.load(spec)
