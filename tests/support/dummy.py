"""A program without cryptography: it exchanges the dealer's bytes, and fails where it is told to."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from privinf.errors import InputError, IntegrityError, PrivinfError, ProtocolError
from privinf.parties.rpc.messages import identity_message
from privinf.protocols.contract import (
    ALL,
    Advance,
    Buffer,
    Channel,
    DealerProgram,
    Identity,
    Link,
    Order,
    PartyProgram,
    PassIntake,
    QueryShape,
    QuerySizes,
    SessionShape,
    Source,
    Stock,
    StockSizes,
    Topology,
)
from privinf.v1 import common_pb2

IDENTITY = Identity("1", "echo", "dummy", "plan")
TOPOLOGY = Topology(2, dealer=True)
TASK = "echo"
PART = 4  # rows of a prompt that one pass takes
_COMMON = hashlib.shake_128(b"common").digest((3 << 20) - 1)


def says(role: str, identity: Identity = IDENTITY) -> common_pb2.Identity:
    """What a role attests to another."""
    return identity_message(replace(identity, role=role))


def exchanged(link: Link, part: Buffer, expect: int) -> memoryview:
    """One round of one part each way."""
    link.push(part)
    return link.pull([expect])[0]


@dataclass(frozen=True)
class Settings:
    """What the three roles of one test agree on, and where one of them misbehaves."""

    rounds: int = 3
    round_bytes: int = 64
    extra: int = 1000  # preparation bytes beside the masks of the rounds, the same for both
    identity: Identity = IDENTITY
    whose: str = ""  # another role, whose folder this one was started with
    fail_at: int = -1  # the round, of the query or the whole generation, in which party `fail_party` raises
    fail_party: int = 0
    halt_at: int = -1  # the round in which party `halt_party` waits for `gate` to vanish
    halt_party: int = 0
    gate: str = ""
    deal_too_many: int = 0  # bytes beyond, or with a minus short of, what sizes say
    deal_pause: float = 0.0
    precomputed: int = 40  # bytes that a party computes ahead
    fail_prepare: bool = False  # in party `fail_party`
    leave_unread: int = 0
    expect_more: int = 0  # how many bytes too many party 0 expects in each round
    halt_deal: int = -1  # the pass that the dealer deals half of before it waits for `gate` to vanish
    passes: int = 1 << 20  # how many a generation may have
    retires: bool = True  # whether passes retire slots
    wrong_result: int = 0  # bytes that a pass's result has too many
    parts: tuple[str, ...] = ("queries", "sessions")  # that the program has

    def prep_bytes(self) -> int:
        """Return the size of either party's preparation."""
        return self.rounds * self.round_bytes + self.extra


def answer_bytes(shape: QueryShape) -> int:
    """Return the size of a query, and of its answer."""
    return shape.batch * shape.tokens


@dataclass(frozen=True)
class DummyDealer:
    """Deals zero masks in two halves that cancel, then bytes that both get."""

    settings: Settings = field(default_factory=Settings)

    def program(self) -> DealerProgram:
        """Return the program of a dealer's process."""
        identity = replace(self.settings.identity, role=self.settings.whose or "dealer")
        return DealerProgram(identity, TOPOLOGY, **dict.fromkeys(self.settings.parts, self))

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        """Return the bytes of party 0 and 1."""
        check_shape(shape)
        return self.settings.prep_bytes(), self.settings.prep_bytes()

    def deal(
        self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, ...]
    ) -> Iterator[tuple[int, Buffer]]:
        """Yield one mask for each round, then the common bytes, in odd pieces."""
        for _ in range(self.settings.rounds):
            mask = bytearray(os.urandom(self.settings.round_bytes))
            yield 0, mask
            yield 1, mask
        time.sleep(self.settings.deal_pause)
        left = self.settings.extra + self.settings.deal_too_many
        while left:
            piece = memoryview(_COMMON)[:left]
            yield ALL, piece
            left -= len(piece)

    def begin(self, shape: SessionShape) -> DummyDealing:
        """Begin a generation."""
        check_generation(shape)
        return DummyDealing(self, shape)


