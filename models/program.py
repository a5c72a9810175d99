"""What each role runs for an encoder: preparation, evaluation, the fixed interpreter, declared costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from privinf.models.embedded import Embedded
from privinf.models.encoder_inputs import SharedQuery, padding, take_private, take_public
from privinf.models.engines.masked import MaskedOps, Sight
from privinf.models.engines.weights import weights_of
from privinf.models.parts import planned
from privinf.models.plan.scales import POST
from privinf.models.query import Layout, arrange, parse
from privinf.models.stream import streamed
from privinf.models.tasks import TASKS
from privinf.models.weights import DealerStore, IdealStore, PartyStore, ShapeStore
from privinf.protocols import ring
from privinf.protocols.contract import (
    Channel,
    Dealt,
    QueryShape,
    QuerySizes,
    Source,
    Stock,
)
from privinf.protocols.masked.ahead import Ahead, Precomputed
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import F64, U64, Shape

Public = Mapping[str, U64] | None


def embedded(layout: Layout, public: Public) -> Embedded | None:
    """The embeddings of public weights, for a role that computes with them."""
    if public is None:
        return None
    return Embedded(public["embed.token"], public["embed.position"], planned(layout.plan.embed_norm))


def run_model(
    ctx: Interpreter,
    layout: Layout,
    shape: QueryShape,
    query: SharedQuery,
    public: Public,
    tables: Embedded | None = None,
) -> Share:
    """The model's program: the same for every interpreter."""
    norm = planned(layout.plan.embed_norm)
    with ctx.scope("embed"):
        if public is None:
            rows, real = take_private(
                ctx, norm, query, ctx.weight("embed.token"), ctx.weight("embed.position")
            )
        else:
            rows, real = take_public(ctx, norm, query, tables)
    model, weights = layout.model, weights_of(public, POST.of)
    ops = MaskedOps(ctx, weights, model.scales, Sight(padding(ctx, real)), real=real)
    result: Share = TASKS[shape.task](ops, model, rows)
    ctx.flush()
    return result


def _empty(layout: Layout, shape: QueryShape) -> SharedQuery:
    return arrange(layout, shape, None, None)


def count(layout: Layout, shape: QueryShape, shapes: Mapping[str, Shape], public: Public) -> Counting:
    """Declared rounds and bytes of one query."""
    ctx = Counting(ShapeStore(shapes))
    run_model(ctx, layout, shape, _empty(layout, shape), public)
    return ctx


def fixed(
    layout: Layout,
    shape: QueryShape,
    query: SharedQuery,
    seeds: tuple[bytes, bytes],
    encoded: Mapping[str, U64],
    store: IdealStore | None = None,
    tables: Embedded | None = None,
) -> F64:
    """The answer of the fixed interpreter: equal to the shares' sum bit for bit under the same seeds.

    `store` and `tables` are what it makes of encoded weights, for who asks more than once.
    """
    ctx = Ideal(seeds, store or IdealStore(encoded))
    public = encoded if layout.public else None
    result = run_model(ctx, layout, shape, query, public, tables or embedded(layout, public))
    field = layout.result(shape)
    return ring.decode(result.value, field.scale, field.bits)[:, 0]


class EncoderDealer:
    """What the dealer deals for queries."""

    def __init__(
        self,
        layout: Layout,
        shapes: Mapping[str, Shape],
        store: DealerStore | None,
        public: Public = None,
    ) -> None:
        self._layout, self._shapes, self._store, self._public = layout, shapes, store, public
        self._sizes: dict[QueryShape, tuple[int, int]] = {}

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        self._layout.check(shape)
        if shape not in self._sizes:
            total = count(self._layout, shape, self._shapes, self._public).tally.total()
            self._sizes[shape] = total.prep0, total.prep1
        return self._sizes[shape]

    def deal(self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, ...]) -> Iterator[Dealt]:
        """Generation runs in a thread of its own, a bounded number of chunks ahead of delivery."""
        self._layout.check(shape)

        def produce(write: Any) -> None:
            ctx = Dealer(preparation, (seeds[0], seeds[1]), write, self._store)
            run_model(ctx, self._layout, shape, _empty(self._layout, shape), self._public)

        return streamed(produce)


class EncoderParty:
    """How a party answers queries."""

    def __init__(
        self,
        party: int,
        layout: Layout,
        shapes: Mapping[str, Shape],
        store: PartyStore | None,
        public: Public = None,
    ) -> None:
        self.party = party
        self._layout, self._shapes, self._store, self._public = layout, shapes, store, public
        self._tables = embedded(layout, public)
        self._sizes: dict[QueryShape, QuerySizes] = {}

    def sizes(self, shape: QueryShape) -> QuerySizes:
        self._layout.check(shape)
        if shape not in self._sizes:
            cost = count(self._layout, shape, self._shapes, self._public).tally.total()
            self._sizes[shape] = QuerySizes(
                self._layout.query_bytes(shape, self.party),
                self._layout.result(shape).nbytes,
                (cost.prep0, cost.prep1)[self.party],
                cost.precomputed,
            )
        return self._sizes[shape]

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, room: memoryview) -> None:
        if self._tables is not None:
            self._tables.prepared(shape.tokens)
        ctx = Ahead(self.party, seed, prep, Precomputed(room), self._store)
        run_model(ctx, self._layout, shape, _empty(self._layout, shape), self._public)

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        assert stock is not None
        link, room = channel.to(1 - self.party), Precomputed(stock.precomputed)
        ctx = Party(self.party, stock.preparation, stock.seed, stock.source, link, self._store, room)
        given = parse(self._layout, shape, self.party, query)
        share = run_model(ctx, self._layout, shape, given, self._public, self._tables)
        return bytes(ring.pack(share.value, self._layout.result(shape).bits))
