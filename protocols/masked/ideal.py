"""The ideal functionality: exact integers under the masks that the roles would draw from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privinf.errors import InputError
from privinf.protocols import ring
from privinf.protocols.masked.interpreter import Seeded, rounding
from privinf.protocols.masked.watched import LIFTED
from privinf.protocols.masked.wires import Cut, Share, Wire
from privinf.protocols.ring import U64


class Ideal(Seeded):
    """Equal to the sum of the two parties' shares, bit for bit, under the same seeds."""

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        return gate.ideal(self, *inputs)

    def queue(self, share: Share, drop: int) -> Wire:
        first, second = self._drawn("mask", share.shape, share.bits)
        wire = self.masked(share, drop, first, second)
        opened = share.value + first + second - rounding(drop)
        wire.source = ring.low(opened, share.bits) >> np.uint64(drop)
        if self.watched is not None:
            wire.cut = Cut(share.bits, drop, share.room, opened)
        return wire

    def compare(self, shares: Sequence[Share], refusal: str) -> None:
        if any(ring.low(share.value, share.bits).any() for share in shares):
            raise InputError(refusal)

    def deal_mask_share(self, wire: Wire) -> None:
        """There is nobody to share it with."""

    def deal_lift(self, wire: Wire, bits: int) -> tuple[U64, ...]:
        return ()

    def watch_lift(self, wire: Wire, lift: tuple[U64, ...]) -> None:
        assert self.watched is not None
        top = wire.secret >> np.uint64(wire.bits - 1)
        self.watched.add(
            self.name, wire, wire.bits, both_parts(wire), top << np.uint64(2), LIFTED, self.kernels
        )


def both_parts(wire: Wire) -> U64:
    """The sum of both parties' parts of the mask, as an integer."""
    parts: U64 = wire.own_mask + ring.low(wire.secret - wire.own_mask, wire.bits)
    return parts
