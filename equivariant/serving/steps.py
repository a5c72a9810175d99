"""The steps of a session, read by a thread of their own: a wait for them can end for other reasons."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import grpc

from privinf.errors import PeerLost, PrivinfError
from privinf.parties.life import Life
from privinf.v1 import equivariant_pb2 as pb

_HELD = 2  # messages that may lie here unread; gRPC holds the client back beyond them


class Steps:
    """Reads on until the client ends its direction, or the session's life is over."""

    def __init__(self, requests: Iterator[pb.CoveredStep], life: Life, idle_seconds: float) -> None:
        self._requests, self._life, self._idle = requests, life, idle_seconds
        self._items: deque[pb.CoveredStep] = deque()
        self._ended = False
        threading.Thread(target=self._run, name="steps", daemon=True).start()

    def take(self) -> pb.CoveredStep | None:
        """The next one, or None if there is none; DeadlineExceeded if the client is idle for too long."""
        late = f"the client asked for nothing for {self._idle:g} s"
        with self._life.changed:
            self._life.wait_in_time(lambda: bool(self._items) or self._ended, "online", self._idle, late)
            self._life.changed.notify_all()
            return self._items.popleft() if self._items else None

    def _run(self) -> None:
        try:
            for request in self._requests:
                self._put(request)
            with self._life.changed:
                self._ended = True
                self._life.changed.notify_all()
        except grpc.RpcError:
            self._life.end(PeerLost("the client left"))
        except PrivinfError:
            pass  # the session is over: nobody reads on

    def _put(self, request: pb.CoveredStep) -> None:
        with self._life.changed:
            self._life.wait(lambda: len(self._items) < _HELD)
            self._items.append(request)
            self._life.changed.notify_all()
