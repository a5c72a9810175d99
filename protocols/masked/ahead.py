"""What a party computes of a program before any query is there: products of its mask shares with opened weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from privinf.protocols import prg, ring
from privinf.protocols.contract import Source
from privinf.protocols.cost import Cost
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.interpreter import Weights
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64, Shape


class Kept(Protocol):
    """Takes what is computed ahead, in program order."""

    def put(self, result: U64) -> None: ...


class Precomputed:
    """Results of ring arithmetic in program order, whole words, in a buffer that outlives the one who writes it."""

    def __init__(self, buffer: memoryview) -> None:
        self._words = np.frombuffer(buffer, dtype=np.uint64)
        self._at = 0

    def next(self, shape: Shape) -> U64:
        """The next result, in place."""
        start, self._at = self._at, self._at + ring.size_of(shape)
        if self._at > self._words.size:
            raise EOFError("less was computed ahead than the program asks for")
        return self._words[start : self._at].reshape(shape)

    def put(self, result: U64) -> None:
        """Write the next result."""
        self.next(result.shape)[...] = result


class Ahead(Counting):
    """Follows the program on shapes, reads the preparation past what gates need later, and keeps what it can.

    A party's mask shares come from its seed, and partly from the preparation: no opened value is needed.
    """

    def __init__(
        self,
        index: int,
        seed: bytes,
        source: Source,
        kept: Kept,
        weights: Weights | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__(weights, kernels)
        self.index = index
        self._seed, self._source, self._kept = seed, source, kept
        self._passed = memoryview(b"")

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        gate.ahead(self, *inputs)
        return gate.output(*inputs)

    def account(self, cost: Cost) -> None:
        super().account(cost)
        if nbytes := cost.prep1 if self.index else cost.prep0:
            self._passed = self._source.read(nbytes)

    def keep(self, result: U64) -> None:
        """Store what evaluation will ask for at the same gate."""
        self.kept(result.shape)
        self._kept.put(result)

    def correction(self, tag: str, shape: Shape, bits: int) -> U64:
        """This party's share of a value that the dealer shares under this name."""
        return self._later(tag, shape, bits)()

    def _later(self, tag: str, shape: Shape, bits: int) -> Callable[[], U64]:
        """The same for when it is asked for; what was dealt is read at once."""
        to = self.share(shape, bits)
        name, dealt = f"{self.name}:{tag}", self._passed
        if self.index == to:
            return lambda: ring.unpack(dealt, bits, shape, self.kernels)
        return lambda: prg.elements(self._seed, name, shape, bits, self.kernels)

    def queue(self, share: Share, drop: int) -> Wire:
        wire, name, cut = super().queue(share, drop), f"{self.name}:mask", np.uint64(drop)
        wire.mask_share = lambda: prg.elements(self._seed, name, share.shape, share.bits, self.kernels) >> cut
        return wire

    def deal_mask_share(self, wire: Wire) -> None:
        wire.mask_share = self._later("mask", wire.shape, wire.bits)
