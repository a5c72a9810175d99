"""The frame reader against every message that is not exactly the next one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dummy import exchanged

from privinf.errors import ProtocolError
from privinf.parties.rpc.frames import (
    CHUNK,
    CONTROL_LIMIT,
    HEADER,
    FrameReader,
    FrameWriter,
    Kind,
    peek_session,
)
from privinf.parties.session.channel import SessionLink

SESSION = bytes(range(16))
PAYLOAD = b"sixteen bytes!!!"
LONG = bytes(2 * CHUNK) + b"the rest"


def frame(
    kind: Kind = Kind.DATA,
    round_: int = 1,
    payload: bytes = PAYLOAD,
    session: bytes = SESSION,
    sender: int = 1,
    part: int = 0,
) -> list[bytes]:
    """Return the messages of one frame."""
    messages: list[bytes] = []
    FrameWriter(messages.append, session, 1).write(Kind.DATA, round_, payload, part)
    return messages


def read(messages: list[bytes], round_: int = 1, expect: int | None = len(PAYLOAD)) -> memoryview:
    """Read the frame of a round."""
    return FrameReader(iter(messages), SESSION, 1).read(Kind.DATA, round_, expect)


@pytest.mark.parametrize("payload", [b"", b"x", PAYLOAD, bytes(CHUNK), bytes(CHUNK) + b"x", LONG])
def test_what_is_written_is_read(payload: bytes) -> None:
    messages = frame(payload=payload)
    assert len(messages) == max(1, -(-len(payload) // CHUNK))
    assert read(messages, expect=len(payload)) == payload


def test_a_payload_of_one_message_is_not_copied_and_is_aligned() -> None:
    (message,) = frame()
    view = read([message])
    assert view.obj is message
    assert HEADER.size % 16 == 0


def test_what_was_written_may_be_overwritten() -> None:
    payload = bytearray(PAYLOAD)
    messages: list[bytes] = []
    FrameWriter(messages.append, SESSION, 1).write(Kind.DATA, 1, payload)
    payload[:] = bytes(len(payload))
    assert read(messages) == PAYLOAD


def altered(at: int, value: int) -> Callable[[bytes], bytes]:
    """Return a change of one byte."""
    return lambda message: message[:at] + bytes([value]) + message[at + 1 :]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (altered(0, 0), "wrong magic"),
        (altered(3, 1), "wrong magic"),  # the version
        (altered(4, Kind.HELLO), "wrong kind"),
        (altered(4, 99), "wrong kind"),
        (altered(5, 0), "wrong sender"),  # our own frame, sent back
        (altered(6, 1), "wrong flags"),
        (altered(8, 2), "wrong round"),
        (altered(12, 1), "wrong part"),
        (altered(16, 255), "wrong session"),
        (altered(32, 17), "17 bytes where 16 were expected"),
        (altered(39, 128), "bytes where 16 were expected"),  # a length of 2^63
        (altered(40, 1), "wrong offset"),
        (lambda message: message[:-1], "truncated or overlong"),
        (lambda message: message + b"x", "truncated or overlong"),
        (lambda message: message[: HEADER.size - 1], "has no header"),
        (lambda message: b"", "has no header"),
    ],
)
def test_a_message_that_was_altered_is_refused(change: Callable[[bytes], bytes], complaint: str) -> None:
    (message,) = frame()
    with pytest.raises(ProtocolError, match=complaint):
        read([change(message)])


def test_rounds_come_in_order_and_once() -> None:
    first, second = frame(round_=1), frame(round_=2)
    with pytest.raises(ProtocolError, match="wrong round"):
        read(second)
    reader = FrameReader(iter(first + first), SESSION, 1)
    reader.read(Kind.DATA, 1, len(PAYLOAD))
    with pytest.raises(ProtocolError, match="wrong round"):
        reader.read(Kind.DATA, 2, len(PAYLOAD))


@pytest.mark.parametrize(
    "messages",
    [
        [frame(payload=LONG)[index] for index in (0, 2, 1)],
        [frame(payload=LONG)[index] for index in (0, 0, 1, 2)],
        [frame(payload=LONG)[index] for index in (0, 1)],
        [frame(payload=LONG)[0], frame(payload=LONG + b"x")[1], frame(payload=LONG)[2]],
        [frame(payload=LONG)[0], frame(payload=LONG, round_=2)[1], frame(payload=LONG)[2]],
        [frame(payload=LONG)[0], frame(payload=LONG)[1][:-1], frame(payload=LONG)[2]],
        [*frame(payload=LONG)[:2], frame(payload=LONG)[2][:-1]],
        [*frame(payload=LONG)[:2], frame(payload=LONG, session=bytes(16))[2]],
    ],
    ids=["reordered", "duplicated", "ended", "length", "round", "short", "short end", "session"],
)
def test_parts_of_a_long_frame_come_in_order_and_whole(messages: list[bytes]) -> None:
    with pytest.raises(ProtocolError):
        read(messages, expect=len(LONG))


def test_a_length_is_refused_before_room_is_made_for_it() -> None:
    header = HEADER.pack(b"PVI\x02", Kind.DATA, 1, 0, 1, 0, SESSION, 1 << 60, 0)
    with pytest.raises(ProtocolError, match="where 16 were expected"):
        read([header + bytes(CHUNK)])
    with pytest.raises(ProtocolError, match=f"at most {CONTROL_LIMIT}"):
        read([header + bytes(CHUNK)], expect=None)


def test_a_stream_that_ends_and_one_that_does_not_begin() -> None:
    with pytest.raises(ProtocolError, match="the stream ended"):
        read([])
    with pytest.raises(ProtocolError, match="not a frame"):
        peek_session(b"GET / HTTP/1.1" + bytes(40))
    with pytest.raises(ProtocolError, match="16 bytes"):
        FrameReader(iter([]), b"short", 1)


def test_a_channel_counts_rounds_and_bytes() -> None:
    sent: list[bytes] = []
    replies = frame(round_=1) + frame(round_=2, payload=LONG)
    channel = SessionLink(sent.append, iter(replies), SESSION, 0, 1)
    channel.say(Kind.BEGIN, b"not a round")
    assert exchanged(channel, b"ours", len(PAYLOAD)) == PAYLOAD
    assert exchanged(channel, LONG, len(LONG)) == LONG
    payload, wire = 4 + len(LONG), sum(map(len, sent))
    assert channel.counts == (2, payload, wire)
    assert wire == payload + 11 + 5 * HEADER.size


def test_a_round_of_parts() -> None:
    """Each part is sent as it is pushed; the peer's are read in their order, and no other way."""
    sent: list[bytes] = []
    replies = [*frame(payload=b"one"), *frame(payload=LONG, part=1), *frame(round_=2)]
    channel = SessionLink(sent.append, iter(replies), SESSION, 0, 1)
    channel.push(b"first")
    assert len(sent) == 1
    channel.push(b"second")
    assert [bytes(part) for part in channel.pull([3, len(LONG)])] == [b"one", LONG]
    assert exchanged(channel, b"third", len(PAYLOAD)) == PAYLOAD
    assert channel.counts[:2] == (2, len(b"firstsecondthird"))
    mine = FrameReader(iter(sent), SESSION, 0)
    assert [bytes(mine.read(Kind.DATA, 1, size, part)) for part, size in ((0, 5), (1, 6))] == [
        b"first",
        b"second",
    ]


