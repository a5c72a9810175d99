"""The line between what is computed and the processes that carry it.

A party program is straight-line blocking code. It reads its preparation in program order, and each call of
`Channel.pull` ends one round. Nothing here knows of sockets; nothing behind it knows of cryptography.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Dealt: TypeAlias = tuple[int, Buffer]  # (to, bytes); to is 0, 1, or BOTH for the same bytes to both parties

BOTH = 2
SEED_BYTES = 32
ID_BYTES = 16  # of a session, a preparation, an epoch
PROTOCOL = (
    4  # goes up with whatever roles send each other, or derive from seeds and ids, and a plan does not name
)


@dataclass(frozen=True)
class Identity:
    """What every role attests to every other; they compute together only if all but the role is equal.

    role: whose folder of the shared model this is; each must be the other's that it is taken for.
    """

    version: str
    model_id: str
    plan_hash: str
    role: str = ""


@dataclass(frozen=True)
class QueryShape:
    """What everybody learns of a query."""

    task: str
    batch: int
    tokens: int


@dataclass(frozen=True)
class SessionShape:
    """What everybody learns of a generation before its first pass.

    prompt: rows of the prompt, padded to its bucket. rows: rows of each later pass, the last token and its drafts.
    """

    task: str
    prompt: int
    rows: int


@dataclass(frozen=True)
class Order:
    """What the dealer is told of one pass of a session, ahead of time: all that it needs to prepare it.

    retired: slots that leave the cache before the pass, as ascending positions in the cache of that moment.
    """

    index: int
    retired: tuple[int, ...] = ()


@dataclass(frozen=True)
class Course:
    """How a pass goes on: which rows of the one before stay in the cache, and which row each of its own follows.

    kept: rows of the pass before, each of which follows the one named before it.
    after: for each row but the first, an earlier row of the same pass; empty where each follows the one before it.
    """

    kept: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @classmethod
    def first(cls, count: int) -> Course:
        """A pass without branches behind one of which so many rows stay, from its first."""
        return cls(tuple(range(count)))


class Channel(Protocol):
    """The other party, during one session."""

    def push(self, part: Buffer) -> None:
        """Send a part of the round under way, without waiting; it may be overwritten once the call returns."""
        ...

    def pull(self, expect: Sequence[int]) -> list[memoryview]:
        """End the round: return the peer's parts, of exactly these sizes, for the caller to keep."""
        ...


class Source(Protocol):
    """A preparation, read once in program order."""

    def read(self, nbytes: int) -> memoryview:
        """Return the next bytes, a view of the stored preparation: valid until the stage that reads it returns."""
        ...


class DealerSession(Protocol):
    """One generation at the dealer: it remembers the masks of the slots that are live."""

    def deal(self, order: Order, preparation: bytes, seeds: tuple[bytes, bytes]) -> Iterator[Dealt]:
        """Yield the preparation of the next pass in program order; or raise ProtocolError for an order out of place.

        `preparation` is the generation's id, the same at the parties; passes differ by their number.
        """
        ...


class PartySession(Protocol):
    """One generation at one party: its cache, pass after pass.

    `order` and `prepare` run in one thread, `evaluate` in another, passes behind; each sees the passes in order.
    `journal`, where it is set, is to be told the public description of each wire that `evaluate` opens.
    """

    journal: Callable[[str], None] | None

    def order(self) -> Order:
        """Return the order of the next pass to be prepared: at party 0, which decides for all.

        Or raise InputError where no further pass can be: those before it are still served.
        """
        ...

    def prepare(self, order: Order, preparation: bytes, prep: Source, seed: bytes) -> object:
        """Read the whole preparation of a pass as it comes, and return what `evaluate` needs of it.

        The views that `prep` returns stay valid as long as something refers to them. Raises ProtocolError for an
        order out of place.
        """
        ...

    def query_bytes(self, index: int) -> int:
        """Return the exact size of this party's share of a pass's query."""
        ...

    def result_bytes(self, index: int) -> int:
        """Return the exact size of this party's share of a pass's answer; 0 for a part of the prompt."""
        ...

    def evaluate(self, course: Course, query: memoryview, prepared: object, channel: Channel) -> bytes:
        """Run the next pass and return this party's share of its answer; blocking.

        Raises ProtocolError for a course that cannot be.
        """
        ...


class DealerProgram(Protocol):
    """What the dealer runs."""

    @property
    def identity(self) -> Identity: ...

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        """Return the exact preparation bytes of party 0 and 1; or raise InputError."""
        ...

    def deal(self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, bytes]) -> Iterator[Dealt]:
        """Yield the preparation of this id in program order; a buffer may be reused once the next is asked for."""
        ...

    def begin(self, shape: SessionShape) -> DealerSession:
        """Begin a generation; or raise InputError for a model or a shape that cannot be served."""
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
        preparation: bytes,
        prep: Source,
        aside: memoryview,
        seed: bytes,
        channel: Channel,
    ) -> bytes:
        """Return this party's share of the answer; blocking, run in a thread of its own.

        `preparation` is the id under which it was dealt. `prep` is read from its beginning again; `aside` is what
        `prepare` wrote, not to be written here.
        """
        ...

    def begin(self, shape: SessionShape) -> PartySession:
        """Begin a generation; or raise InputError for a model or a shape that cannot be served."""
        ...
