"""One pass of a decoder in every interpreter, and sessions of those that need no process: shapes, fixed, costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from privinf.models import decoder_query as wire
from privinf.models.cache import IN_FIXED, NOTHING, Cache, Held, Keeps
from privinf.models.decoder_inputs import Inputs
from privinf.models.decoder_layout import DecoderLayout, Rows
from privinf.models.decoder_ledger import Ledger, keep
from privinf.models.decoder_public import Public
from privinf.models.decoder_step import DecoderQuery, Step
from privinf.models.engines.masked import Angles, MaskedOps, Sight
from privinf.models.engines.weights import weights_of
from privinf.models.orders import pre
from privinf.models.plan.scales import PRE
from privinf.models.tasks import predict
from privinf.models.weights import IdealStore, ShapeStore
from privinf.protocols.contract import Advance, Order, SessionShape
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, map_share
from privinf.protocols.ring import U64, Shape


def run_pass(
    ctx: Interpreter, ledger: Ledger, step: Step, cache: Cache, query: DecoderQuery, public: Public
) -> Share | None:
    """The model's program for one pass: the same for every interpreter."""
    layout, shape, model = ledger.layout, ledger.shape, ledger.layout.model
    with ctx.scope("embed"):
        taken = Inputs(ctx, layout.spec, layout.plan, step, public).take(query)
    prefix = len(layout.plan.prefix) if step.first else 0
    pads = _behind(taken.pads, prefix)
    if taken.rejected is not None:
        cache.reject(taken.rejected)
    ops = MaskedOps(
        ctx,
        weights_of(public.weights, PRE.of),
        model.scales,
        Sight(cache.with_pads(step.rows, pads), step.hidden),
        angles=Angles(step.places, taken.advanced, taken.moved),
        memory=Held(cache, step.first),
        likeliest=shape.task.startswith("argmax"),
    )
    outputs, result = layout.outputs(shape, ledger.index), None
    if outputs:
        result = predict(ops, model, taken.rows, outputs)
    else:
        pre.run(ops, model, taken.rows)
    ctx.flush()
    cache.settle(prefix + step.rows, pads)
    return result


def _behind(pads: Share | None, prefix: int) -> Share | None:
    """What is padding, of all slots there are from the first pass on: the prefix is none."""
    if pads is None or not prefix:
        return pads
    zeros = np.zeros((*pads.shape[:-1], prefix), dtype=np.uint64)
    shape = (*pads.shape[:-1], prefix + pads.shape[-1])
    return map_share(pads, shape, lambda v: np.concatenate((zeros, v), axis=-1))


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
    layout: DecoderLayout, shape: SessionShape, passes: int, shapes: Mapping[str, Shape]
) -> list[Counting]:
    """Declared rounds and bytes of a session's first passes, none of whose slots is dropped."""
    shadow, counted = Shadow(layout, shape), []
    public = Public.blank(shapes, layout.public, layout.embedded)
    for index in range(passes):
        ctx = Counting(ShapeStore(shapes, PRE.of))
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
    ) -> None:
        layout.check(shape)
        self.ledger, self.cache = Ledger(layout, shape), Cache(layout.spec.layers, IN_FIXED)
        self._store = store
        self._public = Public.of(encoded, layout.public, layout.embedded)

    def run(
        self, advance: Advance, rows: Rows, seeds: tuple[bytes, bytes], retired: tuple[int, ...] = ()
    ) -> U64 | None:
        """The ring elements of the next pass's answer."""
        ledger = self.ledger
        ledger.require(advance)
        keep(ledger, self.cache, advance.kept)
        ledger.retire(Order(ledger.index, retired))
        self.cache.retire(retired)
        query = wire.plain(ledger.layout, ledger.shape, ledger.index, rows)
        ctx = Ideal(seeds, self._store)
        step = ledger.step(self.cache.excluded, advance.after)
        result = run_pass(ctx, ledger, step, self.cache, query, self._public)
        ledger.write(advance.after)
        return None if result is None else result.value
