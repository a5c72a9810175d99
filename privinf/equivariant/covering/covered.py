"""What covering a model yields: weights for the server, and the arrays of the client's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privinf.equivariant.key import Covers
from privinf.models.source.tensors import Array


@dataclass(frozen=True, eq=False)
class Covered(Covers):
    """A covered model, and what uncovers it.

    Attributes:
        weights: as privinf.models names them.
        width: of its rows.
        eps_scale: of its norms' epsilon, in that of the plain model's.
        tied: its head is its embedding.
        local: embedding and head stay with the client.
    """

    weights: Mapping[str, Array] = field(repr=False)
    width: int
    eps_scale: float = 1.0
    tied: bool = False
    local: bool = False
