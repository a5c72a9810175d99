"""The ideal functionality: exact integers under the masks that the roles would draw from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privinf.errors import InputError
from privinf.protocols import ring
from privinf.protocols.masked.interpreter import Seeded, rounding
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64


class Ideal(Seeded):
    """Equal to the sum of the two parties' shares, bit for bit, under the same seeds."""

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        return gate.ideal(self, *inputs)

    def queue(self, share: Share, drop: int) -> Wire:
        first, second = self._drawn("mask", share.shape, share.bits)
        wire = self.masked(share, drop, first, second)
        opened = ring.low(share.value + first + second - rounding(drop), share.bits)
        wire.source = opened >> np.uint64(drop)
        return wire

    def compare(self, shares: Sequence[Share], refusal: str) -> None:
        if any(ring.low(share.value, share.bits).any() for share in shares):
            raise InputError(refusal)

    def deal_mask_share(self, wire: Wire) -> None:
        """There is nobody to share it with."""

    def deal_lift(self, wire: Wire, bits: int) -> tuple[U64, ...]:
        return ()
