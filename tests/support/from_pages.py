"""A few lines of the protocol, written from docs/protocol.md and its pages: no code is shared with the product."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

# ---------------------------------------------------------------- wires.md


def key_of(seed: bytes, label: str) -> bytes:
    return hashlib.blake2b(label.encode(), key=seed, digest_size=32, person=b"privinf prf v2").digest()


def stream(key: bytes, size: int) -> bytes:
    return Cipher(AES(key[:16]), CTR(key[16:])).encryptor().update(bytes(size))


def drawn(seed: bytes, name: str, shape: Sequence[int], bits: int) -> list[int]:
    size, width = list(accumulate(shape, lambda a, b: a * b, initial=1))[-1], -(-bits // 8)
    raw = stream(key_of(seed, f"{name}|{bits}|{'x'.join(map(str, shape))}"), size * width)
    return [int.from_bytes(raw[at : at + width], "little") % 2**bits for at in range(0, len(raw), width)]


def packed(values: Sequence[int], bits: int) -> bytes:
    whole = sum(value % 2**bits << bits * place for place, value in enumerate(values))
    return whole.to_bytes(-(-len(values) * bits // 8), "little")


def unpacked(raw: bytes, bits: int, count: int) -> list[int]:
    whole = int.from_bytes(raw, "little")
    return [whole >> bits * place & 2**bits - 1 for place in range(count)]


def sent(
    seed: bytes,
    party: int,
    share: Sequence[int],
    name: str,
    bits: int,
    drop: int = 0,
    shape: Sequence[int] = (),
) -> tuple[list[int], list[int]]:
    """A party's part of an opening, and its part of the mask once bits are dropped."""
    part = drawn(seed, f"{name}:mask", shape or (len(share),), bits)
    less = 1 << drop >> 1 if party else 0
    masked = [(x + r - less) % 2**bits for x, r in zip(share, part, strict=True)]
    return masked, [r >> drop for r in part]


def signed(value: int, bits: int) -> int:
    return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


# ---------------------------------------------------------------- keys.md


def tree_keys(maker: bytes, owner: bytes, name: str) -> bytes:
    parts = (b"privinf tree keys 2", maker, owner, name.encode())
    return hashlib.shake_256(b"".join(len(p).to_bytes(4, "little") + p for p in parts)).digest(96)


def hashed(tree: bytes, use: int, x: int) -> int:
    high, low = x >> 64, x % 2**64
    turned = (high ^ low) << 64 | high
    aes = Cipher(AES(tree[16 * use : 16 * use + 16]), ECB()).encryptor()
    return int.from_bytes(aes.update(turned.to_bytes(16, "little")), "little") ^ turned


class Walk:
    """One party on its way down one tree."""

    def __init__(self, tree: bytes, party: int, root: bytes) -> None:
        self.tree, self.party = tree, party
        self.seed, self.control = int.from_bytes(root, "little") & ~3, party

    def down(self, side: int, word: int) -> None:
        h, t = hashed(self.tree, side, self.seed), self.control
        self.seed, self.control = (h ^ t * word) & ~3, h & 1 ^ t & (word >> side)

    def leaf(self, word: int) -> int:
        return hashed(self.tree, 2, self.seed) ^ self.control * word


def dealt_words(tree: bytes, roots: Sequence[bytes], alpha: int, bits: int) -> tuple[list[int], int]:
    """The words of a point function with bits, and party 0's own bit at alpha."""
    both, words = [Walk(tree, party, root) for party, root in enumerate(roots)], []
    for level in range(max(bits - 7, 0)):
        right = alpha >> (bits - 1 - level) & 1
        sums = [hashed(tree, side, both[0].seed) ^ hashed(tree, side, both[1].seed) for side in (0, 1)]
        word = sums[1 - right] & ~3 | (sums[0] & 1 ^ right ^ 1) | (sums[1] & 1 ^ right) << 1
        words.append(word)
        for walk in both:
            walk.down(right, word)
    end = hashed(tree, 2, both[0].seed) ^ hashed(tree, 2, both[1].seed) ^ 1 << (alpha & 127)
    return [*words, end], both[0].leaf(end) >> (alpha & 127) & 1


def bit_at(walk: Walk, words: Sequence[int], bits: int, point: int) -> int:
    for level, word in enumerate(words[:-1]):
        walk.down(point >> (bits - 1 - level) & 1, word)
    return walk.leaf(words[-1]) >> (point & 127) & 1


def prefix_at(walk: Walk, words: Sequence[int], bits: int, point: int) -> int:
    """A share of whether alpha is at most the point: control bits are shares of whether it lies under a node."""
    parity = 0
    for level, word in enumerate(words[:-1]):
        right, above = point >> (bits - 1 - level) & 1, walk.control
        walk.down(right, word)
        parity ^= right & (above ^ walk.control)
    return parity ^ (walk.leaf(words[-1]) & (2 << (point & 127)) - 1).bit_count() & 1


def blocks(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[at : at + 16], "little") for at in range(0, len(raw), 16)]
