"""Keys by which a client selects rows of a table: made, sent, and spread to shares of plus or minus one-hots; no torch.

Party 0's roots come from the seed of its share, party 1 is sent its own, and both are sent the correction words. That
a key selects one row is not taken for granted: the parties check it (protocols/masked/gates/selection.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privinf.protocols import kernels, prg, ring
from privinf.protocols.kernels.prg import BLOCK, U8
from privinf.protocols.kernels.reference import point_key_shape
from privinf.protocols.ring import U64, Shape


@dataclass(frozen=True)
class KeyForm:
    """The public form of keys (batch, rows), each of which selects a row of a table of `size`."""

    name: str
    rows: Shape
    size: int

    @property
    def count(self) -> int:
        return ring.size_of(self.rows)

    @property
    def index_bits(self) -> int:
        return ring.index_bits(self.size)

    @property
    def words_shape(self) -> tuple[int, int, int]:
        return point_key_shape(self.index_bits, self.count)

    @property
    def words_bytes(self) -> int:
        """Of correction words, to each party."""
        return ring.size_of(self.words_shape)

    @property
    def roots_bytes(self) -> int:
        """Of roots, to party 1 alone."""
        return self.count * BLOCK

    def own_roots(self, seed: bytes) -> U8:
        """Party 0's."""
        return prg.roots(seed, f"query/{self.name}", self.count)

    def make(self, index: U64, query: bytes, seed: bytes) -> tuple[bytes, bytes]:
        """Correction words and party 1's roots of keys that select these rows, in the query of this id."""
        theirs = prg.roots(prg.fresh_seed(), f"query/{self.name}", self.count)
        tree = prg.sent_tree(query, self.name)
        words, _ = kernels.default().dpf_gen(tree, index, self.index_bits, self.own_roots(seed), theirs)
        return words.tobytes(), theirs.tobytes()

    def spread(self, query: bytes, party: int, roots: U8, words: U8) -> U64:
        """This party's share (batch, rows, size) modulo 2^64: its bits, negated at party 1."""
        tree = prg.sent_tree(query, self.name)
        packed = kernels.default().dpf_whole(tree, party, roots, words, self.index_bits)
        bits = np.unpackbits(packed, axis=1, count=self.size, bitorder="little")
        share = bits.astype(np.uint64).reshape(*self.rows, self.size)
        return np.uint64(0) - share if party else share


class Cut:
    """Takes a buffer apart from front to back."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer, self._at = buffer, 0

    def take(self, nbytes: int) -> memoryview:
        """The next bytes."""
        piece = self._buffer[self._at : self._at + nbytes]
        self._at += nbytes
        return piece

    def blocks(self, shape: tuple[int, ...]) -> U8:
        """The next bytes as an array of their own."""
        return np.frombuffer(self.take(int(np.prod(shape))), dtype=np.uint8).reshape(shape).copy()
