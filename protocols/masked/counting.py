"""The cost interpreter: shapes only; adds up what every gate declares."""

from __future__ import annotations

from typing import Any

from privinf.protocols import ring
from privinf.protocols.cost import Cost
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64, Shape

WORD = 8


class Counting(Interpreter):
    """Declared rounds and bytes of a program."""

    def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
        gate.cost(self, *inputs)
        return gate.output(*inputs)

    def share(self, shape: Shape, bits: int) -> int:
        """Declare a shared correlation: one party draws it, the other, returned, is sent as many bytes as it has."""
        size, to = ring.packed_bytes(ring.size_of(shape), bits), self.receiver(shape, bits)
        self.account(Cost(prep1=size) if to else Cost(prep0=size))
        return to

    def common(self, *shape: int) -> None:
        """Declare key bytes of this shape that both parties receive."""
        nbytes = ring.size_of(shape)
        self.account(Cost(prep0=nbytes, prep1=nbytes))

    def kept(self, shape: Shape) -> None:
        """Declare results that each party computes ahead."""
        self.account(Cost(precomputed=WORD * ring.size_of(shape)))

    def queue(self, share: Share, drop: int) -> Wire:
        return Wire(share.shape, share.bits - drop, share.scale - drop)

    def deal_mask_share(self, wire: Wire) -> None:
        self.share(wire.shape, wire.bits)

    def deal_lift(self, wire: Wire, bits: int) -> tuple[U64, ...]:
        self.share(wire.shape, bits - wire.bits)
        self.share(wire.shape, bits - wire.bits)
        return ()
