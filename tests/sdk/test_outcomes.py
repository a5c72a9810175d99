"""Which of two parties' failures a client is told: the one that says what happened, in whatever order they come."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, cast

import grpc
import pytest
from harness import wait_until

from privinf.errors import DeadlineExceeded, IntegrityError, PeerLost, PrivinfError
from privinf.parties.rpc.methods import Method
from privinf.parties.rpc.status import describe
from privinf.sdk.outcomes import telling
from privinf.sdk.query import Run
from privinf.v1 import party_pb2

CONNECT, OFFLINE, ONLINE = (
    DeadlineExceeded("too late", phase=phase) for phase in ("connect", "offline", "online")
)
LOST, BROKEN = PeerLost("party0 dropped the session"), IntegrityError("the masks differ")
STRANGE = DeadlineExceeded("too late", phase="a phase of a later version")


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize(
    ("cause", "other"),
    [
        (OFFLINE, ONLINE),
        (CONNECT, OFFLINE),
        (CONNECT, ONLINE),
        (ONLINE, STRANGE),
        (OFFLINE, LOST),
        (STRANGE, LOST),
        (BROKEN, LOST),
        (BROKEN, OFFLINE),
    ],
)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("knows", [0, 1])
def test_the_cause_is_told_whoever_is_heard_first(
    monkeypatch: pytest.MonkeyPatch,
    cause: PrivinfError,
    other: PrivinfError,
    order: tuple[int, int],
    knows: int,
) -> None:
    monkeypatch.setattr(Method, "on", lambda method, peer: lambda requests, **how: peer)
    assert telling(cause, other) is telling(other, cause) is cause
    failures = (cause, other) if knows == 0 else (other, cause)
    calls = [Call("party0"), Call("party1")]
    opened = party_pb2.InferOpen(session_id=bytes(16))
    run = Run(cast(Any, calls), opened, (bytes(4), bytes(4)), 60.0, lambda: None)
    for count, party in enumerate(order, 1):
        calls[party].ends.set_exception(Failed(failures[party]))
        wait_until(lambda: run._arrived.qsize() == count)  # noqa: B023
    with pytest.raises(type(cause)) as told:
        run.result()
    assert told.value.party == f"party{knows}"
    if isinstance(cause, DeadlineExceeded) and isinstance(told.value, DeadlineExceeded):
        assert told.value.phase == cause.phase


class Call:
    """A call that waits for its first reply, and the peer that it is made to."""

    metadata = ()

    def __init__(self, role: str) -> None:
        self.role = role
        self.ends: Future[object] = Future()

    def __next__(self) -> object:
        return self.ends.result()

    def cancel(self) -> None:
        pass


class Failed(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """A call that a party ended with an error."""

    def __init__(self, error: PrivinfError) -> None:
        self._code, self._details, self._trailing = describe(error)

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._trailing

    def initial_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float | None:
        return None

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: object) -> bool:
        return False
