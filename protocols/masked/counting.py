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

    def share(self, shape: Shape, bits: int) -> None:
        """Declare a shared correlation: party 0 draws it, party 1 is sent as many bytes as it has."""
        self.account(Cost(prep1=ring.packed_bytes(ring.size_of(shape), bits)))

    def common(self, *shape: int) -> None:
        """Declare key bytes of this shape that both parties receive."""
        nbytes = ring.size_of(shape)
        self.account(Cost(prep0=nbytes, prep1=nbytes))

    def kept(self, shape: Shape) -> None:
        """Declare results that each party computes ahead."""
        self.account(Cost(precomputed=WORD * ring.size_of(shape)))

    def queue(self, share: Share) -> Wire:
        return Wire(share.shape, share.bits, share.scale)

    def deal_mask_share(self, wire: Wire) -> None:
        self.share(wire.shape, wire.bits)

    def deal_lift(self, wire: Wire, bits: int) -> tuple[U64, ...]:
        self.share(wire.shape, bits)
        self.share(wire.shape, bits)
        return ()
