"""Weights that everybody knows, as programs take them: tables of embeddings apart from the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from privinf.models.inputs.embedded import Embedded
from privinf.models.programs.layout import TABLES, Layout
from privinf.protocols.kernels.reference import U32
from privinf.protocols.ring import U64


@dataclass(frozen=True)
class Public:
    """weights: ring elements of linear layers and the like; empty where those are private.

    tables: embeddings modulo 2^32, half the memory that a lookup reads; empty where parties are not to know them, or
    where the first layer takes normalised rows: those come of `normalised`, for roles that compute with them.
    """

    weights: Mapping[str, U64] = field(default_factory=dict, repr=False)
    tables: Mapping[str, U32] = field(default_factory=dict, repr=False)
    normalised: Embedded | None = field(default=None, repr=False)

    @classmethod
    def of(cls, layout: Layout, encoded: Mapping[str, U64]) -> Public:
        """What is public of a model's encoded weights."""
        norm = layout.plan.embed_norm
        weights = {n: w for n, w in encoded.items() if n not in TABLES} if layout.public else {}
        if norm is not None:
            known = None if not layout.public else Embedded(encoded[TABLES[0]], encoded[TABLES[1]], norm)
            return cls(weights, {}, known)
        tables = {n: w.astype(np.uint32) for n, w in encoded.items() if n in TABLES}
        return cls(weights, tables if layout.embedded else {})

    @classmethod
    def blank(cls, layout: Layout) -> Public:
        """Stand-ins that have a shape and no memory, for roles that compute nothing with them."""
        zero, small = np.zeros((), dtype=np.uint64), np.uint32(0)
        shapes = layout.model.shapes()
        weights = {n: np.broadcast_to(zero, s) for n, s in shapes.items() if n not in TABLES}
        tables = {n: np.broadcast_to(small, s) for n, s in shapes.items() if n in TABLES}
        keeps = layout.embedded and layout.plan.embed_norm is None
        return cls(weights if layout.public else {}, tables if keeps else {})


PRIVATE = Public()
