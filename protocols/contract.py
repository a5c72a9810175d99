"""The line between what is computed and the processes that carry it.

A party program is straight-line blocking code. It reads its preparation in program order, and each call of
`Link.pull` ends one round. Nothing here knows of sockets; nothing behind it knows of cryptography.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from privinf.errors import ConfigError, PrivinfError

Buffer: TypeAlias = bytes | bytearray | memoryview
Dealt: TypeAlias = tuple[int, Buffer]  # (to, bytes); to is a party's index, or ALL for the same bytes to all

ALL = -1
SEED_BYTES = 32
ID_BYTES = 16  # of a session, a preparation, an epoch
# Goes up with whatever roles send each other, or derive from seeds and ids, and a plan does not name
PROTOCOL = 9


@dataclass(frozen=True)
class Topology:
    """Who computes: how many parties, and whether a dealer prepares for them.

    Party 0 leads; of two parties the one of the lower index dials.
    """

    parties: int
    dealer: bool

    def require(self, party: int) -> None:
        """Raise ConfigError for the index of a party that there is not."""
        if not 0 <= party < self.parties:
            indices = f"{', '.join(map(str, range(self.parties - 1)))} or {self.parties - 1}"
            raise ConfigError(f"party (--party) is {indices}, not {party}")


@dataclass(frozen=True)
class Identity:
    """What every role attests to every other; they compute together only if all but the role is equal.

    protocol: its name, which says who computes and how. role: whose folder of the shared model this is; each must be
    the other's that it is taken for.
    """

    version: str
    protocol: str
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

    prompt: rows of each prompt, padded to the bucket of the longest. rows: those of each later pass, the last token and
    its drafts. batch: how many prompts advance together; rows of different ones never see each other.
    """

    task: str
    prompt: int
    rows: int
    batch: int = 1


@dataclass(frozen=True)
class Order:
    """What the dealer is told of one pass of a session, ahead of time: all that it needs to prepare it.

    retired: slots that leave the cache before the pass, as ascending positions in the cache of that moment.
    """

    index: int
    retired: tuple[int, ...] = ()


@dataclass(frozen=True)
class Advance:
    """How a pass goes on: which rows of the one before stay in the cache, and which row each of its own follows.

    kept: rows of the pass before, each of which follows the one named before it.
    after: for each row but the first, an earlier row of the same pass; empty where each follows the one before it.
    """

    kept: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @classmethod
    def first(cls, count: int) -> Advance:
        """A pass without branches behind one of which so many rows stay, from its first."""
        return cls(tuple(range(count)))


class Link(Protocol):
    """One other party, during one session."""

    def push(self, part: Buffer) -> None:
        """Send a part of the round under way, without waiting; it may be overwritten once the call returns."""
        ...

    def pull(self, expect: Sequence[int]) -> list[memoryview]:
        """End the round: return the peer's parts, of exactly these sizes, for the caller to keep."""
        ...


class Channel(Protocol):
    """All other parties, during one session."""

    def to(self, peer: int) -> Link:
        """Return the link to the party of this index."""
        ...


class Source(Protocol):
    """A preparation, read once in program order."""

    def read(self, nbytes: int) -> memoryview:
        """Return the next bytes, a view of the stored preparation: valid until the stage that reads it returns."""
        ...


@dataclass(frozen=True)
class Stock:
    """What a party holds for one query: the dealer's preparation, its seed, and what was computed of both ahead.

    preparation: the id under which it was dealt. source: read from its beginning again. precomputed: what `prepare`
    wrote, not to be written here.
    """

    preparation: bytes
    seed: bytes = field(repr=False)
    source: Source = field(repr=False)
    precomputed: memoryview = field(repr=False)


@dataclass(frozen=True)
class QuerySizes:
    """Exact bytes of one party's shares of a query and of its answer."""

    query: int
    result: int


@dataclass(frozen=True)
class StockSizes:
    """Exact bytes of what one party holds for a query: its preparation without the seed, and what `prepare` writes,
    which is 0 where nothing can be computed ahead.
    """

    preparation: int = 0
    precomputed: int = 0


