"""The ideal functionality: exact integers under the masks that the roles would draw from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from privinf.errors import InputError
from privinf.protocols import prg, ring
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64, Shape


class ClearWeights(Protocol):
    """The weights as encoded integers together with their masks."""

    def ideal_wire(self, name: str) -> Wire: ...


class Ideal(Interpreter):
    """Equal to the sum of the two parties' shares, bit for bit, under the same seeds."""

    def __init__(
        self,
        seeds: tuple[bytes, bytes],
        weights: ClearWeights | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__(kernels)
        self._seeds = seeds
        self._weights = weights

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        return gate.ideal(self, *inputs)

    def masks(self, tag: str, shape: Shape, bits: int) -> U64:
        name = f"{self.name}:{tag}"
        first, second = (prg.elements(seed, name, shape, bits, self.kernels) for seed in self._seeds)
        return ring.low(first + second, bits)

    def queue(self, share: Share) -> Wire:
        mask = self.masks("mask", share.shape, share.bits)
        wire = Wire(share.shape, share.bits, share.scale, mask=mask)
        wire.source = ring.low(share.value + mask, share.bits)
        return wire

    def compare(self, shares: Sequence[Share], refusal: str) -> None:
        if any(ring.low(share.value, share.bits).any() for share in shares):
            raise InputError(refusal)

    def exchange(self) -> None:
        """Nothing to send."""

    def deal_mask_share(self, wire: Wire) -> None:
        self._rename("mask")

    def deal_lift(self, wire: Wire, bits: int) -> tuple[Share, Share]:
        self._rename("lift")
        top = wire.secret >> np.uint64(wire.bits - 1)
        return Share(wire.shape, bits, wire.scale, wire.secret), Share(wire.shape, bits, wire.scale, top)

    def add_public(self, share: Share, constant: U64) -> Share:
        return Share(share.shape, share.bits, share.scale, share.value + constant)

    def weight(self, name: str) -> Wire:
        assert self._weights is not None
        return self._weights.ideal_wire(name)
