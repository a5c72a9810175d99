"""Which openings left their rings: random combinations modulo 4 of what they cut off, as one role holds them.

A party opens y modulo 2^n: it sends the low n bits of z = y + r, r its part of the mask; y is a share modulo 2^(n + 2)
at least. The bits above, with the carry of what both sent, are shares of floor((y + r_0 + r_1) / 2^n) modulo 4. For a y
in the ring that number follows from the opened value and from where the mask d lies: with w the wrap of its parts and
indicators I_q of d >= q 2^(n - j), q the place that the opened value asks for,
    k = z_0 >> n + z_1 >> n + carry - w - I_q + 1{opened >= 2^(n - 1)}    modulo 4
is zero. It is not zero above 2^(n - 1) + 2^(n - 1 - j), and never not zero below 2^(n - 1) - 2^(n - 1 - j), all modulo
2^(n + 2). With a drop only bits that both parts of the mask keep matter, so that this holds of the dropped value.

j = 1 is what a lift deals anyway, and flags exactly where the lift is wrong. Rings of fewer bits than were opened have
the same numbers: both parties know what was opened, and each its own part of the mask.

Nothing is opened here: k stays shared, and so do its combinations, until `alarm` opens those under masks.
"""

from __future__ import annotations

import numpy as np

from privinf.protocols import prg
from privinf.protocols.kernels import Kernels
from privinf.protocols.kernels.excess import COMBINATIONS
from privinf.protocols.masked.wires import Cut, Secret, Wire
from privinf.protocols.ring import U64

SPARE = 2  # bits above a ring that its check needs
LIFTED = 1  # log2 of the places that a lift tells apart


class Watched(Secret):
    """The combinations of all wires that were checked so far; of none in a role without data.

    party: 1 where all of `high` is this role's, which is so at party 1, with what party 0 sent, and in the ideal.
    """

    def __init__(self, coins: bytes | None = None, party: int = 1) -> None:
        self._coins, self._party = coins, party
        self._sums = np.zeros(COMBINATIONS, dtype=np.uint64)

    @property
    def sums(self) -> U64 | None:
        """Elements of Z_4; None in a role without data."""
        return None if self._coins is None else self._sums & np.uint64(3)

    def plus(self, sums: U64) -> None:
        """Add combinations that were made under other coins."""
        self._sums += sums

    def add(
        self, name: str, wire: Wire, bits: int, mask: U64, dealt: U64, steps: int, kernels: Kernels
    ) -> None:
        """Combine what the opening of a wire cut off above `bits` bits of it: of its value as it was dropped."""
        cut = wire.cut
        assert cut is not None
        assert cut.high is not None
        assert self._coins is not None
        shift, up = self._moved(cut, bits)
        flat = [np.ascontiguousarray(v).reshape(-1) for v in (cut.high, mask, wire.public, dealt)]
        key = prg.stream_key(self._coins, name)
        self._sums += kernels.excess(
            key, self._party, flat[0], shift, up, flat[1], flat[2], bits, flat[3], steps
        )

    def _moved(self, cut: Cut, bits: int) -> tuple[int, int]:
        """How far what is masked moves down, and up again: what party 0 sent is counted by party 1."""
        if self._party:
            return cut.drop + bits, 0
        return min(cut.bits, 63), cut.bits - cut.drop - bits


def can_watch(wire: Wire, bits: int) -> bool:
    """Whether what an opening cut off tells that the wire's value leaves a ring of so many bits."""
    return wire.cut is not None and wire.cut.room >= wire.cut.drop + bits + SPARE
