"""Errors over gRPC: each class of ours arrives as itself, and whatever gRPC says by itself becomes one of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from privinf import errors
from privinf.errors import (
    ConnectError,
    DeadlineExceeded,
    PartyError,
    PrivinfError,
    ProtocolError,
    Unauthenticated,
)
from privinf.parties.rpc.status import CODES, attribute, describe, restore

LOCAL = {
    "RangeError",  # the client finds it by itself
    "PrivinfError",
    "ConfigError",
    "FileError",
    "ListenError",
    "ModelError",
    "MissingExtra",
}  # of this process; no peer is told
ALL = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, PrivinfError)]


class Status(grpc.RpcError, grpc.Call):
    """What a call raises."""

    def __init__(
        self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self._code, self._details, self._trailing = code, details, trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing

    def initial_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0

    def cancel(self) -> bool:
        return False

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_each_error_arrives_as_itself(cls: type[PrivinfError]) -> None:
    told = attribute(cls("what went wrong"), "party1")
    arrived = restore(Status(*describe(told)), "party0")
    assert type(arrived) is (PartyError if cls.__name__ in LOCAL else cls)
    assert (arrived.party, cls.__name__ in LOCAL) in ((None, True), ("party0", True), ("party1", False))
    assert ("what went wrong" in str(arrived)) is (cls.__name__ not in LOCAL)


def test_no_two_calls_for_one_code_and_none_is_forgotten() -> None:
    assert {cls.__name__ for cls in ALL} == {cls.__name__ for cls in CODES} | LOCAL


def test_a_phase_arrives() -> None:
    arrived = restore(Status(*describe(DeadlineExceeded("late", phase="offline"))), "party0")
    assert isinstance(arrived, DeadlineExceeded)
    assert arrived.phase == "offline"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_bare_status_is_one_of_ours(code: grpc.StatusCode) -> None:
    arrived = restore(Status(code, "x" * 1000), "dealer")
    assert isinstance(arrived, PrivinfError)
    assert type(arrived) is not PrivinfError
    assert arrived.party == "dealer"
    assert len(str(arrived)) < 400


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect: Connection refused", ConnectError),
        (grpc.StatusCode.UNAVAILABLE, "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED", Unauthenticated),
        (grpc.StatusCode.UNAVAILABLE, "Peer name party0 is not in peer certificate", Unauthenticated),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)", ProtocolError),
    ],
)
def test_what_grpc_says_is_understood(code: grpc.StatusCode, details: str, kind: type[PrivinfError]) -> None:
    assert type(restore(Status(code, details), "party0")) is kind


def test_an_unknown_kind_falls_back_to_its_code() -> None:
    status = Status(grpc.StatusCode.UNAVAILABLE, "", (("privinf-error", "FutureError"),))
    assert type(restore(status, "party0")) is ConnectError


def test_a_handshake_that_a_busy_server_had_no_time_for_is_tried_again() -> None:
    """It is no word on our certificate, as the same with a reason is."""
    details = (
        "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:7000: "
        "Handshake read failed (Endpoint closing)"
    )
    arrived = restore(Status(grpc.StatusCode.UNAVAILABLE, details), "party0")
    assert type(arrived) is ConnectError
    assert "too much to do" in str(arrived)
