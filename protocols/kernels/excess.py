"""Random combinations of what openings cut off, in plain NumPy: the reference of `excess`.

Of each element of an opened wire a party has, modulo 4,
    k = (high >> shift) * 2^up - (mask >> bits) - lane + (party 1 alone) upper - first
from its part of the opening, its part of the mask, and one of 2^steps lanes of two bits that were dealt to it: that
for which the opened value asks, by where in a ring of `bits` bits, half a ring on, it lies to the next of 2^steps
places. Only the sum of both parties' k says something. Coins are elements of Z_4 as well, 64 of them in a block of the
stream: their low bits, then their high bits. Combination l is the sum of coin i + l times element i. Where a sum of the
parties' k is odd, all combinations together are uniform: from the last such i on, each combination has a coin that the
ones before it lack. Where all are even but not zero, they are uniform among even ones, by the coins' low bits.
"""

from __future__ import annotations

import numpy as np

from privinf.protocols.kernels.prg import U8, U64, keystream

COMBINATIONS = 20
COINS = 64  # of a block


def elements(
    party: int, high: U64, shift: int, up: int, mask: U64, index: U64, bits: int, dealt: U64, steps: int
) -> U8:
    """Of each element k modulo 4, as above."""
    last, step = (1 << bits) - 1, 1 << (bits - steps)
    opened = index & np.uint64(last)
    moved = (opened + np.uint64(1 << (bits - 1))) & np.uint64(last)
    place = (moved + np.uint64(step // 2)) >> np.uint64(bits - steps)
    lane = dealt >> (np.uint64(2) * (place & np.uint64((1 << steps) - 1)))
    known = (opened >> np.uint64(bits - 1)) - (place == 0).astype(np.uint64)
    k = (high >> np.uint64(shift) << np.uint64(up)) - (mask >> np.uint64(bits)) - lane
    return ((k + known if party else k) & np.uint64(3)).astype(np.uint8)


def combined(coins: bytes, k: U8) -> U64:
    """The combinations of elements modulo 4."""
    n = len(k)
    blocks = keystream(coins, 16 * (-(-n // COINS) + 1)).reshape(-1, 2, 8)
    ones, twos = (np.unpackbits(blocks[:, i].reshape(-1), bitorder="little") for i in (0, 1))
    drawn = ones + 2 * twos
    sums = [int((drawn[i : i + n] * k & 3).sum(dtype=np.uint64)) & 3 for i in range(COMBINATIONS)]
    return np.array(sums, dtype=np.uint64)


def excess(
    coins: bytes,
    party: int,
    high: U64,
    shift: int,
    up: int,
    mask: U64,
    index: U64,
    bits: int,
    dealt: U64,
    steps: int,
) -> U64:
    """Both in one."""
    return combined(coins, elements(party, high, shift, up, mask, index, bits, dealt, steps))
