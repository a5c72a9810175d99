"""Covers of the residual stream: what producers add to it, and what linear layers that read it undo."""

from __future__ import annotations

from dataclasses import dataclass, field

from privinf.equivariant.covering.covers import centring, mean_keeping, orthogonal, permuting
from privinf.equivariant.covering.draw import F64, Draw
from privinf.equivariant.covering.keymat import KeyMatrices
from privinf.equivariant.covering.plain import Plain


@dataclass(frozen=True, eq=False)
class Square:
    """One matrix without noise, as wide as the model.

    Attributes:
        gain: of norms whose own gain went into the linear layer after them.
    """

    into: F64 = field(repr=False)
    back: F64 = field(repr=False)
    gain: float = 1.0

    @property
    def width(self) -> int:
        """Of covered rows."""
        return int(self.into.shape[1])

    def write(self) -> F64:
        """(plain width, width)."""
        return self.into

    def read(self) -> F64:
        """(width, plain width)."""
        return self.back


# write() @ read() is the identity on all rows that occur, whichever of them was drawn when.
Stream = Square | KeyMatrices


def square(plain: Plain, draw: Draw) -> Square:
    """The widest cover under which the family's norms stay exact.

    Gains after the residual sum (BERT) allow permutations only. LayerNorm before it ignores a row's mean: what is
    added is centred, and ones stay ones. RMSNorm allows every rotation.
    """
    if plain.post_norm:
        matrix = permuting(draw, plain.spec.width)
        return Square(matrix, matrix.T)
    if plain.spec.norm == "rms":
        matrix = orthogonal(draw, plain.spec.width)
        return Square(matrix, matrix.T)
    matrix = mean_keeping(draw, plain.spec.width)
    return Square(centring(plain.spec.width) @ matrix, matrix.T)
