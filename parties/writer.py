"""The one writer of this process's log: whole lines, in turn, to stderr or to where stderr led before it was taken."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from typing import Final

_PATIENCE: Final = 1000  # milliseconds that a reader who has fallen behind is waited for, once


class Writer:
    """Writes lines; one that cannot be written is counted and never stops who wrote it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._torn = False
        self._lost = 0

    def redirect(self, descriptor: int | None) -> None:
        """Write to a descriptor from now on; None is sys.stderr."""
        with self._lock:
            self._descriptor = descriptor

    def line(self, text: str) -> None:
        """Write one line."""
        with self._lock:
            try:
                if self._lost:
                    counted = {"event": "left out", "kind": "not writable", "left_out": self._lost}
                    self._put(json.dumps(counted))
                    self._lost = 0
                self._put(text)
            except (OSError, ValueError):
                # a full disk, a reader that is gone or stands still, a closed stderr
                self._lost += 1

    def _put(self, text: str) -> None:
        data = ("\n" * self._torn + text + "\n").encode("utf-8", "backslashreplace")
        if self._descriptor is None:
            sys.stderr.write(data.decode("utf-8"))
            sys.stderr.flush()
            return
        while data:
            self._require_room(self._descriptor)
            data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]
            self._torn = bool(data)

    def _require_room(self, descriptor: int) -> None:
        """Refuse to wait for who reads a pipe: as much as goes in at once, PIPE_BUF, is never waited with."""
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if not poll.poll(0 if self._lost else _PATIENCE):
            raise BlockingIOError


WRITER = Writer()  # of the process: it has one stderr
