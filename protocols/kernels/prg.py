"""The length-doubling generator of the trees: AES-128 under public keys, behind an orthomorphism.

The keys of a tree are an argument of all that makes or walks it: they belong to one gate of one preparation, or to
one query, so that a guess of a seed is tried against that gate's trees and no others.
"""

from __future__ import annotations

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
    """What a block is hashed for; each use has its own key, so that no output serves two purposes."""

    SEED_LEFT = 0
    SEED_RIGHT = 1
    FINAL = 2
    FINAL_1 = 3
    FINAL_2 = 4
    FINAL_3 = 5


FINALS = (Use.FINAL, Use.FINAL_1, Use.FINAL_2, Use.FINAL_3)  # a leaf's blocks, in order
TREE_BYTES = BLOCK * len(Use)  # the public AES keys of one gate's trees, in the order of their uses
STREAM_KEY_BYTES = 2 * BLOCK  # of a stream: its key, and its first counter from the highest byte down


def key_of(tree: bytes, use: Use) -> bytes:
    """The AES key of a use."""
    return tree[BLOCK * use : BLOCK * (use + 1)]


def hash_blocks(tree: bytes, use: Use, blocks: U64) -> U64:  # (..., 2) low and high halves -> same shape
    """H(x) = AES_K(s(x)) xor s(x) with s(high, low) = (high xor low, high): Guo et al. 2020, section 7.3."""
    tweaked = np.empty(blocks.shape, np.uint64)
    tweaked[..., 0] = blocks[..., 1]
    tweaked[..., 1] = blocks[..., 1] ^ blocks[..., 0]
    # Each block is hashed by itself, so ECB is the bare permutation here.
    permuted = Cipher(AES(key_of(tree, use)), ECB()).encryptor().update(tweaked.tobytes())  # noqa: S305
    return np.frombuffer(permuted, np.uint64).reshape(tweaked.shape) ^ tweaked


def keystream(key: bytes, nbytes: int) -> U8:
    """AES-128 in counter mode, from a key and a first counter that wraps at 2^128."""
    cipher = Cipher(AES(key[:BLOCK]), CTR(key[BLOCK:]))
    return np.frombuffer(bytearray(cipher.encryptor().update(bytes(nbytes))), np.uint8)