@dataclass
class DummyDealing:
    """Deals the same for each pass as for a query, in the order of the passes."""

    dealer: DummyDealer
    shape: SessionShape
    due: int = 0

    def deal(
        self, order: Order, preparation: bytes, seeds: tuple[bytes, ...]
    ) -> Iterator[tuple[int, Buffer]]:
        """Yield one pass."""
        if order.index != self.due:
            raise ProtocolError(f"pass {order.index} was ordered where {self.due} is due")
        settings = self.dealer.settings
        for place, dealt in enumerate(self.dealer.deal(QueryShape(TASK, 1, 1), preparation, seeds)):
            if place == 2 and order.index == settings.halt_deal:
                halt(settings)
            yield dealt
        self.due += 1


@dataclass
class DummyParty:
    """Exchanges masked rounds, checks what comes, and returns its share of the query unchanged."""

    party: int
    settings: Settings = field(default_factory=Settings)
    used: list[bytes] = field(default_factory=list)

    def program(self) -> PartyProgram:
        """Return the program of a party's process."""
        identity = replace(self.settings.identity, role=self.settings.whose or f"party{self.party}")
        return PartyProgram(identity, TOPOLOGY, self.party, **dict.fromkeys(self.settings.parts, self))

    def sizes(self, shape: QueryShape) -> QuerySizes:
        """Refuse a task that is not ours."""
        check_shape(shape)
        size = answer_bytes(shape)
        return QuerySizes(size, size)

    def stock_sizes(self, shape: QueryShape) -> StockSizes:
        """The same for every shape."""
        check_shape(shape)
        return StockSizes(self.settings.prep_bytes(), self.settings.precomputed)

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, room: memoryview) -> None:
        """Compute something that only this preparation gives."""
        settings = self.settings
        if settings.fail_prepare and self.party == settings.fail_party:
            raise IntegrityError("told to fail ahead")
        masks = [prep.read(settings.round_bytes) for _ in range(settings.rounds)]
        room[:] = digest(seed, masks, settings.precomputed)

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        """Return our share; every round proves that both hold the same preparation."""
        assert stock is not None
        masks: list[memoryview] = []
        prep, settings, link = stock.source, self.settings, channel.to(1 - self.party)
        self.used.append(stock.seed)
        for round_ in range(settings.rounds):
            self._misbehave(round_)
            mask = prep.read(settings.round_bytes)
            masks.append(mask)
            expect = settings.round_bytes + (settings.expect_more if self.party == 0 else 0)
            if bytes(exchanged(link, mask, expect)) != bytes(mask):  # views are compared byte by byte
                raise IntegrityError(f"round {round_}: the masks differ")
        if bytes(stock.precomputed) != digest(stock.seed, masks, settings.precomputed):
            raise IntegrityError("what was computed ahead is not of this preparation")
        prep.read(settings.extra - settings.leave_unread)
        return bytes(query)

    def begin(self, shape: SessionShape) -> DummyGeneration:
        """Begin a generation."""
        check_generation(shape)
        return DummyGeneration(self, shape)

    def _misbehave(self, round_: int) -> None:
        settings = self.settings
        if round_ == settings.fail_at and self.party == settings.fail_party:
            raise IntegrityError("told to fail")
        if round_ == settings.halt_at and self.party == settings.halt_party:
            halt(settings)


@dataclass
class DummyPrepared:
    """A pass that is prepared ahead; it is evaluated only once it is whole."""

    generation: DummyGeneration
    order: Order
    seed: bytes
    masks: list[memoryview] = field(default_factory=list)
    ended: Event = field(default_factory=Event)
    error: PrivinfError | None = None
    waited: float = 0.0

    def fill(self, prep: Source, most: int) -> None:
        """Read all of a pass, in pieces that are not the dealer's."""
        self.generation.fill(self, prep)
        self.ended.set()

    def fail(self, error: PrivinfError) -> None:
        """Give up."""
        self.error = error
        self.ended.set()

    def whole(self) -> list[memoryview]:
        """Wait for the masks."""
        self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.masks


