"""Arithmetic modulo powers of two and fixed-point encoding, on NumPy arrays of uint64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from privinf.protocols.kernels import Kernels, default, packing

U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]
Shape = tuple[int, ...]

MAX_BITS = 64
element_bytes, packed_bytes = packing.width_of, packing.packed_bytes  # of one element; of many without a gap


def modulus_mask(bits: int) -> np.uint64:
    """The uint64 with the low `bits` bits set."""
    return np.uint64((1 << bits) - 1)


def low(x: U64, bits: int) -> U64:
    """x modulo 2^bits."""
    return x if bits == MAX_BITS else x & modulus_mask(bits)


def signed(x: U64, bits: int) -> npt.NDArray[np.int64]:
    """The representatives of x modulo 2^bits in [-2^(bits-1), 2^(bits-1))."""
    up = np.uint64(MAX_BITS - bits)
    return (x << up).view(np.int64) >> np.int64(up)


def encode(x: npt.ArrayLike, scale: int, bits: int = MAX_BITS) -> U64:
    """round(x * 2^scale) modulo 2^bits; raises ValueError unless |x| * 2^scale < 2^62."""
    scaled = np.rint(np.asarray(x, dtype=np.float64) * 2.0**scale)
    if not np.all(np.abs(scaled) < 2.0**62):
        raise ValueError(f"a value is too large, or not a number, to be encoded with {scale} fraction bits")
    return low(scaled.astype(np.int64).view(np.uint64), bits)


def decode(x: U64, scale: float, bits: int = MAX_BITS) -> F64:
    """The real number that a signed ring element at `scale` stands for."""
    decoded: F64 = signed(x, bits).astype(np.float64) * 2.0**-scale
    return decoded


def size_of(shape: Shape) -> int:
    """Number of elements of a shape."""
    return math.prod(shape)


def index_bits(size: int) -> int:
    """Bits of an index into so many places."""
    return max((size - 1).bit_length(), 1)


def pack(x: U64, bits: int, kernels: Kernels | None = None) -> memoryview:
    """x modulo 2^bits, bit after bit, `packed_bytes` of them."""
    return (kernels or default()).pack(np.ascontiguousarray(x).reshape(-1), bits).data


def unpack(buffer: memoryview | bytes, bits: int, shape: Shape, kernels: Kernels | None = None) -> U64:
    """Inverse of `pack`; what fills the last byte is cut off: every byte string decodes to ring elements."""
    size = size_of(shape)
    raw = np.frombuffer(buffer, dtype=np.uint8)
    if raw.size != packed_bytes(size, bits):
        raise ValueError(f"{raw.size} bytes cannot hold {size} elements of {bits} bits")
    return (kernels or default()).unpack(raw, bits, size).reshape(shape)
