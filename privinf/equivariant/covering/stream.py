"""Covers of the residual stream: what producers add to it, and what linear layers that read it undo."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from privinf.equivariant.covering.covers import centring, mean_keeping, orthogonal, permuting
from privinf.equivariant.covering.draw import F64, Draw
from privinf.equivariant.covering.plain import Plain


class Stream(Protocol):
    """A cover; write() @ read() is the identity on all rows that occur, whichever of them was drawn when.

    Attributes:
        width: of covered rows.
        gain: of norms whose own gain went into the linear layer after them.
        eps_scale: what a norm's epsilon is multiplied by.
    """

    @property
    def width(self) -> int: ...
    @property
    def gain(self) -> float: ...
    @property
    def eps_scale(self) -> float: ...
    def write(self) -> F64:
        """(plain width, width)."""

    def read(self) -> F64:
        """(width, plain width)."""


@dataclass(frozen=True, eq=False)
class Square:
    """One matrix without noise, as wide as the model."""

    into: F64 = field(repr=False)
    back: F64 = field(repr=False)
    gain: float = 1.0
    eps_scale: float = 1.0

    @property
    def width(self) -> int:
        return int(self.into.shape[1])

    def write(self) -> F64:
        return self.into

    def read(self) -> F64:
        return self.back


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
