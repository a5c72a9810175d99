"""A preparation's generation: in order, bounded in bytes, and ended with its reader."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from privinf.models.programs import stream
from privinf.models.programs.stream import streamed

Write = Callable[[int, bytes], None]


def test_everything_written_is_read_in_order() -> None:
    def produce(write: Write) -> None:
        for i in range(300):
            write(i % 3, bytes([i % 256]) * i)

    assert list(streamed(produce)) == [(i % 3, bytes([i % 256]) * i) for i in range(300)]


def test_an_error_reaches_the_reader_after_what_was_written() -> None:
    def produce(write: Write) -> None:
        write(0, b"first")
        raise KeyError("broken")

    chunks = streamed(produce)
    assert next(chunks) == (0, b"first")
    with pytest.raises(KeyError, match="broken"):
        next(chunks)


def test_the_writer_waits_for_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most the bound, and the buffer with which it was crossed, are ever unread."""
    monkeypatch.setattr(stream, "AHEAD_BYTES", 100)
    written, read, most = [0], 0, 0

    def produce(write: Write) -> None:
        for _ in range(50):
            write(0, bytes(30))
            written[0] += 30

    for _, data in streamed(produce):
        read += len(data)
        most = max(most, written[0] - read)
    assert read == 1500
    assert most <= 100 + 2 * 30  # one that crossed the bound, one that was taken and not yet counted here


def test_a_reader_that_leaves_stops_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "AHEAD_BYTES", 100)
    ended = threading.Event()

    def produce(write: Write) -> None:
        try:
            while True:
                write(0, bytes(10))
        finally:
            ended.set()

    chunks = streamed(produce)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert ended.is_set()


def test_small_buffers_are_handed_over_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is enough of them, or an end, the reader is not woken."""
    monkeypatch.setattr(stream, "HAND_OVER", 100)
    written, go = threading.Event(), threading.Event()

    def produce(write: Write) -> None:
        for _ in range(12):
            write(0, bytes(9))
        written.set()
        assert go.wait(30)
        write(0, b"last")

    chunks = streamed(produce)
    first = [next(chunks) for _ in range(12)]
    assert written.wait(30)
    go.set()
    assert first == [(0, bytes(9))] * 12
    assert list(chunks) == [(0, b"last")]
