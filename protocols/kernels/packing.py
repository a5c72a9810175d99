"""Ring elements as bytes: the NumPy reference of `pack`, `unpack` and `spread`."""

from __future__ import annotations

import numpy as np

from privinf.protocols.kernels.prg import U8, U64


def width_of(bits: int) -> int:
    """Whole bytes that hold one element."""
    return (bits + 7) // 8


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of `count` elements one after the other."""
    return (count * bits + 7) // 8


def pack(x: U64, bits: int) -> U8:
    """Elements (N,) modulo 2^bits, bit after bit."""
    whole = np.ascontiguousarray(x).astype("<u8").view(np.uint8).reshape(len(x), 8)
    each = np.unpackbits(whole, axis=1, count=bits, bitorder="little")
    return np.packbits(each.reshape(-1), bitorder="little")


def unpack(data: U8, bits: int, count: int) -> U64:
    """Inverse of `pack`."""
    each = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
    whole = np.zeros((count, 64), dtype=np.uint8)
    whole[:, :bits] = each
    return np.packbits(whole, axis=1, bitorder="little").view("<u8").reshape(count).astype(np.uint64)


def spread(data: U8, bits: int, count: int) -> U64:
    """Elements from whole bytes each; surplus high bits are cut off."""
    whole, width = np.zeros((count, 8), dtype=np.uint8), width_of(bits)
    whole[:, :width] = data.reshape(count, width)
    numbers: U64 = whole.view("<u8").reshape(count).astype(np.uint64)
    return numbers if bits == 64 else numbers & np.uint64((1 << bits) - 1)
