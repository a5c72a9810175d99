"""Ring elements as whole bytes on the wire: the NumPy reference of `pack` and `unpack`."""

from __future__ import annotations

import numpy as np

from privinf.protocols.kernels.prg import U8, U64


def width_of(bits: int) -> int:
    """Bytes of one element."""
    return (bits + 7) // 8


def _low(x: U64, bits: int) -> U64:
    return x if bits == 64 else x & np.uint64((1 << bits) - 1)


def pack(x: U64, bits: int) -> U8:
    """Little-endian bytes of x (N,) modulo 2^bits, `width_of(bits)` each."""
    width = width_of(bits)
    whole = np.ascontiguousarray(_low(x, bits)).view(np.uint8).reshape(len(x), 8)
    return np.ascontiguousarray(whole[:, :width]).reshape(-1)


def unpack(data: U8, bits: int, count: int) -> U64:
    """Inverse of `pack`; surplus high bits are cut off."""
    whole, width = np.zeros((count, 8), dtype=np.uint8), width_of(bits)
    whole[:, :width] = data.reshape(count, width)
    return _low(whole.view(np.uint64).reshape(-1), bits)
