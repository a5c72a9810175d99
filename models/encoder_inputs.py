"""How an encoder takes its query in: tokens that checked keys select, and bits for the rows that are real.

What the client shares is opened in one round, with the check's sums; what tells whether every key selects one row goes
with the round after it. Private tables are multiplied by the opened vectors, and the sign of a key, which the check
finds, is put right by one product. Public tables are multiplied locally; so is, for each row's place, the public
column of inverse deviations, and as a key's sign is in both factors, their product has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privinf.models.embedded import Embedded
from privinf.protocols import ring
from privinf.protocols.masked.gates.bits import from_bits
from privinf.protocols.masked.gates.linear import MatMul, ToShare
from privinf.protocols.masked.gates.norm import NormSpec, normalise
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.selection import open_sums, require_one_row
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, add, derive, map_share, narrow
from privinf.protocols.ring import U64


@dataclass(frozen=True, eq=False, repr=False)
class SharedQuery:
    """A query's shares.

    vectors: plus or minus the one-hot of each row's token (batch, tokens, vocabulary) modulo 2^64, if the client
    follows the protocol. real: 1 for each row that is no padding (batch, tokens), modulo 2.
    """

    vectors: Share
    real: Share


def take_private(
    ctx: Interpreter, norm: NormSpec, query: SharedQuery, tokens: Wire, positions: Wire
) -> tuple[Wire, Share]:
    """Normalised embeddings from private tables, and the row bits modulo 2^64."""
    bits, sums = ctx.open(query.real), open_sums(ctx, query.vectors)
    vectors = ctx.open(narrow(query.vectors, norm.bits))
    found = ctx.open(ctx.run(MatMul(), vectors, tokens))
    sign = require_one_row(ctx, sums)
    real = from_bits(ctx, bits, ring.MAX_BITS)
    rows = ctx.run(Product(norm.bits), sign, found)
    places = ctx.run(ToShare(), _first_rows(positions, query.vectors.shape[1]))
    return normalise(ctx, add(rows, places), norm), real


def take_public(
    ctx: Interpreter, norm: NormSpec, query: SharedQuery, tables: Embedded | None
) -> tuple[Wire, Share]:
    """The same from public tables, which a role without data lacks."""
    bits, sums = ctx.open(query.real), open_sums(ctx, query.vectors)
    shape = (*query.vectors.shape[:2], norm.width)
    found, factor = query.vectors.data, query.vectors.data
    if query.vectors.data is not None:
        assert tables is not None
        found, factor = tables.rows(query.vectors.data), tables.inverses(query.vectors.data)
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


def _first_rows(table: Wire, count: int) -> Wire:
    def cut(v: U64) -> U64:
        return v[:count]

    return derive([table], (count, *table.shape[1:]), table.bits, table.scale, public=cut, mask=cut)
