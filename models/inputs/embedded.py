"""Embeddings that everybody knows, normalised: tables by which a party multiplies its shares of one-hots.

A normalised row is (token + position) / deviation. Positions are public, so the deviation is a public function of token
and place: a column of inverses for each place, as integers that every machine computes alike (roots and quotients are
exact in IEEE arithmetic, and sums of squares are integers).
"""

from __future__ import annotations

import threading

import numpy as np

from privinf.protocols import kernels
from privinf.protocols.kernels.reference import U32
from privinf.protocols.masked.gates.norm import NormSpec
from privinf.protocols.ring import U64

BLOCK = 16  # places whose inverses are computed together
NARROW = 32  # a ring in which products take half the memory and time


class Embedded:
    """Tokens (vocabulary, width) and positions as encoded weights, laid out as a plan's normalisation takes them."""

    def __init__(self, tokens: U64, positions: U64, norm: NormSpec) -> None:
        self._norm = norm
        self._tokens, self._positions = (_rounded(table, norm.drop) for table in (tokens, positions))
        self._narrow = self._tokens.astype(np.uint32) if norm.bits - norm.drop <= NARROW else None
        self._lock = threading.Lock()
        self._inverses: U32 = np.empty((0, len(tokens)), dtype=np.uint32)

    def rows(self, vectors: U64) -> U64:
        """Sums over the vocabulary of vectors (batch, places, vocabulary) times token plus position."""
        found = self._selected(vectors.reshape(1, -1, vectors.shape[-1]))
        total = vectors.sum(axis=-1, keepdims=True, dtype=np.uint64)
        rows: U64 = found.reshape(*vectors.shape[:-1], -1) + total * self._positions[: vectors.shape[1]]
        return rows

    def _selected(self, vectors: U64) -> U64:
        ring = kernels.default()
        if self._narrow is None:
            return ring.ring_matmul(vectors, self._tokens[None], 64)
        return ring.ring_matmul32(vectors.astype(np.uint32), self._narrow[None]).astype(np.uint64)

    def inverses(self, vectors: U64) -> U64:
        """Sums over the vocabulary of vectors times the inverse deviation of token plus position."""
        columns = self.prepared(vectors.shape[1])
        found: U64 = np.einsum("bpv,pv->bp", vectors, columns, dtype=np.uint64)
        return found[..., None]

    def prepared(self, places: int) -> U32:
        """Inverse deviations of the first places (places, vocabulary), computed once and kept."""
        with self._lock:
            if (start := len(self._inverses)) < places:
                lengths = _squares(self._tokens)
                blocks = [
                    self._block(lengths, self._positions[at : min(at + BLOCK, places)])
                    for at in range(start, places, BLOCK)
                ]
                self._inverses = np.concatenate((self._inverses, *blocks))
            return self._inverses[:places]

    def _block(self, lengths: U64, positions: U64) -> U32:
        turned = np.ascontiguousarray(positions.T)
        cross = kernels.default().ring_matmul(self._tokens[None], turned[None], 64)[0].T
        return _inverse(lengths + cross * np.uint64(2) + _squares(positions)[:, None], self._norm)


def _squares(x: U64) -> U64:
    """Of whole rows."""
    total: U64 = (x * x).sum(axis=-1, dtype=np.uint64)
    return total


def _rounded(table: U64, drop: int) -> U64:
    if drop == 0:
        return table
    return ((table.view(np.int64) + (1 << (drop - 1))) >> np.int64(drop)).view(np.uint64)


def _inverse(squares: U64, norm: NormSpec) -> U32:
    """2^inverse_scale / sqrt(squares / width + eps), below 2^32: rows of next to no deviation end there."""
    variance = squares.astype(np.float64) / norm.width + norm.eps * 4.0**norm.scale
    with np.errstate(divide="ignore"):
        exact = 2.0**norm.inverse_scale / np.sqrt(variance)
    return np.minimum(np.rint(exact), 2.0**32 - 1).astype(np.uint32)
