"""One pass of a decoder in every interpreter, and sessions of those that need no process: shapes, fixed, costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from privinf.models.asking import ask
from privinf.models.cache._ledger import Ledger, Step, keep
from privinf.models.cache._store import IN_FIXED, NOTHING, Cache, Held, Keeps
from privinf.models.engines.masked import MaskedOps, Sight
from privinf.models.engines.stores import IdealStore, ShapeStore
from privinf.models.engines.weights import weights_of
from privinf.models.inputs.rows import Inputs
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.public import Public
from privinf.models.programs.rows import Rows, plain
from privinf.models.programs.wire import Asked, within
from privinf.protocols.contract import Advance, Order, SessionShape
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates.alarm import begin
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, map_share
from privinf.protocols.ring import U64


def run_pass(
    ctx: Interpreter, ledger: Ledger, step: Step, cache: Cache, query: Asked, public: Public
) -> tuple[Share, Share] | None:
    """The model's program for one pass: the same for every interpreter. The second share is a bit: ranges were kept.

    What passes without an answer found is told with the next answer.
    """
    begin(ctx, cache.unsaid)
    layout, shape, model = ledger.layout, ledger.shape, ledger.layout.model
    with ctx.scope("embed"):
        taken = Inputs(ctx, layout, step.places, public).take(query)
    prefix = len(layout.plan.prefix) if step.first else 0
    pads = _behind(taken.pads, prefix)
    if taken.rejected is not None:
        cache.reject(taken.rejected)
    ops = MaskedOps(
        ctx,
        weights_of(public.weights, layout.scale),
        model.scales,
        taken.rows,
        Sight(cache.with_pads(step.rows, pads), step.hidden),
        angles=taken.angles,
        memory=Held(cache, step.first),
        likeliest=shape.task.startswith("argmax"),
    )
    result = ask(ops, model, layout.outputs(shape, ledger.index))
    ctx.flush()
    cache.settle(prefix + step.rows, pads)
    if result is None:
        assert ctx.watched is not None
        cache.unsaid = ctx.watched.sums
        return None
    assert ops.in_range is not None
    cache.unsaid = None
    return result, ops.in_range


def _behind(pads: Share | None, prefix: int) -> Share | None:
    """What is padding, of all slots there are from the first pass on: the prefix is none."""
    if pads is None or not prefix:
        return pads
    zeros = np.zeros((*pads.shape[:-1], prefix), dtype=np.uint64)
    shape = (*pads.shape[:-1], prefix + pads.shape[-1])
    return map_share(pads, shape, lambda v: np.concatenate((zeros, v), axis=-1))


class Shadow:
    """A session on shapes alone: what roles that run ahead know of the cache."""

    def __init__(self, layout: SessionLayout, shape: SessionShape, keeps: Keeps = NOTHING) -> None:
        layout.check(shape)
        self.ledger = Ledger(layout, shape)
        self.cache = Cache(layout.spec.layers, keeps)

    def run(self, ctx: Interpreter, order: Order, public: Public) -> None:
        """Follow one pass; whatever positions and exclusions it has, its shape is the same."""
        ledger = self.ledger
        ledger.retire(order)
        self.cache.retire(order.retired)
        query = ledger.layout.form(ledger.shape, ledger.index).asked({})
        run_pass(ctx, ledger, ledger.step(), self.cache, query, public)
        ledger.write()


def count(layout: SessionLayout, shape: SessionShape, passes: int) -> list[Counting]:
    """Declared rounds and bytes of a session's first passes, none of whose slots is dropped."""
    shadow, counted = Shadow(layout, shape), []
    public = Public.blank(layout)
    for index in range(passes):
        ctx = Counting(ShapeStore(layout.masked, layout.scale))
        shadow.run(ctx, Order(index), public)
        counted.append(ctx)
    return counted


class FixedSession:
    """A generation in the fixed interpreter: equal to the shares' sum bit for bit under the same seeds."""

    def __init__(
        self,
        layout: SessionLayout,
        shape: SessionShape,
        store: IdealStore,
        encoded: Mapping[str, U64],
    ) -> None:
        layout.check(shape)
        self.ledger, self.cache = Ledger(layout, shape), Cache(layout.spec.layers, IN_FIXED)
        self._store = store
        self.in_range = True  # of the last answer
        self._public = Public.of(layout, encoded)

    def run(
        self, advance: Advance, rows: Rows, seeds: tuple[bytes, bytes], retired: tuple[int, ...] = ()
    ) -> U64 | None:
        """The ring elements of the next pass's answer."""
        ledger = self.ledger
        ledger.require(advance)
        keep(ledger, self.cache, advance.kept)
        ledger.retire(Order(ledger.index, retired))
        self.cache.retire(retired)
        query = plain(ledger.layout, ledger.shape, ledger.index, rows)
        ctx = Ideal(seeds, self._store)
        step = ledger.step(self.cache.excluded, advance.after)
        result = run_pass(ctx, ledger, step, self.cache, query, self._public)
        ledger.write(advance.after)
        if result is None:
            return None
        value, field = result[0].value, ledger.layout.result(ledger.shape, ledger.index - 1)
        self.in_range = bool(result[1].value[0]) and within(field, value)
        return value
