"""How the two-party engine meets weights: as masked wires, or as integers that everybody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from privinf.models.engines.stores import Scale
from privinf.protocols import ring
from privinf.protocols.masked.gates.linear import MatMul, PublicMatMul, ToShare
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire, add, map_share
from privinf.protocols.ring import U64, Shape


class Weights(Protocol):
    """The only branch on private or public weights."""

    def product(self, ctx: Interpreter, x: Wire, name: str) -> Share:
        """x times a matrix."""

    def plus(self, ctx: Interpreter, x: Share, name: str) -> Share:
        """x and a bias, raised to its scale."""

    def scaled(self, ctx: Interpreter, x: Wire, name: str, bits: int) -> Share:
        """x times a vector, modulo 2^bits where that is private."""

    def looked(
        self, ctx: Interpreter, x: Share, name: str, shape: Shape, look: Callable[[U64], U64]
    ) -> Share:
        """x and what `look` finds in a table, of this shape."""

    def wire(self, ctx: Interpreter, name: str) -> Wire:
        """A tensor as a wire; of mask zero where everybody knows it."""


class MaskedWeights:
    """Private weights."""

    def product(self, ctx: Interpreter, x: Wire, name: str) -> Share:
        share: Share = ctx.run(MatMul(), x, ctx.weight(name))
        return share

    def plus(self, ctx: Interpreter, x: Share, name: str) -> Share:
        return add(x, _raised(ctx.run(ToShare(), ctx.weight(name)), x.scale))

    def scaled(self, ctx: Interpreter, x: Wire, name: str, bits: int) -> Share:
        share: Share = ctx.run(Product(bits), x, ctx.weight(name))
        return share

    def looked(
        self, ctx: Interpreter, x: Share, name: str, shape: Shape, look: Callable[[U64], U64]
    ) -> Share:
        share: Share = ctx.run(ToShare(), ctx.weight(name))
        return add(x, map_share(share, shape, look))

    def wire(self, ctx: Interpreter, name: str) -> Wire:
        return ctx.weight(name)


class PublicWeights:
    """Weights that everybody knows."""

    def __init__(self, tensors: Mapping[str, U64], scale: Scale) -> None:
        self._tensors, self._scale = tensors, scale

    def product(self, ctx: Interpreter, x: Wire, name: str) -> Share:
        share: Share = ctx.run(PublicMatMul(self._tensors[name], self._scale(name)), x)
        return share

    def plus(self, ctx: Interpreter, x: Share, name: str) -> Share:
        return ctx.add_public(x, _lifted(self._tensors[name], int(x.scale - self._scale(name))))

    def scaled(self, ctx: Interpreter, x: Wire, name: str, bits: int) -> Share:
        share: Share = ctx.run(ToShare(), x)
        factor = self._tensors[name]
        shape = np.broadcast_shapes(x.shape, factor.shape)
        product = map_share(share, shape, lambda v: v * factor)
        return Share(shape, x.bits, x.scale + self._scale(name), product.data)

    def looked(
        self, ctx: Interpreter, x: Share, name: str, shape: Shape, look: Callable[[U64], U64]
    ) -> Share:
        return ctx.add_public(x, look(self._tensors[name]))

    def wire(self, ctx: Interpreter, name: str) -> Wire:
        value = self._tensors[name]
        zero = np.zeros(value.shape, dtype=np.uint64)
        return Wire(value.shape, ring.MAX_BITS, self._scale(name), source=value, mask=zero, mask_share=zero)


def weights_of(public: Mapping[str, U64] | None, scale: Scale) -> Weights:
    """The strategy for weights that are public, or for masked ones where there are none."""
    return PublicWeights(public, scale) if public else MaskedWeights()


def _raised(share: Share, scale: float) -> Share:
    """The same at the scale of what it is added to."""
    up = int(scale - share.scale)
    data = None if share.data is None else _lifted(share.data, up)
    return Share(share.shape, share.bits, scale, data)


def _lifted(value: U64, up: int) -> U64:
    return value << np.uint64(up) if up else value
