"""The line between what is computed and the processes that carry it.

A party program is straight-line blocking code. It reads its preparation in program order, and each call of
`Channel.pull` ends one round. Nothing here knows of sockets; nothing behind it knows of cryptography.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Dealt: TypeAlias = tuple[int, Buffer]  # (to, bytes); to is 0, 1, or BOTH for the same bytes to both parties

BOTH = 2
SEED_BYTES = 32
ID_BYTES = 16  # of a session, a preparation, an epoch


@dataclass(frozen=True)
class Identity:
    """What every role attests to every other; they compute together only if all of it is equal."""

    version: str
    model_id: str
    plan_hash: str


@dataclass(frozen=True)
class QueryShape:
    """What everybody learns of a query."""

    task: str
    batch: int
    tokens: int


class Channel(Protocol):
    """The other party, during one session."""

    def push(self, part: Buffer) -> None:
        """Send a part of the round under way, without waiting; it may be overwritten once the call returns."""
        ...

    def pull(self, expect: Sequence[int]) -> list[memoryview]:
        """End the round: return the peer's parts, of exactly these sizes, for the caller to keep."""
        ...

    def exchange(self, payload: Buffer, expect: int) -> memoryview:
        """One round of one part each way; both push at once."""
        ...


class Source(Protocol):
    """A preparation, read once in program order."""

    def read(self, nbytes: int) -> memoryview:
        """Return the next bytes, a view of the stored preparation: valid until the stage that reads it returns."""
        ...


class DealerProgram(Protocol):
    """What the dealer runs."""

    @property
    def identity(self) -> Identity: ...

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        """Return the exact preparation bytes of party 0 and 1; or raise InputError."""
        ...

    def deal(self, shape: QueryShape, seeds: tuple[bytes, bytes]) -> Iterator[Dealt]:
        """Yield the preparation in program order; a buffer may be reused once the next is asked for."""
        ...


class PartyProgram(Protocol):
    """What a party runs."""

    @property
    def identity(self) -> Identity: ...

    @property
    def party(self) -> int: ...

    def check(self, shape: QueryShape) -> None:
        """Raise InputError for a shape that cannot be served."""
        ...

    def query_bytes(self, shape: QueryShape) -> int:
        """Return the exact size of one share of a query."""
        ...

    def result_bytes(self, shape: QueryShape) -> int:
        """Return the exact size of one share of an answer."""
        ...

    def prep_bytes(self, shape: QueryShape) -> int:
        """Return the exact size of this party's preparation, the seed not counted."""
        ...

    def aside_bytes(self, shape: QueryShape) -> int:
        """Return the exact size of what `prepare` writes; 0 where nothing can be computed ahead."""
        ...

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, aside: memoryview) -> None:
        """Compute what needs no query once a preparation has come, and fill `aside` with it."""
        ...

    def evaluate(
        self,
        shape: QueryShape,
        query: memoryview,
        prep: Source,
        aside: memoryview,
        seed: bytes,
        channel: Channel,
    ) -> bytes:
        """Return this party's share of the answer; blocking, run in a thread of its own.

        `prep` is read from its beginning again; `aside` is what `prepare` wrote, not to be written here.
        """
        ...
