"""Any number of parties in one process: links that keep what was sent, and programs that run over them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from queue import Queue

from privinf.protocols.contract import Buffer, PartyProgram, PartyQueries, QueryShape, Stock

TIMEOUT = 120.0


class Wire:
    """One end of a link; `transcript` keeps the messages that this end sent, one a round."""

    def __init__(self, inbox: Queue[bytes], outbox: Queue[bytes]) -> None:
        self._inbox, self._outbox = inbox, outbox
        self._pushed: list[bytes] = []
        self.transcript: list[bytes] = []

    def push(self, part: Buffer) -> None:
        """Keep a part of the round under way."""
        self._pushed.append(bytes(part))

    def pull(self, expect: Sequence[int]) -> list[memoryview]:
        """End the round: all parts travel as one message."""
        message, self._pushed = b"".join(self._pushed), []
        self.transcript.append(message)
        self._outbox.put(message)
        reply = self._inbox.get(timeout=TIMEOUT)
        assert len(reply) == sum(expect), f"{len(reply)} bytes came where {sum(expect)} are expected"
        ends = list(accumulate(expect))
        return [memoryview(reply)[end - size : end] for size, end in zip(expect, ends, strict=True)]


@dataclass(frozen=True)
class Wires:
    """The channel of one party."""

    links: dict[int, Wire]

    def to(self, peer: int) -> Wire:
        """Return the link to a party."""
        return self.links[peer]

    @property
    def transcripts(self) -> list[list[bytes]]:
        """What was sent to each of the others, message by message."""
        return [self.links[peer].transcript for peer in sorted(self.links)]


def network(parties: int) -> list[Wires]:
    """Return the channels of so many parties, each linked with each."""
    pairs = [(a, b) for a in range(parties) for b in range(parties) if a != b]
    boxes: dict[tuple[int, int], Queue[bytes]] = {pair: Queue() for pair in pairs}
    return [
        Wires({b: Wire(boxes[b, a], boxes[a, b]) for b in range(parties) if b != a}) for a in range(parties)
    ]


def answered(
    programs: Sequence[PartyProgram],
    shape: QueryShape,
    shares: Sequence[bytes],
    stocks: Sequence[Stock | None],
) -> tuple[list[bytes], list[Wires]]:
    """Return the parties' shares of the answer to one query, and their channels."""
    channels = network(len(programs))
    with ThreadPoolExecutor(len(programs)) as pool:
        runs = [
            pool.submit(queries_of(program).evaluate, shape, memoryview(share), stock, channel)
            for program, share, stock, channel in zip(programs, shares, stocks, channels, strict=True)
        ]
        return [run.result(TIMEOUT) for run in runs], channels


def queries_of(program: PartyProgram) -> PartyQueries:
    """Return the part of a program that answers queries."""
    assert program.queries is not None
    return program.queries
