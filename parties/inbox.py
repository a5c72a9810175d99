"""The requests of a client's generation, read by a thread of their own: a wait for them can end for other reasons."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

import grpc

from privinf.errors import Overloaded, PeerLost, PrivinfError, ProtocolError
from privinf.parties.frames import CHUNK, CONTROL_LIMIT
from privinf.parties.life import Life
from privinf.v1 import party_pb2

_LAST_SECONDS = 1.0
_HELD = 4  # messages of 1 MiB that may lie here unread; gRPC holds the client back beyond them
_STEP_LIMIT = (
    CONTROL_LIMIT // 2
)  # what is said of a pass goes on to the other party, beside the slots that are dropped


class Inbox:
    """Passes and their shares, in the one order they may come in."""

    def __init__(
        self, requests: Iterator[party_pb2.GenerateRequest], life: Life, idle_seconds: float
    ) -> None:
        self._requests, self._life, self._idle = requests, life, idle_seconds
        self._items: deque[party_pb2.GenerateRequest] = deque()
        self._ended = False
        threading.Thread(target=self._run, name="inbox", daemon=True).start()

    def opening(self) -> party_pb2.GenerateOpen:
        """Return the first message."""
        first = self._get()
        if first is None or first.WhichOneof("part") != "open":
            raise ProtocolError("a generation begins with its opening")
        return first.open

    def step(self, index: int) -> party_pb2.PassOpen | None:
        """Return what the client says of the pass that is due, or None if it wants no more."""
        self._refuse_to_drain()
        request = self._get()
        if request is None:
            return None
        if request.WhichOneof("part") != "step":
            raise ProtocolError(f"pass {index}: its opening is due")
        if request.step.index != index:
            raise ProtocolError(f"pass {request.step.index} was asked for where {index} is due")
        return request.step

    def share(self, nbytes: int) -> memoryview:
        """Read a share of exactly `nbytes`; it is writable, and aligned as an allocation is."""
        whole, filled = memoryview(bytearray(nbytes)), 0
        while filled < nbytes:
            request = self._get()
            if request is None or request.WhichOneof("part") != "chunk":
                raise ProtocolError(f"a share of this pass has {nbytes} bytes, not {filled}")
            chunk = request.chunk
            if not 0 < len(chunk) <= nbytes - filled:
                raise ProtocolError(f"a share of this pass has {nbytes} bytes, no more")
            whole[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return whole

    def _get(self) -> party_pb2.GenerateRequest | None:
        with self._life.changed:
            self._wait(self._due)
            self._life.changed.notify_all()
            return self._items.popleft() if self._items else None

    def _refuse_to_drain(self) -> None:
        """Refuse the next pass if this party is stopping, once the client has had time to ask for it.

        The other party may not have finished the pass before, and would lose it with us.
        """
        life = self._life
        with life.changed:
            self._wait(lambda: self._due() or life.draining)
            if life.draining and (not life.wait(self._due, _LAST_SECONDS) or self._items):
                raise Overloaded("this party is stopping")

    def _due(self) -> bool:
        return bool(self._items) or self._ended

    def _wait(self, holds: Callable[[], bool]) -> None:
        late = f"the client asked for nothing for {self._idle:g} s"
        self._life.wait_in_time(holds, "online", self._idle, late)

    def _run(self) -> None:
        try:
            for request in self._requests:
                _check(request)
                self._put(request)
            with self._life.changed:
                self._ended = True
                self._life.changed.notify_all()
        except grpc.RpcError:
            self._life.end(PeerLost("the client left"))
        except PrivinfError as error:
            self._life.end(error)  # where it has ended already, nobody reads on and its first reason stays

    def _put(self, request: party_pb2.GenerateRequest) -> None:
        with self._life.changed:
            self._life.wait(lambda: len(self._items) < _HELD)
            self._items.append(request)
            self._life.changed.notify_all()


def _check(request: party_pb2.GenerateRequest) -> None:
    """Refuse what is longer than any that is honest, before it is kept or passed on."""
    if request.WhichOneof("part") == "chunk":
        if len(request.chunk) > CHUNK:
            raise ProtocolError(f"a chunk has {CHUNK} bytes at most")
    elif request.ByteSize() > _STEP_LIMIT:
        raise ProtocolError(f"the opening of a generation or a pass has {_STEP_LIMIT} bytes at most")
