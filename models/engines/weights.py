"""How the two-party engine meets weights: as masked wires, or as integers that everybody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from privinf.models.engines.stores import Scale
from privinf.protocols import ring
from privinf.protocols.masked.gates.linear import MatMul, PublicMatMul, ToShare
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, add, map_share
from privinf.protocols.ring import U64, Shape

Look = Callable[[U64], U64]  # what is taken of a table


class MaskedWeights:
    """Private weights."""

    def product(self, ctx: Interpreter, x: Wire, name: str) -> Share:
        """x times a matrix."""
        share: Share = ctx.run(MatMul(), x, ctx.weight(name))
        return share

    def plus(self, ctx: Interpreter, x: Share, name: str) -> Share:
        """x and a bias, raised to its scale."""
        share: Share = ctx.run(ToShare(), ctx.weight(name))
        raised = map_share(share, share.shape, lambda v: lifted(v, int(x.scale - share.scale)))
        return add(x, Share(share.shape, share.bits, x.scale, raised.data))

    def scaled(self, ctx: Interpreter, x: Wire, name: str, bits: int) -> Share:
        """x times a vector, modulo 2^bits where that is private."""
        share: Share = ctx.run(Product(bits), x, ctx.weight(name))
        return share

    def looked(self, ctx: Interpreter, x: Share, name: str, shape: Shape, look: Look) -> Share:
        """x and what `look` finds in a table, of this shape."""
        share: Share = ctx.run(ToShare(), ctx.weight(name))
        return add(x, map_share(share, shape, look))

    def wire(self, ctx: Interpreter, name: str) -> Wire:
        """A tensor as a wire; of mask zero where everybody knows it."""
        return ctx.weight(name)


class PublicWeights:
    """Weights that everybody knows, by the same methods."""

    def __init__(self, tensors: Mapping[str, U64], scale: Scale) -> None:
        self._tensors, self._scale = tensors, scale

    def product(self, ctx: Interpreter, x: Wire, name: str) -> Share:
        share: Share = ctx.run(PublicMatMul(self._tensors[name], self._scale(name)), x)
        return share

    def plus(self, ctx: Interpreter, x: Share, name: str) -> Share:
        return ctx.add_public(x, lifted(self._tensors[name], int(x.scale - self._scale(name))))

    def scaled(self, ctx: Interpreter, x: Wire, name: str, bits: int) -> Share:
        share: Share = ctx.run(ToShare(), x)
        factor = self._tensors[name]
        shape = np.broadcast_shapes(x.shape, factor.shape)
        product = map_share(share, shape, lambda v: v * factor)
        return Share(shape, x.bits, x.scale + self._scale(name), product.data)

    def looked(self, ctx: Interpreter, x: Share, name: str, shape: Shape, look: Look) -> Share:
        return ctx.add_public(x, look(self._tensors[name]))

    def wire(self, ctx: Interpreter, name: str) -> Wire:
        value = self._tensors[name]
        zero = np.zeros(value.shape, dtype=np.uint64)
        return Wire(value.shape, ring.MAX_BITS, self._scale(name), source=value, mask=zero, mask_share=zero)


Weights = MaskedWeights | PublicWeights  # the only branch on private or public weights


def weights_of(public: Mapping[str, U64] | None, scale: Scale) -> Weights:
    """The strategy for weights that are public, or for masked ones where there are none."""
    return PublicWeights(public, scale) if public else MaskedWeights()


def lifted(value: U64, up: int) -> U64:
    """So many fraction bits more."""
    return value << np.uint64(up) if up else value
