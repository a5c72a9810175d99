"""What each role runs for a decoder, pass after pass: preparation, evaluation, fixed interpreter, declared costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models import decoder_query as wire
from privinf.models.cache import AT_DEALER, AT_PARTY, IN_FIXED, NOTHING, Cache, Keeps
from privinf.models.decoder import extend, predict
from privinf.models.decoder_answers import ANSWERS
from privinf.models.decoder_plan import decoder_scale
from privinf.models.decoder_query import DecoderLayout, Rows
from privinf.models.decoder_shared import DecoderQuery, SharedDecoder, Step
from privinf.models.stream import streamed
from privinf.models.weights import DealerStore, IdealStore, PartyStore, ShapeStore
from privinf.protocols import ring
from privinf.protocols.ahead import Ahead
from privinf.protocols.counting import Counting
from privinf.protocols.dealer import Dealer
from privinf.protocols.ideal import Ideal
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.party import Party
from privinf.protocols.program import (
    Channel,
    DealerSession,
    Dealt,
    Identity,
    Order,
    PartySession,
    QueryShape,
    SessionShape,
    Source,
)
from privinf.protocols.ring import F64, U64, Shape
from privinf.protocols.wires import Share

Public = Mapping[str, U64] | None
Slot = tuple[int, int]  # pass and row: a slot's name, which no other slot ever has
NO_ENCODER = "this model is a decoder: it generates"


@dataclass
class Ledger:
    """Which slots a session's passes have written, dropped and ruled out, and where the next row stands."""

    layout: DecoderLayout
    shape: SessionShape
    slots: list[Slot] = field(default_factory=list)
    index: int = 0  # of the next pass
    start: int = 0  # position of its first row

    def __post_init__(self) -> None:
        prefix = len(self.layout.plan.prefix)
        self.start = prefix

    @property
    def rows(self) -> int:
        """Rows of the next pass."""
        return self.layout.rows(self.shape, self.index)

    def retire(self, order: Order) -> list[Slot]:
        """Take out what an order drops; raise an error where it names what is not there, or nothing fits."""
        gone = order.retired
        if order.index != self.index:
            raise ProtocolError(f"an order for pass {order.index} where pass {self.index} is next")
        if list(gone) != sorted(set(gone)) or (gone and not 0 <= gone[0] <= gone[-1] < len(self.slots)):
            raise ProtocolError("an order drops slots that are not there")
        dropped = [self.slots[place] for place in gone]
        if any(row < 0 for _, row in dropped):
            raise ProtocolError("an order drops a slot of the prefix")
        self.require_room(len(gone))
        self.slots = [slot for place, slot in enumerate(self.slots) if place not in set(gone)]
        return dropped

    def write(self) -> None:
        """The next pass has been run."""
        if self.index == 0:
            self.slots += [(0, -1 - place) for place in range(len(self.layout.plan.prefix))]
        self.slots += [(self.index, row) for row in range(self.rows)]
        self.index += 1

    def require_room(self, dropped: int) -> None:
        """Raise InputError unless the next pass fits once so many slots are dropped."""
        prefix = 0 if self.index else len(self.layout.plan.prefix)
        if len(self.slots) - dropped + prefix + self.rows > self.layout.plan.max_tokens:
            raise InputError(f"the session is full: it holds {self.layout.plan.max_tokens} tokens")

    def step(self, excluded: npt.NDArray[np.bool_] | None = None) -> Step:
        """The next pass, of whose earlier slots some are ruled out."""
        rows, before = self.rows, len(self.slots)
        if self.index == 0:
            before = len(self.layout.plan.prefix)
        hidden = np.zeros((rows, before + rows), dtype=bool)
        if excluded is not None:
            hidden[:, : len(excluded)] = excluded
        hidden[:, before:] = np.triu(np.ones((rows, rows), dtype=bool), 1)
        return Step(np.arange(self.start, self.start + rows), hidden, self.index == 0)


def run_pass(
    ctx: Interpreter, ledger: Ledger, step: Step, cache: Cache, query: DecoderQuery, public: Public
) -> Share | None:
    """The model's program for one pass: the same for every interpreter."""
    layout, shape = ledger.layout, ledger.shape
    ops = SharedDecoder(
        ctx, layout.spec, layout.plan, step, cache, ANSWERS[shape.task.removesuffix(wire.PADDED)], public
    )
    outputs = layout.outputs(shape, ledger.index)
    result = None
    if outputs:
        result = predict(ops, layout.spec, query, outputs)
    else:
        extend(ops, layout.spec, query)
    ctx.flush()
    ops.settle()
    return result


