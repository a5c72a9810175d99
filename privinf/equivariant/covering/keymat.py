"""Key matrices wider than the model, after AloePri (2026): many covers and inverses that all fit one another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import lcm, sqrt

import numpy as np

from privinf.equivariant.covering.covers import orthogonal
from privinf.equivariant.covering.draw import F64, Draw
from privinf.equivariant.covering.noise import Noise
from privinf.equivariant.covering.plain import Plain

ALIGNED = 8  # columns, so that products stay fast


@dataclass(frozen=True, eq=False)
class KeyMatrices:
    """write() = [B C E] Z and read() = Zᵀ [B⁻¹; F; D], with C F = 0 and E D = 0, so that write() @ read() = 1.

    C and D are drawn anew for every producer and every reader. Norms divide by the length of the covered row, which is
    `stretch` times the plain one's but for what mixing adds to it: the smaller the mixing, the smaller the error.

    Attributes:
        base: B, orthogonal plus a Gaussian part, (width, width).
        fixed_into: E, of half rank.
        fixed_back: F, of half rank.
        free_into: rows that span the x with x F = 0, of which C's rows are made.
        free_back: rows that span the x with E xᵀ = 0, of which D's columns are made.
        turn: Z, orthogonal.
        stretch: of a row's length by write(), on average.
    """

    draw: Draw = field(repr=False)
    base: F64 = field(repr=False)
    inverse: F64 = field(repr=False)
    fixed_into: F64 = field(repr=False)
    fixed_back: F64 = field(repr=False)
    free_into: F64 = field(repr=False)
    free_back: F64 = field(repr=False)
    turn: F64 = field(repr=False)
    mixing: float
    stretch: float = 1.0

    @property
    def width(self) -> int:
        return len(self.turn)

    @property
    def gain(self) -> float:
        """A norm divides by the covered row's length, `stretch` times the plain one's on average."""
        return self.stretch * sqrt(len(self.base) / self.width)

    def write(self) -> F64:
        c = self.mixing * _gaussian(self.draw, len(self.base), len(self.free_into)) @ self.free_into
        return np.hstack((self.base, c, self.fixed_into)) @ self.turn

    def read(self) -> F64:
        d = _gaussian(self.draw, len(self.base), len(self.free_back)) @ self.free_back
        return self.turn.T @ np.vstack((self.inverse, self.fixed_back, d.T))


def key_matrices(plain: Plain, draw: Draw, noise: Noise) -> KeyMatrices:
    """One model's; transformers wants a width that the number of heads divides."""
    width = plain.spec.width
    step = lcm(plain.spec.heads, ALIGNED)
    server = -(-(width + 2 * noise.padding) // step) * step
    first = (server - width) // 2
    second = server - width - first
    base = orthogonal(draw, width) + noise.mixing * _gaussian(draw, width, width)
    into, back = _half_rank(draw, width, second), _half_rank(draw, width, first)
    keys = KeyMatrices(
        draw=draw,
        base=base,
        inverse=np.asarray(np.linalg.inv(base), dtype=np.float64),
        fixed_into=noise.mixing * into,
        fixed_back=back.T,
        free_into=_kernel(back),
        free_back=_kernel(into),
        turn=orthogonal(draw, server),
        mixing=noise.mixing,
    )
    return replace(keys, stretch=float(np.linalg.norm(keys.write())) / sqrt(width))


def _gaussian(draw: Draw, width: int, columns: int) -> F64:
    """(width, columns), so that a row of length one goes to one of length sqrt(columns / width)."""
    return draw.normal(width, columns) / sqrt(width)


def _half_rank(draw: Draw, width: int, columns: int) -> F64:
    rank = columns // 2
    return _gaussian(draw, width, rank) @ (draw.normal(rank, columns) / sqrt(columns))


def _kernel(matrix: F64) -> F64:
    """An orthonormal basis, as rows, of the x with matrix @ x = 0, where half the columns are the matrix's rank."""
    square = matrix.T @ matrix
    _, vectors = np.linalg.eigh(square)  # eigenvalues rise: those of the kernel come first
    return np.ascontiguousarray(vectors[:, : len(square) - len(square) // 2].T)
