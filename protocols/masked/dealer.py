"""The dealer's interpreter: follows the program on masks alone and writes what each party needs, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from privinf.protocols import prg, ring
from privinf.protocols.contract import ALL, Buffer
from privinf.protocols.cost import Cost
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64, Shape

Write = Callable[[int, Buffer], None]


class MaskedWeights(Protocol):
    """The dealer's side of the static weights: their masks."""

    def dealer_wire(self, name: str) -> Wire: ...


class Dealer(Interpreter):
    """Derives every mask from both seeds and writes corrections to party 1 and keys to both."""

    def __init__(
        self,
        preparation: bytes,
        seeds: tuple[bytes, bytes],
        write: Write,
        weights: MaskedWeights | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__(kernels)
        self._preparation = preparation
        self._seeds = seeds
        self._write = write
        self._weights = weights

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        dealt = gate.deal(self, *inputs)
        return gate.output(*inputs) if dealt is None else dealt

    def masks(self, tag: str, shape: Shape, bits: int) -> U64:
        """A fresh mask: the sum of what each party draws under this name."""
        name = f"{self.name}:{tag}"
        first, second = (self._drawn(seed, name, shape, bits) for seed in self._seeds)
        return ring.low(first + second, bits)

    def _drawn(self, seed: bytes, name: str, shape: Shape, bits: int) -> U64:
        return prg.elements(seed, name, shape, bits, self.kernels)

    def own_masks(self, opening: str, shape: Shape, bits: int) -> tuple[U64, U64]:
        """Each party's own part of the mask of the opening of this name."""
        first, second = (self._drawn(seed, f"{opening}:mask", shape, bits) for seed in self._seeds)
        return first, second

    def share(self, tag: str, value: U64, bits: int, shape: Shape | None = None) -> None:
        """Share a value: party 0 draws its part, party 1 is sent the difference."""
        shape = value.shape if shape is None else shape
        own = self._drawn(self._seeds[0], f"{self.name}:{tag}", shape, bits)
        self._send(1, ring.pack(value - own, bits, self.kernels))

    def roots(self, tag: str, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        name = f"{self.name}:{tag}"
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
        self.account(Cost(prep0=len(data) if to == ALL else 0, prep1=len(data)))
        self._write(to, data)

    def queue(self, share: Share) -> Wire:
        mask = self.masks("mask", share.shape, share.bits)
        return Wire(share.shape, share.bits, share.scale, mask=mask)

    def compare(self, shares: Sequence[Share], refusal: str) -> None:
        """Nothing is dealt for it."""

    def exchange(self) -> None:
        """The dealer sees no opening."""

    def deal_mask_share(self, wire: Wire) -> None:
        self._rename("mask")
        self.share("mask", wire.secret, wire.bits)

    def deal_lift(self, wire: Wire, bits: int) -> tuple[Share, Share]:
        self._rename("lift")
        self.share("mask", wire.secret, bits)
        self.share("top", wire.secret >> np.uint64(wire.bits - 1), bits)
        empty = Share(wire.shape, bits, wire.scale)
        return empty, empty

    def add_public(self, share: Share, constant: U64) -> Share:
        return share

    def weight(self, name: str) -> Wire:
        assert self._weights is not None
        return self._weights.dealer_wire(name)
