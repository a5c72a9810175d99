"""Linear algebra on masked wires: shares of x, x @ y, and x @ W for a public W; no round."""

from __future__ import annotations

from typing import Any

import numpy as np

from privinf.protocols import ring
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.gates.base import Ahead, Counting, Dealer, Gate, Ideal, Interpreter, Party
from privinf.protocols.masked.planes import Planes
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64, Shape


def matmul(kernels: Kernels, a: U64, b: U64 | Planes, bits: int = 64) -> U64:
    """a @ b modulo 2^bits, over leading batch dimensions; a two-dimensional b serves all of a's batch."""
    if isinstance(b, Planes):
        return b.product(kernels, a, bits)
    rows = (1, -1) if b.ndim == 2 else (-1, a.shape[-2])
    left = np.ascontiguousarray(a).reshape(*rows, a.shape[-1])
    right = np.ascontiguousarray(b).reshape(-1, *b.shape[-2:])
    return kernels.ring_matmul(left, right, bits).reshape(*a.shape[:-1], b.shape[-1])


def matmul_shape(a: Shape, b: Shape) -> Shape:
    """Shape of a @ b; raises ValueError where they do not fit."""
    if a[-1] != b[-2] or (len(b) > 2 and a[:-2] != b[:-2]):
        raise ValueError(f"shapes {a} and {b} cannot be multiplied")
    return (*a[:-1], b[-1])


def value(wire: Wire) -> U64:
    """The signed value modulo 2^64 behind a wire whose public part and mask are both known."""
    return ring.signed(wire.public - wire.secret, wire.bits).view(np.uint64)


class MatMul(Gate):
    """[x @ y] modulo 2^min(bits): b*xh@yh - xh@[dy] - [dx]@yh + [dx@dy]."""

    name = "matmul"

    def require(self, ctx: Interpreter, *inputs: Any) -> None:
        for wire in inputs:
            ctx.mask_share(wire)

    def output(self, x: Wire, y: Wire, data: U64 | None = None) -> Share:
        return Share(matmul_shape(x.shape, y.shape), min(x.bits, y.bits), x.scale + y.scale, data)

    def deal(self, ctx: Dealer, x: Wire, y: Wire) -> None:
        out = self.output(x, y)
        right = y.planes.get("mask") or y.secret
        ctx.share("cross", matmul(ctx.kernels, x.secret, right, out.bits), out.bits)

    def evaluate(self, ctx: Party, x: Wire, y: Wire) -> Share:
        out = self.output(x, y)
        if y.static:
            rest = ctx.ahead(out.shape, dealt=out.bits)
        else:
            cross = ctx.share("cross", out.shape, out.bits)
            rest = cross - matmul(ctx.kernels, x.own_mask, y.public, out.bits)
        operand = y.planes.get("operand") or y.kept("operand", lambda: ctx.public_term(y.public) - y.own_mask)
        return self.output(x, y, matmul(ctx.kernels, x.public, operand, out.bits) + rest)

    def ahead(self, ctx: Ahead, x: Wire, y: Wire) -> None:
        """For a static y: the products with the mask of x, which no query changes."""
        if not y.static:
            self.cost(ctx, x, y)
            return
        out = self.output(x, y)
        cross = ctx.correction("cross", out.shape, out.bits)
        right = y.planes.get("public") or y.public
        ctx.keep(cross - matmul(ctx.kernels, x.own_mask, right, out.bits))

    def ideal(self, ctx: Ideal, x: Wire, y: Wire) -> Share:
        right = y.kept("value", lambda: value(y))
        return self.output(x, y, matmul(ctx.kernels, value(x), right, min(x.bits, y.bits)))

    def cost(self, ctx: Counting, x: Wire, y: Wire) -> None:
        out = self.output(x, y)
        ctx.share(out.shape, out.bits)
        if y.static:
            y.widest = max(y.widest, out.bits)
            ctx.kept(out.shape)


class PublicMatMul(Gate):
    """[x @ W] for a W that everybody knows: local, nothing is dealt beyond the mask share of x."""

    name = "public_matmul"

    def __init__(self, weight: U64, scale: float) -> None:
        self._weight = weight
        self._scale = scale

    def require(self, ctx: Interpreter, *inputs: Any) -> None:
        ctx.mask_share(inputs[0])

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return Share(matmul_shape(x.shape, self._weight.shape), x.bits, x.scale + self._scale, data)

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        rest = ctx.ahead(self.output(x).shape)
        return self.output(
            x, rest + matmul(ctx.kernels, x.public, self._weight, x.bits) if ctx.index else rest
        )

    def ahead(self, ctx: Ahead, x: Wire) -> None:
        """The whole of party 0's share, and what party 1's lacks without the opened value."""
        ctx.keep(-matmul(ctx.kernels, x.own_mask, self._weight, x.bits))

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        return self.output(x, matmul(ctx.kernels, value(x), self._weight, x.bits))

    def cost(self, ctx: Counting, x: Wire) -> None:
        ctx.kept(self.output(x).shape)


class ToShare(Gate):
    """[x] = b*xh - [d] in the wire's own ring."""

    name = "share"

    def require(self, ctx: Interpreter, *inputs: Any) -> None:
        ctx.mask_share(inputs[0])

    def output(self, x: Wire, data: U64 | None = None) -> Share:
        return Share(x.shape, x.bits, x.scale, data)

    def evaluate(self, ctx: Party, x: Wire) -> Share:
        return self.output(x, ctx.public_term(x.public) - x.own_mask)

    def ideal(self, ctx: Ideal, x: Wire) -> Share:
        return self.output(x, value(x))
