"""A worker's output in lines and events, whatever else is in it."""

from __future__ import annotations

import io
import json
import threading
import time

import pytest

from harness.runtimes import lines as module
from harness.runtimes.base import events_of, write_log
from harness.runtimes.lines import LineQueue


def queue_of(*chunks: bytes) -> LineQueue:
    queue = LineQueue()
    for chunk in chunks:
        queue.feed(chunk)
    queue.close()
    return queue


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([], []),
        ([b"one\ntwo\n"], [b"one", b"two"]),
        ([b"o", b"n", b"e\nt", b"wo"], [b"one", b"two"]),
        ([b"\n\n"], [b"", b""]),
        (["é\n".encode()[:1], "é\n".encode()[1:]], ["é".encode()]),
    ],
)
def test_lines_are_whole_however_they_come(chunks, lines):
    assert list(queue_of(*chunks)) == lines


def test_a_silent_stream_lets_its_reader_look_at_the_clock(monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    queue = LineQueue()
    reader = iter(queue)
    assert next(reader) is None
    queue.feed(b"late\n")
    assert next(reader) == b"late"


def test_a_stream_without_newlines_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 10)
    assert list(queue_of(b"x" * 8, b"x" * 8, b"y\n")) == [b"x" * 16, b"y"]


def test_nobody_reads_and_the_writer_goes_on(monkeypatch):
    monkeypatch.setattr(module, "MOST_LINES", 4)
    queue = LineQueue()
    writer = threading.Thread(target=lambda: [queue.feed(b"line\n") for _ in range(100)], daemon=True)
    writer.start()
    time.sleep(0.1)
    assert writer.is_alive(), "a full queue holds the writer back"
    queue.drop()
    writer.join(5)
    assert not writer.is_alive()


ROW = {"point": "a", "status": "failed", "reason": "exception", "message": None, "notes": []}


@pytest.mark.parametrize(
    "event",
    [
        {"event": "loaded", "seconds": 1.0},
        {"event": "point", "point": "a"},
        {"event": "batch", "point": "a", "batch": 0},
        {"event": "row", "row": ROW},
        {"event": "not_loaded", "reason": "bad_checkpoint", "message": "there is none"},
    ],
)
def test_events(event):
    log = io.BytesIO()
    assert list(events_of([json.dumps(event).encode(), None], log)) == [event, None]
    assert log.getvalue() == b""


@pytest.mark.parametrize(
    "line",
    [
        *(b"hello", b"", b"[1]", b"null", b"7", b"\xff\xfe", b"[" * 100_000),
        *(b'{"seconds": 1}', b'{"event": 3}', b'{"event": "news"}', b'{"event": ["point"]}'),
        *(b'{"event": "point"}', b'{"event": "batch", "point": ["a"]}', b'{"event": "not_loaded", "reason": "x"}'),
        *(b'{"event": "row"}', b'{"event": "row", "row": "a"}', b'{"event": "row", "row": {"point": "a"}}'),
        json.dumps({"event": "row", "row": {**ROW, "status": ["failed"]}}).encode(),
        json.dumps({"event": "row", "row": {**ROW, "message": {"a": "b"}}}).encode(),
    ],
)
def test_what_is_no_event_goes_to_the_log(line):
    log = io.BytesIO()
    assert list(events_of([line], log)) == [None], "the caller still sees the clock"
    assert log.getvalue() == line + b"\n"


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path):
    with open("/dev/full", "ab", buffering=0) as full:
        write_log(full, b"text")
    write_log(full, b"text")
