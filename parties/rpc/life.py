"""How long a call lasts, whatever deadline its caller asked for: the one rule for every call of every server.

A call ends with the first of these: its caller, its deadline or `total`, a wait of its own that is over, a message that
is due and does not come within `due`, one that the other side may choose the time of and that does not come within
`idle`, a reply that its caller does not take within `taken`. What waits for a place or for the other party has
bounds of its own, `wait_seconds` and `greet_seconds` of the settings.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from privinf.errors import DeadlineExceeded, PrivinfError
from privinf.parties.rpc.deadline import Deadline

_GRACE = 2.0  # seconds after its deadline for a call to end by itself, and say why


@dataclass(frozen=True)
class Bounds:
    """The rule's numbers at one server, in seconds."""

    total: float
    background: float  # as total, of what servers ask of each other
    due: float
    idle: float
    taken: float


def when_over(call: grpc.RpcContext, then: Callable[[], None]) -> None:
    """Have something done once a call of gRPC's has ended, at once if it has already."""
    if not call.add_callback(then):
        then()


class Watch:
    """A wait within gRPC, which knows no end of its own; `cut` is called once it has lasted too long."""

    __slots__ = ("at", "cut", "why")

    def __init__(self, at: float, why: str, cut: Callable[[], object]) -> None:
        self.at, self.why, self.cut = at, why, cut


class Life:
    """Shared by the threads of a call: each waits through it, for something that another does."""

    def __init__(
        self,
        deadline: Deadline,
        cut: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deadline = deadline
        self.changed = threading.Condition()  # also guards what is waited for
        self._cut, self._clock = cut, clock
        self._watches: set[Watch] = set()
        self.error: PrivinfError | None = None  # what has ended it
        self._spare = False  # nothing of it has begun: it may be sent away
        self._listeners: list[Callable[[], object]] = []
        self.draining = False  # no pass is to begin that was not asked for yet

    def end(self, error: PrivinfError) -> None:
        """End it, unless it has ended for another reason."""
        self._end(error, lambda: True)

    def on_end(self, listener: Callable[[], object]) -> None:
        """Have it called once the call has ended, for what waits elsewhere; it must not block."""
        with self.changed:
            if self.error is None:
                self._listeners.append(listener)
                return
        listener()

    def spare(self) -> None:
        """Let the call be sent away for a caller who has less, as nothing of it has begun."""
        with self.changed:
            self._spare = True

    def keep(self) -> None:
        """Let it be sent away no more, as something begins; or raise what has ended it."""
        with self.changed:
            self._spare = False
            self.require()

    def send_away(self, error: PrivinfError) -> bool:
        """End it if nothing of it has begun; return whether that is so."""
        if not self._end(error, lambda: self._spare and self.error is None):
            return False
        for watch in self._watches.copy():  # one that waits within gRPC would not hear of it
            self.let(watch)
            watch.cut()
        return True

    def require(self) -> None:
        """Raise what has ended the call, if anything has."""
        if self.error is not None:
            raise self.error

    def _end(self, error: PrivinfError, may: Callable[[], bool]) -> bool:
        with self.changed:
            if not may():
                return False
            self.error = self.error or error
            self.changed.notify_all()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
        return True

    def drain(self) -> None:
        """Have it end after the pass under way."""
        with self.changed:
            self.draining = True
            self.changed.notify_all()

    def wait(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Return whether it holds, at once or within `seconds`; or raise what has ended the call."""
        with self.changed:
            self.changed.wait_for(lambda: self.error is not None or holds(), seconds)
            self.require()
            return holds()

    def wait_in_time(
        self, holds: Callable[[], bool], phase: str, seconds: float = threading.TIMEOUT_MAX, late: str = ""
    ) -> None:
        """Return once it holds; raise DeadlineExceeded with `late` after `seconds`, or if the deadline passes."""
        if not self.wait(holds, min(seconds, self.deadline.left(phase))):
            self.deadline.left(phase)  # says so if it is this that has passed
            raise DeadlineExceeded(late, phase=phase)

    def watch(self, seconds: float, why: str, cut: Callable[[], object] | None = None) -> Watch:
        """Have the call cut, or `cut` called, after so many seconds, unless it is let go before."""
        watch = Watch(self._clock() + seconds, why, self._cut if cut is None else cut)
        self._watches.add(watch)
        return watch

    def let(self, watch: Watch) -> None:
        """Watch this wait no longer."""
        self._watches.discard(watch)

    @contextmanager
    def watched(self, seconds: float, why: str, cut: Callable[[], object] | None = None) -> Iterator[None]:
        """Bound what blocks within gRPC."""
        watch = self.watch(seconds, why, cut)
        try:
            yield
        finally:
            self.let(watch)

    def sweep(self, now: float) -> None:
        """Cut what has lasted too long by `now`."""
        for watch in [watch for watch in self._watches.copy() if now >= watch.at]:
            self.let(watch)
            self.end(DeadlineExceeded(watch.why))
            watch.cut()
        if now >= self.deadline.at + _GRACE:
            self.end(DeadlineExceeded("the deadline passed"))
            self._cut()
