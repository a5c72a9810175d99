"""All lives of a server's calls, and the thread that cuts those that have lasted too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from privinf.errors import PeerLost
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life, when_over

_SWEEP = 0.5  # seconds between two looks at what blocks within gRPC


class Lives:
    """The lives of calls under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lives: set[Life] = set()

    def now(self) -> list[Life]:
        """Of the calls under way."""
        with self._lock:
            return list(self._lives)

    @contextmanager
    def holding(self, life: Life) -> Iterator[Life]:
        """Have it among them for a while."""
        with self._lock:
            self._lives.add(life)
        try:
            yield life
        finally:
            with self._lock:
                self._lives.discard(life)


class Keeping:
    """Gives every call of a server its life, and cuts those that have lasted too long, in a thread of its own."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        failed: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.lives: Final = Lives()
        self._clock, self._failed = clock, failed
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lives", daemon=True)
        self._lock = threading.Lock()

    @contextmanager
    def of(self, context: grpc.ServicerContext, total: float) -> Iterator[Life]:
        """Give a call's life; it ends with the caller's call, or before it."""
        self._begin()
        life = Life(Deadline.of(context, total), context.cancel)
        with self.lives.holding(life):
            try:
                when_over(context, lambda: life.end(PeerLost("the client left")))
                yield life
            finally:
                life.end(PeerLost("the call is over"))

    def sweep(self) -> None:
        """Look at all calls once."""
        now = self._clock()
        for life in self.lives.now():
            try:
                life.sweep(now)
            except Exception as error:
                # Of one call: the others are still to be cut, by a thread that goes on.
                self._failed(error)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _begin(self) -> None:
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(_SWEEP):
            self.sweep()
