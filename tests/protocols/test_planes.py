"""Matrices in planes: products equal those of whole numbers in their ring, at every level, and in no other ring."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.errors import ConfigError
from privinf.protocols import ring
from privinf.protocols.kernels import LEVELS, Kernels, load
from privinf.protocols.masked.gates.linear import matmul
from privinf.protocols.masked.planes import Planes

RINGS = (1, 19, 32, 33, 39, 40, 41, 47, 48)


def _available(level: str) -> bool:
    try:
        load(level)
    except ConfigError:
        return False
    return True


@pytest.fixture(params=[level for level in LEVELS if _available(level)])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return load(request.param)


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("bits", RINGS)
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 16, 17, 33])
def test_products_equal_those_of_whole_numbers(kernels: Kernels, bits: int, rows: int) -> None:
    rng = np.random.default_rng(rows * 100 + bits)
    for depth, columns in ((1, 1), (9, 7), (24, 129), (130, 300)):
        a = rng.integers(0, 2**64, (rows, depth), dtype=np.uint64)
        b = rng.integers(0, 2**64, (depth, columns), dtype=np.uint64)
        wanted = ring.low(np.matmul(a, b), bits)
        np.testing.assert_array_equal(matmul(kernels, a, Planes.of(b, bits), bits), wanted)
        batch = a.reshape(rows, 1, depth)
        np.testing.assert_array_equal(matmul(kernels, batch, Planes.of(b, bits), bits)[:, 0], wanted)


def test_numbers_at_the_ends_of_their_range(kernels: Kernels) -> None:
    for bits in RINGS:
        b = np.array([[0, 1], [2**bits - 1, 2 ** (bits - 1)]], dtype=np.uint64)
        a = np.array([[2**64 - 1, 1]], dtype=np.uint64)
        wanted = ring.low(np.matmul(a, b), bits)
        np.testing.assert_array_equal(matmul(kernels, a, Planes.of(b, bits), bits), wanted)


def test_another_ring_is_refused(kernels: Kernels) -> None:
    b = Planes.of(np.ones((3, 2), dtype=np.uint64), 40)
    for bits in (39, 41, 64):
        with pytest.raises(ValueError, match="modulo 2\\^40"):
            matmul(kernels, np.ones((1, 3), dtype=np.uint64), b, bits)


@pytest.mark.parametrize("bits", [0, 49, 64])
def test_rings_that_planes_do_not_hold_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="no planes"):
        Planes.of(np.ones((1, 1), dtype=np.uint64), bits)


@pytest.mark.parametrize(("bits", "each"), [(19, 4), (32, 4), (33, 5), (40, 5), (41, 6), (48, 6)])
def test_a_number_takes_no_more_bytes_than_its_ring(bits: int, each: int) -> None:
    assert Planes.of(np.ones((5, 7), dtype=np.uint64), bits).nbytes == 35 * each
