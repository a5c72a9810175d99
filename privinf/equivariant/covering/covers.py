"""Random matrices that cover a row x as x @ B: orthogonal, mean-keeping, permuting, well-conditioned, turning pairs."""

from __future__ import annotations

import numpy as np

from privinf.equivariant.covering.draw import F64, Draw

# Singular values of invertible covers lie between 1/SPREAD and SPREAD: float32 loses two bits to them at most.
SPREAD = 2.0


def orthogonal(draw: Draw, size: int, *batch: int) -> F64:
    """Uniform among the orthogonal matrices; the signs undo what QR prefers."""
    q, r = np.linalg.qr(draw.normal(*batch, size, size))
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return q * signs[..., None, :]


def mean_keeping(draw: Draw, size: int) -> F64:
    """Uniform among the orthogonal matrices that leave the row of ones alone, so that LayerNorm commutes with them."""
    inner = np.eye(size)
    if size > 1:
        inner[1:, 1:] = orthogonal(draw, size - 1)
    axis = np.full(size, size**-0.5)
    axis[0] -= 1.0
    mirror = np.eye(size)
    if axis @ axis:
        mirror -= 2.0 * np.outer(axis, axis) / (axis @ axis)
    return mirror @ inner @ mirror


def centring(size: int) -> F64:
    """Takes a row's mean off."""
    return np.eye(size) - 1.0 / size


def permuting(draw: Draw, size: int) -> F64:
    """A permutation as a matrix."""
    return np.ascontiguousarray(np.eye(size)[:, draw.order(size)])


def invertible(draw: Draw, size: int, *batch: int) -> tuple[F64, F64]:
    """A well-conditioned matrix and its inverse."""
    left, right = orthogonal(draw, size, *batch), orthogonal(draw, size, *batch)
    scales = draw.scales(*batch, 1, size, spread=SPREAD)
    return (left * scales) @ right, np.swapaxes(right, -1, -2) @ np.swapaxes(left / scales, -1, -2)


def turning(draw: Draw, size: int, *batch: int) -> tuple[F64, F64]:
    """What commutes with rotary positions, for queries, and its inverse transpose, for keys.

    Entries i and i + size/2 are a complex number, which is multiplied by one drawn for i: by c in queries and by
    1/conj(c) in keys, as a score sums q conj(k).
    """
    half = size // 2
    scale = draw.scales(*batch, half, spread=SPREAD)
    factor = scale * np.exp(2j * np.pi * draw.uniform(*batch, half))
    return _multiply(factor), _multiply(1.0 / factor.conj())


def _multiply(factor: np.ndarray) -> F64:
    """The matrices that multiply rows of complex numbers, real parts first: (..., half) to (..., 2 half, 2 half)."""
    half = factor.shape[-1]
    matrix = np.zeros((*factor.shape[:-1], 2 * half, 2 * half))
    i = np.arange(half)
    matrix[..., i, i] = matrix[..., i + half, i + half] = factor.real
    matrix[..., i, i + half] = factor.imag
    matrix[..., i + half, i] = -factor.imag
    return matrix