@dataclass
class DummyGeneration:
    """Returns shares unchanged; a part of the prompt that is not its last has neither rounds nor a result."""

    program: DummyParty
    shape: SessionShape
    journal: Callable[[str], None] | None = None
    ordered: int = 0
    prepared: int = 0
    passes: int = 0
    rounds: int = 0
    rows: int = 0  # of the pass before
    kept: list[tuple[int, ...]] = field(default_factory=list)
    retired: list[tuple[int, ...]] = field(default_factory=list)

    def order(self) -> Order:
        """Retire the oldest slot from the third pass on."""
        index, settings = self.ordered, self.program.settings
        if index >= settings.passes:
            raise InputError(f"a generation has at most {settings.passes} passes")
        self.ordered += 1
        return Order(index, (0,) if index > 1 and settings.retires else ())

    def prepare(self, order: Order, preparation: bytes, seed: bytes) -> DummyPrepared:
        """Expect a pass."""
        return DummyPrepared(self, order, seed)

    def fill(self, prepared: DummyPrepared, prep: Source) -> None:
        """Read all of a pass, in pieces that are not the dealer's."""
        settings, index = self.program.settings, prepared.order.index
        if index != self.prepared:
            raise ProtocolError(f"pass {index} is dealt where {self.prepared} is due")
        if settings.fail_prepare and self.program.party == settings.fail_party:
            raise IntegrityError("told to fail ahead")
        self.prepared += 1
        prepared.masks += [prep.read(settings.round_bytes) for _ in range(settings.rounds)]
        left, piece = settings.extra - settings.leave_unread, (1 << 20) - 1
        for taken in range(0, left, piece):
            prep.read(min(piece, left - taken))

    def query_bytes(self, index: int) -> int:
        """Return the size of a pass's query share."""
        return 8 * self.shape.rows

    def result_bytes(self, index: int) -> int:
        """Return the size of a pass's result share."""
        return self.query_bytes(index) if index >= parts(self.shape) - 1 else 0

    def evaluate(self, advance: Advance, query: memoryview, prepared: PassIntake, channel: Channel) -> bytes:
        """Return our share; every round proves that both hold the same preparation of the same pass."""
        assert isinstance(prepared, DummyPrepared)
        index, self.passes = self.passes, self.passes + 1
        if prepared.order.index != index:
            raise IntegrityError("the preparation is of another pass")
        if len(advance.kept) > self.rows:
            raise ProtocolError(f"pass {index}: {len(advance.kept)} rows kept of {self.rows}")
        self._note(advance.kept, prepared)
        if not self.result_bytes(index):
            return b""
        for mask in prepared.whole():
            self._round(mask, channel.to(1 - self.program.party))
        return bytes(query) + bytes(self.program.settings.wrong_result)

    def _note(self, kept: tuple[int, ...], prepared: DummyPrepared) -> None:
        self.program.used.append(prepared.seed)
        self.rows = self.shape.rows
        self.kept.append(kept)
        self.retired.append(prepared.order.retired)

    def _round(self, mask: memoryview, link: Link) -> None:
        round_, self.rounds = self.rounds, self.rounds + 1
        self.program._misbehave(round_)
        expect = len(mask) + (self.program.settings.expect_more if self.program.party == 0 else 0)
        if bytes(exchanged(link, mask, expect)) != bytes(mask):
            raise IntegrityError(f"round {round_}: the masks differ")
        if self.journal is not None:
            self.journal(f"wire{round_} 8 ({len(mask)},)")


def halt(settings: Settings) -> None:
    """Say that this point is reached, and wait for the gate to vanish."""
    gate = Path(settings.gate)
    gate.with_suffix(".reached").touch()
    while gate.exists():
        time.sleep(0.01)


def parts(shape: SessionShape) -> int:
    """Return how many passes a prompt takes."""
    return -(-shape.prompt // PART)


def check_generation(shape: SessionShape) -> None:
    """Refuse a task that is not ours."""
    if shape.task != TASK:
        raise InputError(f"there is no task {shape.task}")


def digest(seed: bytes, masks: list[memoryview], nbytes: int) -> bytes:
    """Return what both stages can compute."""
    return hashlib.shake_128(seed + b"".join(bytes(mask[:64]) for mask in masks)).digest(nbytes)


def check_shape(shape: QueryShape) -> None:
    """Refuse a task that is not ours."""
    if shape.task != TASK:
        raise InputError(f"there is no task {shape.task}")


def variant(settings: Settings, **changes: object) -> Settings:
    """Return other settings."""
    return replace(settings, **changes)  # type: ignore[arg-type]
