"""How a pass takes its query in: tokens and positions that were chosen by keys, bits, and the checks of both.

All that the client shares is opened in one round, and the rows of private tables in the next, with which goes whether
every key selects one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from privinf.models.engines.masked import Angles
from privinf.models.engines.positions import Places, angles
from privinf.models.plan.scales import PRE, ROTARY
from privinf.models.programs.layout import ADVANCED, MOVED, Layout
from privinf.models.programs.public import Public
from privinf.models.programs.wire import Asked
from privinf.protocols import kernels
from privinf.protocols.kernels.reference import U32
from privinf.protocols.masked.gates.bits import from_bits
from privinf.protocols.masked.gates.linear import MatMul
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.selection import open_sums, require_one_row
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, add, map_share, narrow
from privinf.protocols.ring import U64


@dataclass(frozen=True)
class Taken:
    """What a pass goes on with."""

    rows: Share
    pads: Share | None
    rejected: Share | None
    angles: Angles


class Inputs:
    """Takes one pass's query in, whose rows stand at these places."""

    def __init__(self, ctx: Interpreter, layout: Layout, places: Places, public: Public) -> None:
        self._ctx, self._spec, self._plan = ctx, layout.spec, layout.plan
        self._places, self._public = places, public

    def take(self, query: Asked) -> Taken:
        ctx = self._ctx
        chosen = {name: ctx.open(self._chosen(name, x)) for name, x in query.lookups.items()}
        bits = {name: ctx.open(x) for name, x in query.shared.items()}
        sums = {name: open_sums(ctx, x) for name, x in query.lookups.items()}
        signs = {name: require_one_row(ctx, x) for name, x in sums.items()}
        angled = {
            name: ctx.open(ctx.run(Product(chosen[name].bits), chosen[name], signs[name]))
            for name in (MOVED, ADVANCED)
            if name in chosen
        }
        lifted = {name: from_bits(ctx, x, self._plan.widest_scores) for name, x in bits.items()}
        rows = self._rows({n: w for n, w in chosen.items() if n not in angled}, signs)
        turned = Angles(self._places, angled.get(ADVANCED), angled.get(MOVED))
        return Taken(rows, lifted.get("pads"), lifted.get("rejected"), turned)

    def _chosen(self, name: str, onehot: Share) -> Share:
        """What is opened first: a row of a table that everybody knows, or where in a private one it is."""
        if name in (MOVED, ADVANCED):
            return self._turned(name, onehot)
        table = self._public.tables.get(f"embed.{name}")
        if table is None:
            return narrow(onehot, self._plan.embed_bits)
        return _picked(onehot, table, self._plan.embed_bits)

    def _turned(self, name: str, onehot: Share) -> Share:
        """Plus or minus the cosines and sines of the places that a key selects."""
        size, rotary = onehot.shape[-1], self._spec.rotary
        assert rotary is not None
        first = np.zeros(1, dtype=np.int64) if name == MOVED else self._places - (size - 1)
        batch, half = onehot.shape[0], self._spec.head_width // 2
        shape = (2, batch, len(first), half)

        def turned(v: U64) -> U64:
            table = angles(first, size, rotary, self._plan.max_tokens)
            found = kernels.default().ring_matmul(v.reshape(1, batch, size), table[None], 64)
            return found.reshape(batch, 2, len(first), half).swapaxes(0, 1)

        found = map_share(onehot, shape, turned)
        return Share(shape, self._plan.widest_scores + ROTARY, ROTARY, found.data)

    def _rows(self, chosen: Mapping[str, Wire], signs: Mapping[str, Wire]) -> Share:
        """The sum of one row of each table, in the ring of the residual."""
        ctx, whole = self._ctx, self._plan.residual_bits
        found = {name: self._looked_up(name, wire) for name, wire in chosen.items()}
        parts = [ctx.run(Product(whole), row, signs[name]) for name, row in found.items()]
        total: Share = reduce(add, parts)
        raised = map_share(total, total.shape, lambda v: v * np.uint64(1 << (PRE.residual - PRE.embed)))
        return Share(total.shape, total.bits, PRE.residual, raised.data)

    def _looked_up(self, name: str, chosen: Wire) -> Wire:
        table = f"embed.{name}"
        if table in self._public.tables:
            return chosen
        product: Share = self._ctx.run(MatMul(), chosen, self._ctx.weight(table))
        return self._ctx.open(narrow(product, self._plan.embed_bits))


def _picked(onehot: Share, table: U32, bits: int) -> Share:
    """[rows of a public table] modulo 2^bits of one-hots (batch, rows, table), up to 32 bits; local."""
    shape = (*onehot.shape[:2], table.shape[1])

    def times(v: U64) -> U64:
        flat = v.reshape(1, -1, v.shape[-1]).astype(np.uint32)
        return kernels.default().ring_matmul32(flat, table[None]).astype(np.uint64).reshape(shape)

    row = map_share(onehot, shape, times)
    return narrow(Share(shape, onehot.bits, PRE.embed, row.data), bits)
