"""One generation at the dealer and at a party: preparations pass after pass, and their evaluation behind them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from privinf.errors import ProtocolError
from privinf.models.cache._ledger import Ledger, Slot, keep
from privinf.models.cache._store import AT_DEALER, AT_PARTY, Cache
from privinf.models.engines.stores import DealerStore, PartyStore
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.passes import Shadow, run_pass
from privinf.models.programs.public import PRIVATE, Public
from privinf.models.programs.stream import streamed
from privinf.models.programs.wire import answered, parse
from privinf.protocols.contract import Advance, Channel, Dealt, Order, SessionShape, Source
from privinf.protocols.masked.ahead import Ahead
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.party import Party
from privinf.protocols.ring import U64, Shape


def pass_id(preparation: bytes, index: int) -> bytes:
    """The name of one pass's preparation within its generation's."""
    return preparation + index.to_bytes(4, "big")


class DealerGeneration:
    """One generation at the dealer."""

    def __init__(self, layout: SessionLayout, shape: SessionShape, store: DealerStore | None) -> None:
        self._shadow = Shadow(layout, shape, AT_DEALER)
        self._store, self._public = store, Public.blank(layout)

    def deal(self, order: Order, preparation: bytes, seeds: tuple[bytes, ...]) -> Iterator[Dealt]:
        """Generation runs in a thread of its own, a bounded number of chunks ahead of delivery."""

        def produce(write: Callable[[int, Any], None]) -> None:
            ctx = Dealer(pass_id(preparation, order.index), (seeds[0], seeds[1]), write, self._store)
            self._shadow.run(ctx, order, self._public)

        return streamed(produce)


@dataclass(frozen=True)
class PreparedPass:
    """A pass's preparation in memory, and what was computed of it ahead."""

    order: Order
    preparation: bytes
    seed: bytes = field(repr=False)
    tape: _Tape = field(repr=False)
    results: list[U64] = field(repr=False)


class PartyGeneration:
    """One generation at one party."""

    def __init__(
        self, layout: SessionLayout, shape: SessionShape, party: int, store: PartyStore | None, public: Public
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

    def prepare(self, order: Order, preparation: bytes, prep: Source, seed: bytes) -> PreparedPass:
        """Read the preparation, and multiply its masks with weights as they come."""
        tape, notes = _Recorder(prep), _Notes()
        self._shadow.run(Ahead(self._party, seed, tape, notes, self._store), order, self._public)
        return PreparedPass(order, pass_id(preparation, order.index), seed, _Tape(tape.pieces), notes.results)

    def query_bytes(self, index: int) -> int:
        return self._ledger.layout.form(self._ledger.shape, index).nbytes(self._party)

    def result_bytes(self, index: int) -> int:
        return self._ledger.layout.result(self._ledger.shape, index).answer_bytes

    def evaluate(self, advance: Advance, query: memoryview, prepared: object, channel: Channel) -> bytes:
        """Run the next pass on shares."""
        assert isinstance(prepared, PreparedPass)
        ledger = self._ledger
        ledger.require(advance)
        self._drop(advance.kept, prepared.order)
        step = ledger.step(self._cache.excluded, advance.after)
        shares = parse(ledger.layout.form(ledger.shape, ledger.index), self._party, query)
        tape = prepared.tape
        seed, notes, link = prepared.seed, _Notes(prepared.results), channel.to(1 - self._party)
        ctx = Party(self._party, prepared.preparation, seed, tape, link, self._store, notes)
        ctx.journal = self.journal
        result = run_pass(ctx, ledger, step, self._cache, shares, self._public)
        if tape.left:
            raise ProtocolError(f"{tape.left} bytes of the preparation were not used")
        field_ = ledger.layout.result(ledger.shape, ledger.index)
        ledger.write(advance.after)
        return b"" if result is None else answered(field_, *result)

    def _drop(self, kept: tuple[int, ...], order: Order) -> None:
        """Rule out what the client did not keep, then drop what the order says: only what is ruled out may go."""
        out = keep(self._ledger, self._cache, kept)
        dropped = set(self._ledger.retire(order))
        with self._lock:
            self._rejected |= set(out)
            if not dropped <= self._rejected:
                raise ProtocolError("an order drops slots that are in use")
            self._rejected -= dropped
        self._cache.retire(order.retired)


@dataclass(frozen=True)
class SessionDealer:
    """What the dealer deals for generations."""

    layout: SessionLayout
    store: DealerStore | None

    def begin(self, shape: SessionShape) -> DealerGeneration:
        return DealerGeneration(self.layout, shape, self.store)


@dataclass(frozen=True)
class SessionParty:
    """How a party generates."""

    party: int
    layout: SessionLayout
    store: PartyStore | None
    public: Public = PRIVATE

    def begin(self, shape: SessionShape) -> PartyGeneration:
        return PartyGeneration(self.layout, shape, self.party, self.store, self.public)


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
    """A preparation in memory, read in program order and let go as it is read."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = deque(piece for piece in pieces if len(piece))

    def read(self, nbytes: int) -> memoryview:
        """What was read when it came is mostly read in the same pieces again: those are not copied."""
        if self._pieces and len(self._pieces[0]) == nbytes:
            return self._pieces.popleft()
        copy, filled = memoryview(bytearray(nbytes)), 0
        while filled < nbytes:
            piece = self._next(nbytes - filled)
            copy[filled : filled + len(piece)] = piece
            filled += len(piece)
        return copy.toreadonly()

    def _next(self, most: int) -> memoryview:
        if not self._pieces:
            raise ProtocolError("the preparation ends before the program does")
        piece = self._pieces.popleft()
        if len(piece) > most:
            self._pieces.appendleft(piece[most:])
        return piece[:most]

    @property
    def left(self) -> int:
        return sum(map(len, self._pieces))


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
