"""Takes this process's stderr, so that its log is JSON to the last line: what libraries print becomes lines of it."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from privinf.parties.logs import Log, places
from privinf.parties.rpc.handshake import reason
from privinf.parties.writer import WRITER

# gRPC's C++ core: severity, date, time, thread, file:line] text
_CORE: Final = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ ([^ \]]+:\d+)\] (.*)")
_LEVELS: Final = {"I": "info", "W": "warning", "E": "error", "F": "error"}
_LONGEST: Final = 1 << 13  # bytes of a line that is still read as one
_DRAIN_SECONDS: Final = 2.0
_taken = threading.Lock()


@contextmanager
def own_stderr(role: str) -> Iterator[None]:
    """Own stderr meanwhile; within a process that owns it already, nothing changes."""
    if not _taken.acquire(blocking=False):
        yield
        return
    try:
        with _redirected(Log(role)):
            yield
    finally:
        _taken.release()


@contextmanager
def _redirected(log: Log) -> Iterator[None]:
    before = sys.stderr
    before.flush()
    real, (reader, writer) = os.dup(2), os.pipe()
    os.dup2(writer, 2)
    os.close(writer)
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    WRITER.redirect(real)
    thread = threading.Thread(target=_read, args=(reader, log), name="stderr", daemon=True)
    thread.start()
    try:
        with _hooks(log):
            yield
    finally:
        sys.stderr.close()  # what it holds goes to the pipe; descriptor 2 stays open
        sys.stderr = before
        os.dup2(real, 2)  # closes the pipe's last writing end: the reader comes to its end
        thread.join(_DRAIN_SECONDS)
        log.close()
        WRITER.redirect(None)
        os.close(real)


def _read(reader: int, log: Log) -> None:
    rest = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while data := pipe.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _LONGEST:
                lines, rest = [*lines, rest], b""
            for line in lines:
                note(log, line.decode("utf-8", "replace"))
    note(log, rest.decode("utf-8", "replace"))


def note(log: Log, line: str) -> None:
    """Write what a library printed as a line of the log."""
    if not line.strip():
        return
    core = _CORE.fullmatch(line)
    if core is None:
        log.stranger("warning", "printed", error=line)
    elif (why := reason(core[3])) is not None:
        log.stranger("warning", "handshake", kind=why.kind, error=why.text)
    else:
        log.stranger(_LEVELS[core[1]], "grpc", error=core[3], where=core[2])


class _Records(logging.Handler):
    """Python's own logging: whose record it is and where it was made; its text might hold a value."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        error = record.exc_info[1] if record.exc_info else None
        where = places(error.__traceback__) if error else f"{record.filename}:{record.lineno}"
        level = "warning" if record.levelno < logging.ERROR else "error"
        kind = f"{record.name} {type(error).__name__}" if error else record.name
        self._log.stranger(level, "library", kind=kind, where=where)


@contextmanager
def _hooks(log: Log) -> Iterator[None]:
    """Uncaught exceptions and records of libraries go to the log, without their text."""
    records, main, threads = _Records(log), sys.excepthook, threading.excepthook
    logging.getLogger().addHandler(records)
    sys.excepthook = lambda kind, error, trace: log.failure("main", error.with_traceback(trace))
    threading.excepthook = lambda hook: log.failure("thread", hook.exc_value or hook.exc_type())
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook = main, threads
        logging.getLogger().removeHandler(records)
