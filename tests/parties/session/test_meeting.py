"""A query of party 1 that ends before party 0 comes: party 0 is told so at once, whenever it comes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from privinf.errors import PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.frames import FrameWriter, Kind
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.outgoing import Outgoing
from privinf.parties.session.sessions import Sessions

WHY = "a pass is too long"


def arrive(sessions: Sessions, session: bytes) -> Outgoing[bytes]:
    """Come as party 0."""
    frames: list[bytes] = []
    FrameWriter(frames.append, session, 0).write(Kind.HELLO, 0, b"")
    nothing: Iterator[Any] = iter(())
    _, stream = sessions.arrive(frames[0], nothing, lambda: None, "party0")
    return stream.outgoing


def refuse(sessions: Sessions, session: bytes) -> None:
    """Have party 1's half of a session end while it waits."""
    life = Life(Deadline.after(60))
    life.end(ProtocolError(WHY))
    with pytest.raises(ProtocolError, match=WHY), sessions.met(session, life, 60, "party0"):
        pass


def test_who_comes_later_is_sent_away_with_the_reason() -> None:
    sessions, session = Sessions(4), os.urandom(16)
    sessions.begin(session)
    refuse(sessions, session)
    with pytest.raises(PeerLost, match=WHY):
        arrive(sessions, session)
    assert sessions.count == 0


def test_who_has_come_is_sent_away_with_the_reason() -> None:
    sessions, session = Sessions(4), os.urandom(16)
    sessions.begin(session)
    outgoing = arrive(sessions, session)
    refuse(sessions, session)
    with pytest.raises(PeerLost, match=WHY):
        list(outgoing)


def test_what_is_kept_of_a_reason_is_its_text_alone() -> None:
    """An error would keep the frames that it passed, and all that they hold."""
    sessions, session = Sessions(4), os.urandom(16)
    sessions.begin(session)
    refuse(sessions, session)
    assert not any(isinstance(why, PrivinfError) for why in sessions._seen.values())


def test_another_session_is_none_of_it() -> None:
    sessions = Sessions(4)
    sessions.begin(first := os.urandom(16))
    refuse(sessions, first)
    sessions.begin(second := os.urandom(16))
    arrive(sessions, second)
    with sessions.met(second, Life(Deadline.after(60)), 60, "party0"):
        assert sessions.count == 1
