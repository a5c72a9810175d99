"""Lookup of a public table at a masked index, up to a sign that only the dealer knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.protocols import ring
from privinf.protocols.kernels.reference import point_key_shape
from privinf.protocols.masked.gates.base import Counting, Dealer, Gate, Ideal, Interpreter, Party
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.wires import Known, Share, Wire
from privinf.protocols.ring import U64


@dataclass(frozen=True)
class Table:
    """Integers T[k] for start <= k < start + len(entries), zero elsewhere; |T| < 2^(bits - 2) at `scale`."""

    entries: npt.NDArray[np.int64]
    start: int
    scale: int
    bits: int

    def __post_init__(self) -> None:
        if int(np.abs(self.entries).max(initial=0)) >= 1 << (self.bits - 2):
            raise ValueError("table entries do not fit their ring")

    def at(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The table's entries at signed indices."""
        inside = (index >= self.start) & (index < self.start + self.entries.size)
        position = np.clip(index - self.start, 0, self.entries.size - 1)
        return np.where(inside, self.entries[position], 0)


class Window(Gate):
    """([u*T[i]], u) for the signed index i of an n-bit wire, u a sign that the dealer alone knows."""

    name = "window"

    def __init__(self, table: Table) -> None:
        self._table = table

    def deal(self, ctx: Dealer, x: Wire) -> tuple[Share, Known]:
        alpha = x.secret.reshape(-1)
        keys, leaf = ctx.kernels.dpf_gen(ctx.tree(), alpha, x.bits, *ctx.roots(alpha.size))
        ctx.common(keys)
        sign = (np.uint64(2) * leaf.astype(np.uint64) - np.uint64(1)).reshape(x.shape)
        return self.output(x, known=sign)

    def evaluate(self, ctx: Party, x: Wire) -> tuple[Share, Known]:
        keys = ctx.keys(point_key_shape(x.bits, ring.size_of(x.shape)))
        index, table = np.ascontiguousarray(x.public).reshape(-1), self._table
        entries = ctx.kernels.dpf_table(*keys, x.bits, index, table.start, table.entries)
        return self.output(x, entries.reshape(x.shape))

    def ideal(self, ctx: Ideal, x: Wire) -> tuple[Share, Known]:
        index = ring.signed(x.public - x.secret, x.bits)
        entries = self._table.at(index).view(np.uint64)
        return self.output(x, entries, np.ones(x.shape, dtype=np.uint64))

    def cost(self, ctx: Counting, x: Wire) -> None:
        ctx.common(*point_key_shape(x.bits, ring.size_of(x.shape)))

    def output(self, x: Wire, entries: U64 | None = None, known: U64 | None = None) -> tuple[Share, Known]:
        return Share(x.shape, self._table.bits, self._table.scale, entries), Known(x.shape, known)


def lookup(ctx: Interpreter, x: Wire, table: Table, bits: int) -> Share:
    """[T[x]] in Z_2^bits for the signed value x of a wire; one round, zero outside the table. Exact."""
    entry, sign = ctx.run(Window(table), x)
    product: Share = ctx.run(Product(bits), ctx.open(entry), sign)
    return product
