"""What covering a model yields: weights for the server, and the arrays of the client's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privinf.equivariant.covering.draw import F64, Ids
from privinf.models.source.tensors import Array


@dataclass(frozen=True, eq=False)
class Covered:
    """A covered model; the key's arrays are described in privinf.equivariant.key.

    Attributes:
        weights: as privinf.models names them.
        width: of its rows.
        eps: of its norms.
        tied: its head is its embedding.
        local: embedding and head stay with the client.
    """

    weights: Mapping[str, Array] = field(repr=False)
    width: int
    eps: float
    tied: bool = False
    local: bool = False
    tokens: Ids | None = field(default=None, repr=False)
    hidden: F64 | None = field(default=None, repr=False)
    answer: F64 | None = field(default=None, repr=False)
    labels: F64 | None = field(default=None, repr=False)
    patches: F64 | None = field(default=None, repr=False)
    places: Ids | None = field(default=None, repr=False)
