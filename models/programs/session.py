"""One generation at the dealer and at a party: preparations pass after pass, and their evaluation behind them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from privinf.errors import ProtocolError
from privinf.models.cache._ledger import Ledger, Slot, keep
from privinf.models.cache._store import AT_DEALER, AT_PARTY, Cache
from privinf.models.engines.stores import DealerStore, PartyStore
from privinf.models.programs.intake import Intake, Stage
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.passes import Shadow, run_pass
from privinf.models.programs.public import PRIVATE, Public
from privinf.models.programs.stream import streamed
from privinf.models.programs.wire import answered, parse
from privinf.protocols.contract import Advance, Channel, Dealt, Order, PassIntake, SessionShape, Source
from privinf.protocols.masked.ahead import Ahead, Kept
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.party import Party


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


class PartyGeneration:
    """One generation at one party."""

    def __init__(
        self, layout: SessionLayout, shape: SessionShape, party: int, store: PartyStore | None, public: Public
    ) -> None:
        self.journal: Callable[[str], None] | None = None
        self._party, self._store, self._public = party, store, public
        self._shadow = Shadow(layout, shape)
        self._ledger, self._cache = Ledger(layout, shape), Cache(layout.spec.layers, AT_PARTY)
        self._lock, self._stage = threading.Lock(), Stage()
        self._rejected: set[Slot] = set()  # ruled out and not yet dropped by an order

    def order(self) -> Order:
        """Drop what has been ruled out by now; InputError where the pass would not fit all the same."""
        ledger = self._shadow.ledger
        with self._lock:
            gone = [place for place, slot in enumerate(ledger.slots) if slot in self._rejected]
        ledger.require_room(len(gone))
        return Order(ledger.index, tuple(gone))

    def prepare(self, order: Order, preparation: bytes, seed: bytes) -> Intake:
        """Expect a pass; as its preparation comes, its masks are multiplied with weights."""

        def read(prep: Source, kept: Kept) -> None:
            self._shadow.run(Ahead(self._party, seed, prep, kept, self._store), order, self._public)

        return Intake(order, pass_id(preparation, order.index), seed, read, self._stage)

    def query_bytes(self, index: int) -> int:
        return self._ledger.layout.form(self._ledger.shape, index).nbytes(self._party)

    def result_bytes(self, index: int) -> int:
        return self._ledger.layout.result(self._ledger.shape, index).answer_bytes

    def evaluate(self, advance: Advance, query: memoryview, prepared: PassIntake, channel: Channel) -> bytes:
        """Run the next pass on shares."""
        assert isinstance(prepared, Intake)
        self._stage.begin()
        try:
            return self._evaluated(advance, query, prepared, channel)
        finally:
            self._stage.end()

    def _evaluated(self, advance: Advance, query: memoryview, prepared: Intake, channel: Channel) -> bytes:
        ledger = self._ledger
        ledger.require(advance)
        self._drop(advance.kept, prepared.order)
        step = ledger.step(self._cache.excluded, advance.after)
        shares = parse(ledger.layout.form(ledger.shape, ledger.index), self._party, query)
        tape, notes, link = prepared.tape, prepared.notes, channel.to(1 - self._party)
        ctx = Party(self._party, prepared.preparation, prepared.seed, tape, link, self._store, notes)
        ctx.journal = self.journal
        result = run_pass(ctx, ledger, step, self._cache, shares, self._public)
        prepared.close()
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
