"""The share arithmetic of device_ring on the CPU, by the functions and kernels that the parties run."""

from __future__ import annotations

import numpy as np

from privinf.protocols import kernels, ring
from privinf.protocols.masked.gates import linear
from privinf.protocols.masked.gates.product import lifted_terms as lifted_terms
from privinf.protocols.masked.interpreter import drop_bits
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import U64, Shape
from privinf.protocols.ring import low as low


def shift_right(x: U64, count: int) -> U64:
    """x >> count."""
    return x >> np.uint64(count)


def signed(x: U64, bits: int) -> U64:
    """`ring.signed` as words."""
    return ring.signed(x, bits).view(np.uint64)


def dropped(public: U64, mask: U64, bits: int, count: int) -> U64:
    """Both halves of a wire after its low bits were cut off."""
    wire = drop_bits(Wire(public.shape, bits, 0, source=public, mask=mask), count)
    return np.stack([wire.public, wire.secret])


def opened(mine: U64, theirs: U64, bits: int) -> U64:
    """The public part of a wire from both parties' masked shares."""
    return ring.low(mine + theirs, bits)


def pack(x: U64, bits: int) -> np.ndarray:
    """`ring.pack` as an array."""
    return np.frombuffer(ring.pack(x, bits), dtype=np.uint8)


def unpack(raw: np.ndarray, bits: int, shape: Shape) -> U64:
    """`ring.unpack` of an array."""
    return ring.unpack(raw.data, bits, shape)


def matmul(a: U64, b: U64, bits: int) -> U64:
    """a @ b modulo 2^bits by the kernel in use."""
    return ring.low(linear.matmul(kernels.default(), a, b), bits)
