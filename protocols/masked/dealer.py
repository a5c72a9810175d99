"""The dealer's interpreter: follows the program on masks alone and writes what each party needs, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.protocols import prg, ring
from privinf.protocols.contract import ALL, Buffer
from privinf.protocols.cost import Cost
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.interpreter import Seeded, Weights
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import U64

Write = Callable[[int, Buffer], None]
Minus = Callable[[U64, U64], U64]


class Dealer(Seeded):
    """Derives every mask from both seeds and writes corrections to one party and keys to both."""

    def __init__(
        self,
        preparation: bytes,
        seeds: tuple[bytes, bytes],
        write: Write,
        weights: Weights | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__(seeds, weights, kernels)
        self._preparation, self._write = preparation, write

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        dealt = gate.deal(self, *inputs)
        return gate.output(*inputs) if dealt is None else dealt

    def share(self, tag: str, value: U64, bits: int, minus: Minus = np.subtract) -> U64:
        """Share a value: one party draws its part, the other is sent the difference. Returns party 0's part."""
        to = self.receiver(value.shape, bits)
        own = prg.elements(self._seeds[1 - to], f"{self.name}:{tag}", value.shape, bits, self.kernels)
        difference = minus(value, own)
        self._send(to, ring.pack(difference, bits, self.kernels))
        return own if to else ring.low(difference, bits)

    def roots(self, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Each party's roots of the trees that the gate under way makes."""
        name = f"{self.name}:key"
        first, second = (prg.roots(seed, name, count, self.kernels) for seed in self._seeds)
        return first, second

    def tree(self) -> bytes:
        """The AES keys of the trees that the gate under way makes."""
        return prg.dealt_tree(self._preparation, self.name)

    def common(self, *arrays: npt.NDArray[Any]) -> None:
        """Send correction words that both parties need."""
        for array in arrays:
            self._send(ALL, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data.cast("B"))

    def _send(self, to: int, data: Buffer) -> None:
        size = len(data)
        self.account(Cost(prep0=size if to != 1 else 0, prep1=size if to != 0 else 0))
        self._write(to, data)

    def deal_mask_share(self, wire: Wire) -> None:
        wire.mask_share = self.share("mask", wire.secret, wire.bits)

    def deal_lift(self, wire: Wire, bits: int) -> tuple[U64, ...]:
        wraps = (wire.secret < wire.own_mask).astype(np.uint64)  # of the sum of both parties' shares
        self.share("wrap", wraps, bits - wire.bits)
        self.share("top", wire.secret >> np.uint64(wire.bits - 1), bits - wire.bits)
        return ()