class PartyQueries(Protocol):
    """How a party answers single queries."""

    def sizes(self, shape: QueryShape) -> QuerySizes:
        """Return what a query of this shape sends; or raise InputError for one that cannot be served.

        Arithmetic alone: it is asked before the query has its place, so that it must cost next to nothing.
        """
        ...

    def stock_sizes(self, shape: QueryShape) -> StockSizes:
        """Return what is held for a query of this shape, nothing without a dealer; or raise InputError.

        It may walk through the whole program, and so is asked only once there is a place.
        """
        ...

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, room: memoryview) -> None:
        """Compute what needs no query once a preparation has come, and fill `room` with it."""
        ...

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        """Return this party's share of the answer; blocking, run in a thread of its own. Without a dealer: no stock."""
        ...


class DealerQueries(Protocol):
    """How the dealer prepares for single queries."""

    def sizes(self, shape: QueryShape) -> tuple[int, ...]:
        """Return the exact preparation bytes of each party; or raise InputError."""
        ...

    def deal(self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, ...]) -> Iterator[Dealt]:
        """Yield the preparation of this id in program order; a buffer may be reused once the next is asked for."""
        ...


class DealerSession(Protocol):
    """One generation at the dealer: it remembers the masks of the slots that are live."""

    def deal(self, order: Order, preparation: bytes, seeds: tuple[bytes, ...]) -> Iterator[Dealt]:
        """Yield the preparation of the next pass in program order; or raise ProtocolError for an order out of place.

        `preparation` is the generation's id, the same at all parties; passes differ by their number.
        """
        ...


class PassIntake(Protocol):
    """One pass at one party, from the moment it is dealt: `fill` runs in one thread while `evaluate` may in another."""

    @property
    def waited(self) -> float:
        """Seconds for which the evaluation has waited for what was still to come."""
        ...

    def fill(self, prep: Source, most: int) -> None:
        """Read the whole preparation as it comes, and compute ahead what needs no query.

        While a pass of the session is evaluated, about `most` bytes are let in beyond what that has used. The views
        that `prep` returns stay valid as long as something refers to them. Raises ProtocolError for an order out of
        place.
        """
        ...

    def fail(self, error: PrivinfError) -> None:
        """Have an evaluation that waits for more raise this, now or later; from any thread."""
        ...


class PartySession(Protocol):
    """One generation at one party: its cache, pass after pass.

    `order`, `prepare` and what it returns run in one thread, `evaluate` in another; each sees the passes in order.
    `journal`, where it is set, is to be told the public description of each wire that `evaluate` opens.
    """

    journal: Callable[[str], None] | None

    def order(self) -> Order:
        """Return the order of the next pass to be prepared: at party 0, which decides for all.

        Or raise InputError where no further pass can be: those before it are still served.
        """
        ...

    def prepare(self, order: Order, preparation: bytes, seed: bytes) -> PassIntake:
        """Expect the preparation of the next pass: the result is to be filled, and evaluated meanwhile or later."""
        ...

    def query_bytes(self, index: int) -> int:
        """Return the exact size of this party's share of a pass's query."""
        ...

    def result_bytes(self, index: int) -> int:
        """Return the exact size of this party's share of a pass's answer; 0 for a part of the prompt."""
        ...

    def evaluate(self, advance: Advance, query: memoryview, prepared: PassIntake, channel: Channel) -> bytes:
        """Run the next pass and return this party's share of its answer; blocking, also for the preparation.

        Raises ProtocolError for an advance that cannot be.
        """
        ...


class PartySessions(Protocol):
    """How a party generates."""

    def begin(self, shape: SessionShape) -> PartySession:
        """Begin a generation; or raise InputError for a shape that cannot be served."""
        ...


class DealerSessions(Protocol):
    """How the dealer prepares for generations."""

    def begin(self, shape: SessionShape) -> DealerSession:
        """Begin a generation; or raise InputError for a shape that cannot be served."""
        ...


@dataclass(frozen=True)
class DealerProgram:
    """What the dealer runs: of queries and sessions, those that the model serves."""

    identity: Identity
    topology: Topology
    queries: DealerQueries | None = None
    sessions: DealerSessions | None = None


@dataclass(frozen=True)
class PartyProgram:
    """What the party of this index runs: of queries and sessions, those that the model serves."""

    identity: Identity
    topology: Topology
    index: int
    queries: PartyQueries | None = None
    sessions: PartySessions | None = None
