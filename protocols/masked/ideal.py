"""The ideal functionality: exact integers under the masks that the roles would draw from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privinf.errors import InputError
from privinf.protocols import ring
from privinf.protocols.masked.interpreter import Seeded
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64


class Ideal(Seeded):
    """Equal to the sum of the two parties' shares, bit for bit, under the same seeds."""

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        return gate.ideal(self, *inputs)

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
