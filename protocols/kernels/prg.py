"""The length-doubling generator of the trees: fixed-key AES-128 behind an orthomorphism."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
BLOCK = 16  # bytes


class Use(IntEnum):
    """What a block is hashed for; each use has its own public key, so that no output serves two purposes."""

    SEED_LEFT = 0
    SEED_RIGHT = 1
    FINAL = 2
    FINAL_1 = 3
    FINAL_2 = 4
    FINAL_3 = 5


FINALS = (Use.FINAL, Use.FINAL_1, Use.FINAL_2, Use.FINAL_3)  # a leaf's blocks, in order


def fixed_key(use: Use) -> bytes:
    """The public AES key of a use: the first half of SHA-256 of its label, so that nobody chose it."""
    label = "privinf tree generator, " + use.name.lower().replace("_", " ")
    return hashlib.sha256(label.encode()).digest()[:BLOCK]


FIXED_KEYS: tuple[bytes, ...] = tuple(fixed_key(use) for use in Use)


def hash_blocks(use: Use, blocks: U64) -> U64:  # (..., 2) low and high halves -> same shape
    """H(x) = AES_K(s(x)) xor s(x) with s(high, low) = (high xor low, high): Guo et al. 2020, section 7.3."""
    tweaked = np.empty(blocks.shape, np.uint64)
    tweaked[..., 0] = blocks[..., 1]
    tweaked[..., 1] = blocks[..., 1] ^ blocks[..., 0]
    # Each block is hashed by itself, so ECB is the bare permutation here.
    permuted = Cipher(AES(FIXED_KEYS[use]), ECB()).encryptor().update(tweaked.tobytes())  # noqa: S305
    return np.frombuffer(permuted, np.uint64).reshape(tweaked.shape) ^ tweaked


def keystream(key: bytes, nbytes: int) -> U8:
    """AES-128 in counter mode from counter zero."""
    return np.frombuffer(
        bytearray(Cipher(AES(key), CTR(bytes(BLOCK))).encryptor().update(bytes(nbytes))), np.uint8
    )
