"""Ring products are exact: on numbers at the ends of their range, on every remainder of a block, at every level."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.errors import ConfigError
from privinf.protocols.kernels import LEVELS, Kernels, default, load
from privinf.protocols.masked.gates.linear import matmul

pytestmark = pytest.mark.fast_cases(5)  # of each test

U64 = NDArray[np.uint64]
Product = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
EXTREMES = (0, 1, 2**52 - 1, 2**52, 2**63, 2**64 - 1)
# Each way to compute a product has rings of its own: bytes, numbers of 32 bits, of 52, of 64
RINGS = (1, 8, 20, 32, 34, 46, 52, 56, 57, 64)


HALVES = "halves"  # numbers of 32 bits themselves
KINDS = (*RINGS, HALVES)
Kind = int | str


def _available(level: str) -> bool:
    try:
        load(level)
    except ConfigError:
        return False
    return True


@pytest.fixture(params=[level for level in LEVELS if _available(level)])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return load(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(52)


def _product(kernels: Kernels, kind: Kind) -> Product:
    """The product in a ring, or that of halves."""
    if isinstance(kind, str):
        return kernels.ring_matmul32
    return lambda a, b: kernels.ring_matmul(a, b, kind)


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], kind: Kind) -> NDArray[Any]:
    """Of all 64 bits, unless the product's own type is narrower; one in four from the ends of a range."""
    numbers = rng.integers(0, 2**64, shape, dtype=np.uint64)
    ends = rng.choice(np.array(EXTREMES, np.uint64), shape)
    chosen = np.where(rng.integers(0, 4, shape) == 0, ends, numbers)
    return chosen.astype(np.uint32) if kind == HALVES else chosen


def _exact(a: NDArray[Any], b: NDArray[Any], kind: Kind) -> NDArray[Any]:
    """By Python's integers."""
    bits = 32 if isinstance(kind, str) else kind
    return (a.astype(object) @ b.astype(object) % 2**bits).astype(a.dtype)


def _assert_exact(kernels: Kernels, kind: Kind, a: NDArray[Any], b: NDArray[Any]) -> None:
    found = _product(kernels, kind)(a, b)
    assert found.dtype == a.dtype
    np.testing.assert_array_equal(found, _exact(a, b, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_single_products(kernels: Kernels, kind: Kind) -> None:
    pairs = np.array(list(product(EXTREMES, repeat=2)), np.uint64)
    pairs = pairs.astype(np.uint32) if kind == HALVES else pairs
    _assert_exact(kernels, kind, pairs[:, :1, None].copy(), pairs[:, 1:, None].copy())


@pytest.mark.fast_cases(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", EXTREMES)
@pytest.mark.parametrize("m", [3, 17])
def test_sums_that_wrap_many_times(kernels: Kernels, kind: Kind, number: int, m: int) -> None:
    dtype = np.uint32 if kind == HALVES else np.uint64
    a = np.full((1, m, 401), number % 2 ** (8 * np.dtype(dtype).itemsize), dtype)
    _assert_exact(kernels, kind, a, np.full((1, 401, 3), a[0, 0, 0], dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_rows(kernels: Kernels, rng: np.random.Generator, kind: Kind) -> None:
    a, b = _numbers(rng, (1, 34, 11), kind), _numbers(rng, (1, 11, 37), kind)
    whole = _exact(a, b, kind)
    for m in range(35):
        np.testing.assert_array_equal(_product(kernels, kind)(a[:, :m].copy(), b), whole[:, :m])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [5, 19])
def test_every_number_of_columns(kernels: Kernels, rng: np.random.Generator, kind: Kind, m: int) -> None:
    a, b = _numbers(rng, (1, m, 5), kind), _numbers(rng, (1, 5, 67), kind)
    whole = _exact(a, b, kind)
    for n in range(68):
        np.testing.assert_array_equal(_product(kernels, kind)(a, b[:, :, :n].copy()), whole[:, :, :n])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [5, 19])
def test_depths_about_a_block(kernels: Kernels, rng: np.random.Generator, kind: Kind, m: int) -> None:
    a, b = _numbers(rng, (1, m, 386), kind), _numbers(rng, (1, 386, 3), kind)
    for k in (*range(20), 191, 192, 193, 383, 384, 385, 386):
        _assert_exact(kernels, kind, a[:, :, :k].copy(), b[:, :k].copy())


@pytest.mark.fast_cases(6)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(20, 5, 300), (259, 195, 5), (33, 200, 270), (41, 801, 70), (301, 70, 23)])
def test_more_than_a_block(
    kernels: Kernels, rng: np.random.Generator, kind: Kind, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    _assert_exact(kernels, kind, _numbers(rng, (1, m, k), kind), _numbers(rng, (1, k, n), kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [1, 7, 18])
def test_batches(kernels: Kernels, rng: np.random.Generator, kind: Kind, m: int) -> None:
    a, b = _numbers(rng, (3, m, 9), kind), _numbers(rng, (3, 9, 21), kind)
    _assert_exact(kernels, kind, a, b)
    _assert_exact(kernels, kind, a, b[:1])


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 30, 0, 4), (2, 3, 4, 0)])
def test_empty_dimensions(kernels: Kernels, kind: Kind, shape: tuple[int, int, int, int]) -> None:
    batch, m, k, n = shape
    dtype = np.uint32 if kind == HALVES else np.uint64
    _assert_exact(kernels, kind, np.empty((batch, m, k), dtype), np.empty((batch, k, n), dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("m", [2, 27])
def test_operands_at_odd_addresses(kernels: Kernels, rng: np.random.Generator, kind: Kind, m: int) -> None:
    def odd(array: NDArray[Any]) -> NDArray[Any]:
        return np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)

    a, b = _numbers(rng, (1, m, 27), kind), _numbers(rng, (1, 27, 43), kind)
    found = _product(kernels, kind)
    np.testing.assert_array_equal(found(odd(a), odd(b)), _exact(a, b, kind))


@pytest.mark.parametrize("bits", RINGS)
def test_bits_above_the_ring_do_not_matter(kernels: Kernels, rng: np.random.Generator, bits: int) -> None:
    a, b = _numbers(rng, (1, 21, 30), 64), _numbers(rng, (1, 30, 18), 64)
    low = [x & np.uint64(2**bits - 1) for x in (a, b)]
    np.testing.assert_array_equal(kernels.ring_matmul(a, b, bits), kernels.ring_matmul(*low, bits))


@pytest.mark.parametrize("bits", [20, 32, 33, 40, 52, 53, 64])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("m", [5, 33])
def test_the_gates_product_is_right_in_its_ring(
    rng: np.random.Generator, bits: int, shared: bool, m: int
) -> None:
    a = _numbers(rng, (2, 3, m, 7), 64)
    b = _numbers(rng, (7, 6) if shared else (2, 3, 7, 6), 64)
    found = matmul(default(), a, b, bits)
    assert found.dtype == np.uint64
    assert found.shape == (2, 3, m, 6)
    exact = a.astype(object) @ b.astype(object)
    np.testing.assert_array_equal(found, (exact % 2**bits).astype(np.uint64))
