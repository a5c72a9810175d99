"""A static matrix as its products need it: modulo the ring of those alone, in five or six bytes a number, or four."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privinf.protocols import ring
from privinf.protocols.kernels import Kernels
from privinf.protocols.kernels.prg import U8
from privinf.protocols.kernels.reference import U32
from privinf.protocols.ring import U64, Shape

LOW = 32
MOST = 48  # bits that two planes hold


@dataclass(frozen=True, eq=False, repr=False)
class Planes:
    """A matrix (rows, columns) modulo 2^bits: the low 32 bits of its numbers, and the bytes above, if there are any."""

    bits: int
    low: U32
    high: U8 | None

    @classmethod
    def of(cls, value: U64, bits: int) -> Planes:
        """ValueError for a ring of more than MOST bits."""
        if not 1 <= bits <= MOST:
            raise ValueError(f"a matrix modulo 2^{bits} has no planes")
        low = value.astype(np.uint32)
        if bits <= LOW:
            return cls(bits, low, None)
        above = (value >> np.uint64(LOW)).astype("<u2").view(np.uint8).reshape(*value.shape, 2)
        return cls(bits, low, np.ascontiguousarray(above[..., : 1 if bits <= 40 else 2]))

    @property
    def shape(self) -> Shape:
        return self.low.shape

    @property
    def nbytes(self) -> int:
        return self.low.nbytes + (0 if self.high is None else self.high.nbytes)

    def product(self, kernels: Kernels, a: U64, bits: int) -> U64:
        """a (..., rows) times the matrix modulo 2^bits, its own ring; ValueError for another."""
        if bits != self.bits:
            raise ValueError(f"a matrix that is kept modulo 2^{self.bits} has no product modulo 2^{bits}")
        left = np.ascontiguousarray(a).reshape(1, -1, a.shape[-1])
        if self.high is None:
            short = kernels.ring_matmul32(left.astype(np.uint32), self.low[None])
            found = ring.low(short.astype(np.uint64), bits)
        else:
            found = kernels.ring_matmul_planes(left, self.low[None], self.high[None], bits)
        return found.reshape(*a.shape[:-1], self.low.shape[-1])
