"""How an encoder takes its query in: tokens that checked keys select, and bits for the rows that are real.

What the client shares is opened in one round, with the check's sums; what tells whether every key selects one row goes
with the round after it. Private tables are multiplied by the opened vectors, and the sign of a key, which the check
finds, is put right by one product. Public tables are multiplied locally; so is, for each row's place, the public
column of inverse deviations, and as a key's sign is in both factors, their product has none.
"""

from __future__ import annotations

import numpy as np

from privinf.models.engines.shapes import derived
from privinf.models.inputs.embedded import Embedded
from privinf.models.parts import planned
from privinf.models.programs.layout import Layout
from privinf.models.programs.public import Public
from privinf.models.programs.wire import Asked
from privinf.protocols import ring
from privinf.protocols.masked.gates.bits import from_bits
from privinf.protocols.masked.gates.linear import MatMul, ToShare
from privinf.protocols.masked.gates.norm import NormSpec
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.selection import open_sums, require_one_row
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, add, map_share, narrow


def take(ctx: Interpreter, layout: Layout, query: Asked, public: Public) -> tuple[Share | Wire, Share]:
    """The rows that go into the first layer's norm, or behind it, and the row bits modulo 2^64."""
    norm = planned(layout.plan.embed_norm)
    if public.weights:
        return _take_public(ctx, norm, query, public.normalised)
    return _take_private(ctx, norm, query)


def _take_private(ctx: Interpreter, norm: NormSpec, query: Asked) -> tuple[Share, Share]:
    """Embeddings from private tables."""
    onehots = query.lookups["token"]
    bits, sums = ctx.open(query.shared["real"]), open_sums(ctx, onehots)
    vectors = ctx.open(narrow(onehots, norm.bits))
    found = ctx.open(ctx.run(MatMul(), vectors, ctx.weight("embed.token")))
    sign = require_one_row(ctx, sums)
    real = from_bits(ctx, bits, ring.MAX_BITS)
    rows = ctx.run(Product(norm.bits), sign, found)
    table, count = ctx.weight("embed.position"), onehots.shape[1]
    places = derived(table, (count, *table.shape[1:]), lambda v: v[:count])
    return add(rows, ctx.run(ToShare(), places)), real


def _take_public(
    ctx: Interpreter, norm: NormSpec, query: Asked, tables: Embedded | None
) -> tuple[Wire, Share]:
    """Normalised embeddings from public tables, which a role without data lacks."""
    onehots = query.lookups["token"]
    bits, sums = ctx.open(query.shared["real"]), open_sums(ctx, onehots)
    shape = (*onehots.shape[:2], norm.width)
    found = factor = onehots.data
    if onehots.data is not None:
        assert tables is not None
        found, factor = tables.rows(onehots.data), tables.inverses(onehots.data)
    row = ctx.open(Share(shape, norm.bits - norm.drop, 0, found))
    inverse = ctx.open(Share((*shape[:2], 1), norm.product_bits, norm.inverse_scale, factor))
    require_one_row(ctx, sums)
    real = from_bits(ctx, bits, ring.MAX_BITS)
    product = ctx.run(Product(norm.product_bits), row, inverse)
    return ctx.open(product, norm.inverse_scale - norm.out_scale), real


def padding(ctx: Interpreter, real: Share) -> Share:
    """1 for each row that is not real, as attention hides it (batch, 1, 1, tokens)."""
    shape = (real.shape[0], 1, 1, real.shape[1])
    return ctx.add_public(
        map_share(real, shape, lambda v: -v.reshape(shape)), np.ones(shape, dtype=np.uint64)
    )
