"""One stream between the two parties: what comes and goes on it, when it is late, and why it ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import grpc

from privinf.errors import (
    ConnectError,
    DamagedPreparation,
    DeadlineExceeded,
    PeerLost,
    PrivinfError,
    ProtocolError,
)
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.frames import Kind, kind_of
from privinf.parties.rpc.life import Life, when_over
from privinf.parties.rpc.methods import SESSION
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.rpc.status import attribute, restore


class PeerStream:
    """One session's messages to and from the other party."""

    def __init__(
        self,
        messages: Iterator[bytes],
        outgoing: Outgoing[bytes],
        role: str,
        cancel: Callable[[], Any],
        dialled: bool = False,
    ) -> None:
        self._messages, self.outgoing, self.role = messages, outgoing, role
        self._dialled, self.cancel = dialled, cancel
        self._heard = self.closed = False  # closed: whether we have ended our direction
        self.phase = "connect"  # what a wait for the peer is part of now
        self._life, self._patience = Life(Deadline(math.inf)), math.inf  # until a call has it
        self._over: Future[None] = Future()

    def live(self, life: Life, seconds: float) -> None:
        """Have the session end with a call's life, or where the peer sends nothing for so many seconds."""
        self._life, self._patience = life, seconds

    def close(self, error: PrivinfError | None = None) -> None:
        """End our direction, with an error if the peer is to be told one."""
        self.closed = True
        self.outgoing.put(error)

    def fail(self, error: PrivinfError) -> None:
        """End both directions; a peer that has dialled us is told why."""
        self.close(None if self._dialled else error)
        if self._dialled:
            self.cancel()

    def cut(self) -> None:
        """Drop the session, unless our side of it is over: the peer may not have heard how it ended."""
        if not self.closed:
            self.cancel()

    def watch(self, listener: Callable[[], None]) -> None:
        """Have it called, once, when the stream is over: nobody may be reading then."""
        self._over.add_done_callback(lambda _: listener())

    def over(self) -> None:
        """Note that gRPC has ended the stream."""
        if not self._over.done():
            self._over.set_result(None)

    def verdict(self) -> PrivinfError:
        """Return why a stream that is over has ended, for one who was not reading."""
        call = self._messages
        if isinstance(call, grpc.RpcError) and isinstance(call, grpc.Call):  # party 0's own call
            early = call.code() is grpc.StatusCode.OK
            return self._lost("ended the session early") if early else self._explain(call)
        return self._lost("dropped the session")

    def finish(self) -> None:
        """Both have read their last frame when this returns: who dialled closes first, the other after it."""
        if self._dialled:
            self.close()
        self._expect_end()
        if not self._dialled:
            self.close()

    def _expect_end(self) -> None:
        """Wait until the peer has ended its direction; anything else is out of place."""
        message = self._receive()
        if message is None:
            return
        if kind_of(message) is Kind.DAMAGED:
            raise DamagedPreparation(f"{self.role} found its half of the preparation changed")
        raise ProtocolError(f"{self.role} sent a frame after the last round")

    def __iter__(self) -> PeerStream:
        return self

    def __next__(self) -> bytes:
        message = self._receive()
        if message is None:  # also, now and then, what gRPC gives of a call that we have cut
            raise self._late() or self._lost("ended the session early")
        return message

    def _receive(self) -> bytes | None:
        late = f"{self.role} said nothing for {self._patience:g} s"
        try:
            with self._life.watched(self._patience, late, self.cancel):
                message = next(self._messages, None)
        except grpc.RpcError as error:
            raise self._explain(error) from error
        self._heard = True
        return message

    def _late(self) -> DeadlineExceeded | None:
        """Return which time has run out, if any has."""
        life = self._life
        if life.deadline.passed:
            what = f"the deadline passed waiting for {self.role} ({self.phase})"
            return DeadlineExceeded(what, phase=self.phase)
        return life.error if isinstance(life.error, DeadlineExceeded) else None

    def _explain(self, error: grpc.RpcError) -> PrivinfError:
        if (late := self._late()) is not None:
            return late
        if not isinstance(error, grpc.Call):  # on the serving side gRPC says no more than that
            return self._lost("dropped the session")
        known = restore(error, self.role, phase=self.phase)
        # Before the first message a session can be opened again; after it something is lost.
        return self._lost("dropped the session") if type(known) is ConnectError and self._heard else known

    def _lost(self, what: str) -> PrivinfError:
        return attribute(PeerLost(f"{self.role} {what}"), self.role)


def open_stream(other: Peer, deadline: Deadline) -> PeerStream:
    """Dial a party of a higher index for one session."""
    outgoing: Outgoing[bytes] = Outgoing()
    call = SESSION.on(other)(iter(outgoing), timeout=deadline.left("connect"), metadata=other.metadata)
    stream = PeerStream(call, outgoing, other.role, call.cancel, dialled=True)
    when_over(call, stream.over)
    return stream


@contextmanager
def guarding(stream: PeerStream) -> Iterator[None]:
    """Hold a part of a session; one that fails is ended on both sides, and who was dialled tells why."""
    try:
        yield
    except BaseException as error:
        stream.fail(error if isinstance(error, PrivinfError) else PrivinfError())
        raise