class Shadow:
    """A session on shapes alone: what roles that run ahead know of the cache."""

    def __init__(self, layout: DecoderLayout, shape: SessionShape, keeps: Keeps = NOTHING) -> None:
        layout.check(shape)
        self.ledger = Ledger(layout, shape)
        self.cache = Cache(layout.spec.layers, keeps)

    def run(self, ctx: Interpreter, order: Order, public: Public) -> None:
        """Follow one pass; whatever positions and exclusions it has, its shape is the same."""
        ledger = self.ledger
        ledger.retire(order)
        self.cache.retire(order.retired)
        query = wire.empty(ledger.layout, ledger.shape, ledger.index)
        run_pass(ctx, ledger, ledger.step(), self.cache, query, public)
        ledger.write()


def count(
    layout: DecoderLayout, shape: SessionShape, passes: int, shapes: Mapping[str, Shape], public: Public
) -> list[Counting]:
    """Declared rounds and bytes of a session's first passes, none of whose slots is dropped."""
    shadow, counted = Shadow(layout, shape), []
    for index in range(passes):
        ctx = Counting(ShapeStore(shapes, decoder_scale))
        shadow.run(ctx, Order(index), public)
        counted.append(ctx)
    return counted


class FixedSession:
    """A generation in the fixed interpreter: equal to the shares' sum bit for bit under the same seeds."""

    def __init__(
        self,
        layout: DecoderLayout,
        shape: SessionShape,
        store: IdealStore,
        encoded: Mapping[str, U64],
        embeddings: Mapping[str, F64] | None = None,
    ) -> None:
        layout.check(shape)
        self.ledger, self.cache = Ledger(layout, shape), Cache(layout.spec.layers, IN_FIXED)
        self._store, self._embeddings = store, embeddings
        self._public = encoded if layout.public else None

    def run(
        self, kept: int, rows: Rows, seeds: tuple[bytes, bytes], retired: tuple[int, ...] = ()
    ) -> U64 | None:
        """The ring elements of the next pass's answer."""
        ledger = self.ledger
        _keep(ledger, self.cache, kept)
        ledger.retire(Order(ledger.index, retired))
        self.cache.retire(retired)
        query = wire.plain(ledger.layout, ledger.shape, ledger.index, rows, self._embeddings)
        ctx = Ideal(seeds, self._store)
        step = ledger.step(self.cache.excluded)
        result = run_pass(ctx, ledger, step, self.cache, query, self._public)
        ledger.write()
        return None if result is None else result.value


def _keep(ledger: Ledger, cache: Cache, kept: int) -> list[Slot]:
    """Rule out the rows of the pass before from `kept` on; return their slots."""
    if ledger.index == 0:
        if kept:
            raise ProtocolError("nothing can be kept before the first pass")
        return []
    before = ledger.layout.rows(ledger.shape, ledger.index - 1)
    prompt = ledger.index <= ledger.layout.passes(ledger.shape)
    whole = prompt or ledger.layout.padded(ledger.shape)
    if not (kept == before if whole else 1 <= kept <= before):
        raise ProtocolError(f"{kept} rows of {before} cannot be kept")
    ledger.start += kept
    out = [(ledger.index - 1, row) for row in range(kept, before)]
    cache.exclude([ledger.slots.index(slot) for slot in out])
    return out


class DecoderDealerSession:
    """One generation at the dealer."""

    def __init__(
        self, layout: DecoderLayout, shape: SessionShape, store: DealerStore | None, public: Public
    ) -> None:
        self._shadow = Shadow(layout, shape, AT_DEALER)
        self._store, self._public = store, public

    def deal(self, order: Order, seeds: tuple[bytes, bytes]) -> Iterator[Dealt]:
        """Generation runs in a thread of its own, a bounded number of chunks ahead of delivery."""

        def produce(write: Callable[[int, Any], None]) -> None:
            self._shadow.run(Dealer(seeds, write, self._store), order, self._public)

        return streamed(produce)


@dataclass(frozen=True)
class PreparedPass:
    """A pass's preparation in memory, and what was computed of it ahead."""

    order: Order
    seed: bytes = field(repr=False)
    tape: bytes = field(repr=False)
    results: list[U64] = field(repr=False)


