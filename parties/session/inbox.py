"""The requests of a client's generation: what may come when."""

from __future__ import annotations

from collections.abc import Iterator

from privinf.errors import Overloaded, ProtocolError
from privinf.parties.rpc.frames import CHUNK, CONTROL_LIMIT
from privinf.parties.rpc.incoming import Requests
from privinf.parties.rpc.parts import filled
from privinf.v1 import party_pb2

_LAST_SECONDS = 1.0
_STEP_LIMIT = (
    CONTROL_LIMIT // 2
)  # what is said of a pass goes on to the other party, beside the slots that are dropped


class Inbox:
    """Passes and their shares, in the one order they may come in."""

    def __init__(self, requests: Requests[party_pb2.GenerateRequest], idle_seconds: float) -> None:
        self._requests, self._idle = requests, idle_seconds

    def opening(self) -> party_pb2.GenerateOpen:
        """Return the first message, which is due."""
        first = next(self._requests, None)
        if first is not None:
            _check(first)
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
        """Read a share of exactly `nbytes`."""
        return filled(nbytes, "pass", self._chunks())

    def _chunks(self) -> Iterator[bytes | None]:
        for request in self._requests:
            _check(request)
            yield request.chunk if request.WhichOneof("part") == "chunk" else None

    def _get(self) -> party_pb2.GenerateRequest | None:
        late = f"the client asked for nothing for {self._idle:g} s"
        request = self._requests.within(self._idle, late)
        if request is not None:
            _check(request)
        return request

    def _refuse_to_drain(self) -> None:
        """Refuse the next pass if this party is stopping, once the client has had time to ask for it.

        The other party may not have finished the pass before, and would lose it with us.
        """
        life, due = self._requests.life, self._requests.due
        with life.changed:
            late = f"the client asked for nothing for {self._idle:g} s"
            life.wait_in_time(lambda: due() or life.draining, "online", self._idle, late)
            if life.draining and (not life.wait(due, _LAST_SECONDS) or self._requests.some()):
                raise Overloaded("this party is stopping")


def _check(request: party_pb2.GenerateRequest) -> None:
    """Refuse what is longer than any that is honest, before it is kept or passed on."""
    if request.WhichOneof("part") == "chunk":
        if len(request.chunk) > CHUNK:
            raise ProtocolError(f"a chunk has {CHUNK} bytes at most")
    elif request.ByteSize() > _STEP_LIMIT:
        raise ProtocolError(f"the opening of a generation or a pass has {_STEP_LIMIT} bytes at most")
