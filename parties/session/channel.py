"""A session with one other party, as a program sees it: blocking rounds over frames, counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from privinf.parties.rpc.frames import FrameReader, FrameWriter, Kind
from privinf.protocols.contract import Buffer


class SessionLink:
    """One session with the other party; `send` must not block, `messages` blocks until the peer's next one.

    Whoever supplies `messages` bounds its waits and turns a broken stream into a typed error.
    """

    def __init__(
        self, send: Callable[[bytes], None], messages: Iterator[bytes], session: bytes, party: int, peer: int
    ) -> None:
        self._writer = FrameWriter(send, session, party)
        self._reader = FrameReader(messages, session, peer)
        self.rounds = 0
        self._pushed = 0  # parts of the round under way
        self._due: Callable[[], None] | None = None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rounds so far, payload sent in them, and everything sent.

        The last is control frames and headers too; what HTTP/2 and TLS add is not counted.
        """
        return self.rounds, self._writer.payload_bytes, self._writer.wire_bytes

    def push(self, part: Buffer) -> None:
        """Send a part of the round under way; it travels while the program computes the next."""
        self._writer.write(Kind.DATA, self.rounds + 1, part, self._pushed)
        self._pushed += 1

    def pull(self, expect: Sequence[int]) -> list[memoryview]:
        """End the round: wait for the peer's parts, of exactly these sizes."""
        self.settle()
        self.rounds, self._pushed = self.rounds + 1, 0
        return [self._reader.read(Kind.DATA, self.rounds, size, part) for part, size in enumerate(expect)]

    def say(self, kind: Kind, payload: Buffer) -> None:
        """Send a control frame, between rounds or before the first."""
        self._writer.write(kind, self.rounds, payload)

    def hear(self, kind: Kind) -> memoryview:
        """Wait for a control frame, between rounds or before the first."""
        return self._reader.read(kind, self.rounds)

    def expect(self, kind: Kind, check: Callable[[memoryview], None]) -> None:
        """Have a control frame heard and checked before the peer's next part is: no wait of its own is needed."""
        self._due = lambda: check(self.hear(kind))

    def settle(self) -> None:
        """Hear now what is still due."""
        due, self._due = self._due, None
        if due is not None:
            due()

    def told(self) -> None:
        """Note that the other party has said that the preparation is dropped: it is not to be waited for."""
        self._reader.told = True

    def restart(self) -> None:
        """Begin the rounds anew with another preparation: both say that this one is dropped, whoever found it first."""
        self._writer.write(Kind.DAMAGED, 0, b"")
        self._reader.skip()
        self.rounds, self._pushed, self._due = 0, 0, None