class DecoderPartySession:
    """One generation at one party."""

    def __init__(
        self, layout: DecoderLayout, shape: SessionShape, party: int, store: PartyStore | None, public: Public
    ) -> None:
        self.journal: Callable[[str], None] | None = None
        self._party, self._store, self._public = party, store, public
        self._shadow = Shadow(layout, shape)
        self._ledger, self._cache = Ledger(layout, shape), Cache(layout.spec.layers, AT_PARTY)
        self._lock = threading.Lock()
        self._rejected: set[Slot] = set()  # ruled out and not yet dropped by an order

    def order(self) -> Order:
        """Drop what has been ruled out by now; InputError where the pass would not fit all the same."""
        ledger = self._shadow.ledger
        with self._lock:
            gone = [place for place, slot in enumerate(ledger.slots) if slot in self._rejected]
        ledger.require_room(len(gone))
        return Order(ledger.index, tuple(gone))

    def prepare(self, order: Order, prep: Source, seed: bytes) -> PreparedPass:
        """Read the preparation, and multiply its masks with weights as they come."""
        tape, notes = _Recorder(prep), _Notes()
        self._shadow.run(Ahead(self._party, seed, tape, notes, self._store), order, self._public)
        return PreparedPass(order, seed, b"".join(tape.pieces), notes.results)

    def query_bytes(self, index: int) -> int:
        return self._ledger.layout.query_bytes(self._ledger.shape, index, self._party)

    def result_bytes(self, index: int) -> int:
        return self._ledger.layout.result(self._ledger.shape, index).nbytes

    def evaluate(self, kept: int, query: memoryview, prepared: object, channel: Channel) -> bytes:
        """Run the next pass on shares."""
        assert isinstance(prepared, PreparedPass)
        ledger = self._ledger
        self._drop(kept, prepared.order)
        shares = wire.parse(ledger.layout, ledger.shape, ledger.index, self._party, query)
        tape = _Tape(prepared.tape)
        ctx = Party(self._party, prepared.seed, tape, channel, self._store, _Notes(prepared.results))
        ctx.journal = self.journal
        result = run_pass(ctx, ledger, ledger.step(self._cache.excluded), self._cache, shares, self._public)
        if tape.left:
            raise ProtocolError(f"{tape.left} bytes of the preparation were not used")
        field_ = ledger.layout.result(ledger.shape, ledger.index)
        ledger.write()
        return b"" if result is None else bytes(ring.pack(result.value, field_.bits))

    def _drop(self, kept: int, order: Order) -> None:
        """Rule out what the client did not keep, then drop what the order says: only what is ruled out may go."""
        out = _keep(self._ledger, self._cache, kept)
        dropped = set(self._ledger.retire(order))
        with self._lock:
            self._rejected |= set(out)
            if not dropped <= self._rejected:
                raise ProtocolError("an order drops slots that are in use")
            self._rejected -= dropped
        self._cache.retire(order.retired)


class _Recorder:
    """Passes a preparation on as it comes, and keeps it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.pieces: list[memoryview] = []

    def read(self, nbytes: int) -> memoryview:
        piece = self._source.read(nbytes)
        self.pieces.append(piece)
        return piece


class _Tape:
    """A preparation in memory, read in program order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def read(self, nbytes: int) -> memoryview:
        piece = self._data[self._at : self._at + nbytes]
        if len(piece) != nbytes:
            raise ProtocolError("the preparation ends before the program does")
        self._at += nbytes
        return piece

    @property
    def left(self) -> int:
        return len(self._data) - self._at


class _Notes:
    """Results computed ahead, in program order: written at first, then read."""

    def __init__(self, results: list[U64] | None = None) -> None:
        self.results: list[U64] = [] if results is None else results
        self._stored = None if results is None else iter(results)

    def next(self, shape: Shape) -> U64:
        if self._stored is not None:
            return next(self._stored)
        self.results.append(np.empty(shape, dtype=np.uint64))
        return self.results[-1]


class DecoderDealer:
    """The dealer's program."""

    def __init__(
        self, identity: Identity, layout: DecoderLayout, store: DealerStore | None, public: Public = None
    ) -> None:
        self.identity = identity
        self._layout, self._store, self._public = layout, store, public

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        _refuse()

    def deal(self, shape: QueryShape, seeds: tuple[bytes, bytes]) -> Iterator[Dealt]:
        _refuse()

    def begin(self, shape: SessionShape) -> DealerSession:
        return DecoderDealerSession(self._layout, shape, self._store, self._public)


class DecoderParty:
    """A party's program."""

    def __init__(
        self,
        identity: Identity,
        party: int,
        layout: DecoderLayout,
        store: PartyStore | None,
        public: Public = None,
    ) -> None:
        self.identity, self.party = identity, party
        self._layout, self._store, self._public = layout, store, public

    def begin(self, shape: SessionShape) -> PartySession:
        return DecoderPartySession(self._layout, shape, self.party, self._store, self._public)

    def check(self, shape: QueryShape) -> None:
        _refuse()

    def query_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def result_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def prep_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def aside_bytes(self, shape: QueryShape) -> int:
        _refuse()

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, aside: memoryview) -> None:
        _refuse()

    def evaluate(
        self,
        shape: QueryShape,
        query: memoryview,
        prep: Source,
        aside: memoryview,
        seed: bytes,
        channel: Channel,
    ) -> bytes:
        _refuse()


def _refuse() -> NoReturn:
    raise InputError(NO_ENCODER)
