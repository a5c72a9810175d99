"""The requests of a client's generation: what may come when."""

from __future__ import annotations

from privinf.errors import Overloaded, ProtocolError
from privinf.parties.rpc.frames import CHUNK, CONTROL_LIMIT
from privinf.parties.rpc.incoming import Requests
from privinf.parties.rpc.parts import filled
from privinf.v1 import party_pb2

_LAST_SECONDS = 1.0
# What is said of a pass goes on to the other party, beside the slots that are dropped
_STEP_LIMIT = CONTROL_LIMIT // 2


class Inbox:
    """Passes and their shares, in the one order they may come in."""

    def __init__(self, requests: Requests[party_pb2.GenerateRequest], idle_seconds: float) -> None:
        self.requests, self._idle = requests, idle_seconds
        self._late = f"the client asked for nothing for {idle_seconds:g} s"

    def opening(self) -> party_pb2.GenerateOpen:
        """Return the first message, which is due."""
        first = next(self.requests, None)
        if first is None or _part(first) != "open":
            raise ProtocolError("a generation begins with its opening")
        return first.open

    def step(self, index: int) -> party_pb2.PassOpen | None:
        """Return what the client says of the pass that is due, or None if it wants no more."""
        self._refuse_to_drain()
        request = self.requests.within(self._idle, self._late)
        if request is None:
            return None
        if _part(request) != "step":
            raise ProtocolError(f"pass {index}: its opening is due")
        if request.step.index != index:
            raise ProtocolError(f"pass {request.step.index} was asked for where {index} is due")
        return request.step

    def share(self, nbytes: int) -> memoryview:
        """Read a share of exactly `nbytes`."""
        chunks = (request.chunk if _part(request) == "chunk" else None for request in self.requests)
        return filled(nbytes, "pass", chunks)

    def _refuse_to_drain(self) -> None:
        """Refuse the next pass if this party is stopping, once the client has had time to ask for it.

        The other party may not have finished the pass before, and would lose it with us.
        """
        life, due = self.requests.life, self.requests.due
        with life.changed:
            life.wait_in_time(lambda: due() or life.draining, "online", self._idle, self._late)
            if life.draining and (not life.wait(due, _LAST_SECONDS) or self.requests.some()):
                raise Overloaded("this party is stopping")


def _part(request: party_pb2.GenerateRequest) -> str | None:
    """Return what it is; refuse what is longer than any that is honest, before it is kept or passed on."""
    part: str | None = request.WhichOneof("part")
    if part == "chunk" and len(request.chunk) > CHUNK:
        raise ProtocolError(f"a chunk has {CHUNK} bytes at most")
    if part != "chunk" and request.ByteSize() > _STEP_LIMIT:
        raise ProtocolError(f"the opening of a generation or a pass has {_STEP_LIMIT} bytes at most")
    return part
