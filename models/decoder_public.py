"""Weights of a decoder that everybody knows, as its operations take them: tables of embeddings apart from the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from privinf.models.folder import blank_weights
from privinf.protocols import kernels
from privinf.protocols.kernels.reference import U32
from privinf.protocols.masked.wires import Share, map_share, narrow
from privinf.protocols.ring import U64, Shape

TABLES = ("embed.token", "embed.position")
TABLE_BITS = 32  # of a table's ring: half the memory that a lookup reads


@dataclass(frozen=True)
class Public:
    """weights: ring elements of linear layers and the like; empty where those are private.

    tables: embeddings modulo 2^TABLE_BITS; empty where parties are not to know them.
    """

    weights: Mapping[str, U64] = field(default_factory=dict, repr=False)
    tables: Mapping[str, U32] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, encoded: Mapping[str, U64], public: bool, embedded: bool) -> Public:
        """What is public of a decoder's encoded weights."""
        weights = {name: w for name, w in encoded.items() if name not in TABLES}
        tables = {name: w.astype(np.uint32) for name, w in encoded.items() if name in TABLES}
        return cls(weights if public else {}, tables if embedded else {})

    @classmethod
    def blank(cls, shapes: Mapping[str, Shape], public: bool, embedded: bool) -> Public:
        """Stand-ins that have a shape and no memory, for roles that compute nothing with them."""
        rest = {name: shape for name, shape in shapes.items() if name not in TABLES}
        tables = {name: np.broadcast_to(np.uint32(0), s) for name, s in shapes.items() if name in TABLES}
        return cls(blank_weights(rest) if public else {}, tables if embedded else {})


PRIVATE = Public()


def picked(onehot: Share, table: U32, bits: int, scale: float) -> Share:
    """[rows of a public table] modulo 2^bits of one-hots (1, rows, table), up to 32 bits; local."""
    shape = (*onehot.shape[:2], table.shape[1])

    def times(v: U64) -> U64:
        return kernels.default().ring_matmul32(v.astype(np.uint32), table[None]).astype(np.uint64)

    row = map_share(onehot, shape, times)
    return narrow(Share(shape, onehot.bits, scale, row.data), bits)
