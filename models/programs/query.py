"""What each role runs for whole texts and images: preparation, evaluation, the fixed interpreter, declared costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from privinf.models.asking import ask
from privinf.models.engines.masked import MaskedOps, Sight
from privinf.models.engines.stores import DealerStore, IdealStore, PartyStore, ShapeStore
from privinf.models.engines.weights import weights_of
from privinf.models.inputs import patches, texts
from privinf.models.programs.layout import ImageLayout, QueryLayout
from privinf.models.programs.public import PRIVATE, Public
from privinf.models.programs.stream import streamed
from privinf.models.programs.wire import Asked, answered, parse, within
from privinf.protocols import ring
from privinf.protocols.contract import Channel, Dealt, QueryShape, QuerySizes, Source, Stock, StockSizes
from privinf.protocols.cost import Cost
from privinf.protocols.masked.ahead import Ahead, Precomputed
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.gates.alarm import begin
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import F64


def run_model(ctx: Interpreter, layout: QueryLayout, query: Asked, public: Public) -> tuple[Share, Share]:
    """The model's program: the same for every interpreter. The second share is a bit: all ranges were kept."""
    begin(ctx)
    model, weights = layout.model, weights_of(public.weights, layout.scale)
    real = None
    with ctx.scope("embed"):
        if isinstance(layout, ImageLayout):
            rows: Share | Wire = patches.take(ctx, layout, query, weights)
        else:
            rows, real = texts.take(ctx, layout, query, public)
    sight = Sight(None if real is None else texts.padding(ctx, real))
    ops = MaskedOps(ctx, weights, model.scales, rows, sight, real=real)
    result = ask(ops, model)
    assert result is not None
    assert ops.in_range is not None
    ctx.flush()
    return result, ops.in_range


def follow(ctx: Interpreter, layout: QueryLayout, shape: QueryShape, public: Public) -> None:
    """The same for a role that follows shapes alone."""
    run_model(ctx, layout, layout.form(shape).asked({}), public)


def count(layout: QueryLayout, shape: QueryShape) -> Counting:
    """Declared rounds and bytes of one query."""
    ctx = Counting(ShapeStore(layout.masked, layout.scale))
    follow(ctx, layout, shape, Public.blank(layout))
    return ctx


def counter(layout: QueryLayout) -> Callable[[QueryShape], Cost]:
    """What queries cost together, counted once for each shape."""
    return cache(lambda shape: count(layout, shape).tally.total())


def fixed(
    layout: QueryLayout,
    shape: QueryShape,
    query: Asked,
    seeds: tuple[bytes, bytes],
    store: IdealStore,
    public: Public = PRIVATE,
) -> tuple[F64, bool]:
    """The answer of the fixed interpreter, and whether it would be given: all ranges were kept.

    Equal to the shares' sum bit for bit under the same seeds.
    """
    result, kept = run_model(Ideal(seeds, store), layout, query, public)
    field = layout.result(shape)
    said = bool(kept.value[0]) and within(field, result.value)
    return ring.decode(result.value, field.scale, field.bits)[:, 0], said


class QueryDealer:
    """What the dealer deals for queries."""

    def __init__(self, layout: QueryLayout, store: DealerStore | None) -> None:
        self._layout, self._store, self._public = layout, store, Public.blank(layout)
        self._cost = counter(layout)

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        self._layout.check(shape)
        cost = self._cost(shape)
        return cost.prep0, cost.prep1

    def deal(self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, ...]) -> Iterator[Dealt]:
        """Generation runs in a thread of its own, a bounded number of chunks ahead of delivery."""
        self._layout.check(shape)

        def produce(write: Any) -> None:
            ctx = Dealer(preparation, (seeds[0], seeds[1]), write, self._store)
            follow(ctx, self._layout, shape, self._public)

        return streamed(produce)


class QueryParty:
    """How a party answers queries."""

    def __init__(
        self, party: int, layout: QueryLayout, store: PartyStore | None, public: Public = PRIVATE
    ) -> None:
        self.party = party
        self._layout, self._store, self._public = layout, store, public
        self._cost = counter(layout)

    def sizes(self, shape: QueryShape) -> QuerySizes:
        self._layout.check(shape)
        return QuerySizes(
            self._layout.form(shape).nbytes(self.party), self._layout.result(shape).answer_bytes
        )

    def stock_sizes(self, shape: QueryShape) -> StockSizes:
        self._layout.check(shape)
        cost = self._cost(shape)
        return StockSizes((cost.prep0, cost.prep1)[self.party], cost.precomputed)

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, room: memoryview) -> None:
        if self._public.normalised is not None:
            self._public.normalised.prepared(shape.tokens)
        ctx = Ahead(self.party, seed, prep, Precomputed(room), self._store)
        follow(ctx, self._layout, shape, self._public)

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        assert stock is not None
        link, room = channel.to(1 - self.party), Precomputed(stock.precomputed)
        ctx = Party(self.party, stock.preparation, stock.seed, stock.source, link, self._store, room)
        given = parse(self._layout.form(shape), self.party, query)
        return answered(self._layout.result(shape), *run_model(ctx, self._layout, given, self._public))
