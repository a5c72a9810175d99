"""The only source of randomness: AES-128-CTR under a subkey per (seed, name)."""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import numpy.typing as npt

from privinf.protocols import kernels, ring
from privinf.protocols.ring import U64, Shape

SEED_BYTES = 32


def fresh_seed() -> bytes:
    """A new 256-bit seed from the operating system."""
    return secrets.token_bytes(SEED_BYTES)


def subkey(seed: bytes, name: str) -> bytes:
    """A 128-bit AES key bound to the seed and the whole name."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes")
    return hashlib.blake2b(name.encode(), key=seed, digest_size=16, person=b"privinf prf v1").digest()


def elements(seed: bytes, name: str, shape: Shape, bits: int) -> U64:
    """Uniform elements of Z_2^bits; shape and width are part of the name, so no two rings share a mask."""
    size = ring.size_of(shape)
    label = f"{name}|{bits}|{'x'.join(map(str, shape))}"
    raw = kernels.stream(subkey(seed, label), size * ring.element_bytes(bits))
    return kernels.spread(raw, bits, size).reshape(shape)


def roots(seed: bytes, name: str, count: int) -> npt.NDArray[np.uint8]:
    """`count` root seeds of function-secret-sharing keys, 16 bytes each."""
    return kernels.stream(subkey(seed, f"{name}|roots|{count}"), 16 * count).reshape(count, 16)