@pytest.mark.parametrize("parts", [(1, 0), (0, 0), (0, 2)])
def test_parts_out_of_order_are_refused(parts: tuple[int, int]) -> None:
    messages = [message for part in parts for message in frame(part=part)]
    channel = SessionLink([].append, iter(messages), SESSION, 0, 1)
    with pytest.raises(ProtocolError, match="wrong part"):
        channel.pull([len(PAYLOAD)] * 2)


def test_a_control_frame_between_rounds_is_heard_with_the_next_part() -> None:
    sent: list[bytes] = []
    replies: list[bytes] = []
    peer = SessionLink(replies.append, iter(sent), SESSION, 1, 0)
    channel = SessionLink(sent.append, iter(replies), SESSION, 0, 1)
    heard: list[bytes] = []
    for end, name in ((peer, b"one"), (channel, b"two")):
        end.push(PAYLOAD)
        assert end.pull([]) == []  # the parts of this round are read below
        end.say(Kind.PASS, name)
    reader = FrameReader(iter(replies), SESSION, 1)
    reader.read(Kind.DATA, 1, len(PAYLOAD))
    assert bytes(reader.read(Kind.PASS, 1)) == b"one"
    ours = SessionLink([].append, iter(replies[1:]), SESSION, 0, 1)
    ours.rounds = 1
    ours.expect(Kind.PASS, lambda payload: heard.append(bytes(payload)))
    assert not heard  # not before it is needed
    ours.settle()
    ours.settle()
    assert heard == [b"one"]


def test_a_part_where_a_control_frame_is_due_is_refused() -> None:
    channel = SessionLink([].append, iter(frame()), SESSION, 0, 1)
    channel.expect(Kind.PASS, lambda payload: None)
    with pytest.raises(ProtocolError, match="wrong kind"):
        channel.pull([len(PAYLOAD)])
