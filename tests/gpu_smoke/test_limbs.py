"""Products by int8 digits equal integer products modulo every power of two, at the ends of their domain too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import limbs
import numpy as np
import pytest
from limbs import ring_matmul_limbs

from privinf.protocols import ring

pytestmark = pytest.mark.fast_cases(5)  # of each test

torch = pytest.importorskip("torch")

U64 = ring.U64
LOWEST_DIGITS = sum(-128 << 8 * place for place in range(8)) % (1 << 64)  # every digit is -128


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def words(rng: np.random.Generator, *shape: int) -> U64:
    """Uniform words, with the ends of the signed range and of the digits' range among them."""
    x = rng.integers(0, 1 << 64, shape, dtype=np.uint64)
    ends = np.array([0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, LOWEST_DIGITS, 127, 128], dtype=np.uint64)
    x.reshape(-1)[: ends.size] = ends[: x.size]
    return x


def product(a: U64, b: U64, bits: int) -> U64:
    """The product through signed tensors."""
    left, right = (torch.from_numpy(x.view(np.int64)) for x in (a, b))
    found: U64 = ring_matmul_limbs(left, right, bits).numpy().view(np.uint64)
    return found


@pytest.mark.fast_cases(15)
@pytest.mark.parametrize("bits", range(8, 65))
def test_every_ring(rng: np.random.Generator, bits: int) -> None:
    a, b = words(rng, 1, 5, 37), words(rng, 1, 37, 9)
    np.testing.assert_array_equal(product(a, b, bits), ring.low(np.matmul(a, b), bits))


@pytest.mark.parametrize(
    ("batch", "m", "k", "n"),
    [(1, 1, 1, 1), (1, 1, 70, 33), (3, 2, 8, 5), (2, 33, 16, 16), (1, 64, 17, 7), (2, 40, 31, 1)],
)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("bits", [33, 64])
def test_shapes(
    rng: np.random.Generator, batch: int, m: int, k: int, n: int, shared: bool, bits: int
) -> None:
    a, b = words(rng, batch, m, k), words(rng, 1 if shared else batch, k, n)
    np.testing.assert_array_equal(product(a, b, bits), ring.low(np.matmul(a, b), bits))


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("bits", "k"),
    [
        (8, (1 << 17) + 1),
        (
            40,
            (1 << 17) + 200,
        ),  # from here on an overflow shows: the result takes more than 32 bits of some order
        (48, (1 << 16) + 200),
        (64, limbs.depth(8)),
        (64, limbs.depth(8) + 1),
        (64, (1 << 15) + 200),
    ],
)
def test_largest_sums(bits: int, k: int) -> None:
    """The lowest digit against itself, along more terms than one int32 holds."""
    a = np.full((1, 1, k), LOWEST_DIGITS, dtype=np.uint64)
    wanted = k * LOWEST_DIGITS**2 % (1 << bits)
    assert int(product(a, a.reshape(1, k, 1), bits)[0, 0, 0]) == wanted


@pytest.mark.parametrize("count", range(1, 9))
def test_depth_is_the_bound(count: int) -> None:
    largest = 128 * 128 * count
    assert limbs.depth(count) * largest < 1 << 31 <= (limbs.depth(count) + limbs.UNIT) * largest


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (1, 0, 3, 4), (1, 2, 0, 4), (1, 2, 3, 0)])
def test_nothing_to_add_up(shape: tuple[int, int, int, int]) -> None:
    batch, m, k, n = shape
    a, b = np.ones((batch, m, k), dtype=np.uint64), np.ones((1, k, n), dtype=np.uint64)
    np.testing.assert_array_equal(product(a, b, 64), np.matmul(a, b))


def test_unsigned_and_strided_tensors(rng: np.random.Generator) -> None:
    a, b = words(rng, 2, 6, 10), words(rng, 2, 10, 4)
    left = torch.from_numpy(a.transpose(2, 1, 0).copy()).permute(2, 1, 0)
    right = torch.from_numpy(b.transpose(0, 2, 1).copy()).transpose(1, 2)
    found = ring_matmul_limbs(left, right, 64)
    assert found.dtype == torch.uint64
    np.testing.assert_array_equal(found.numpy(), np.matmul(a, b))


def test_arguments_are_left_alone(rng: np.random.Generator) -> None:
    a, b = words(rng, 1, 4, 8), words(rng, 1, 8, 4)
    before = a.copy(), b.copy()
    product(a, b, 40)
    np.testing.assert_array_equal(np.concatenate([a, b], axis=None), np.concatenate(before, axis=None))


@pytest.mark.parametrize("bits", [7, 65])
def test_other_rings_are_refused(bits: int) -> None:
    a = torch.zeros((1, 1, 1), dtype=torch.int64)
    with pytest.raises(ValueError, match=r"bits must be in \[8, 64\]"):
        ring_matmul_limbs(a, a, bits)


@pytest.mark.parametrize(
    ("left", "right"), [((1, 2, 3), (1, 2, 3)), ((3, 2, 3), (2, 3, 4)), ((2, 3), (3, 4)), ((1, 2, 3), (3, 4))]
)
def test_other_shapes_are_refused(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ring_matmul_limbs(torch.zeros(left, dtype=torch.int64), torch.zeros(right, dtype=torch.int64), 64)


@pytest.mark.parametrize(("left", "right"), [("int32", "int32"), ("int64", "uint64"), ("float64", "float64")])
def test_other_types_are_refused(left: str, right: str) -> None:
    a, b = (torch.zeros((1, 1, 1), dtype=getattr(torch, name)) for name in (left, right))
    with pytest.raises(ValueError, match="int64 or uint64"):
        ring_matmul_limbs(a, b, 64)


def test_processors_that_saturate_are_exact(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limbs, "_saturates", lambda: True)
    monkeypatch.setattr(torch, "_int_mm", None)
    a, b = words(rng, 2, 20, 40), words(rng, 2, 40, 9)
    np.testing.assert_array_equal(product(a, b, 52), ring.low(np.matmul(a, b), 52))


ON_ANOTHER_PROCESSOR = """
import torch
from limbs import ring_matmul_limbs
a = torch.full((1, 20, 300), (1 << 63) - 1)
b = torch.full((1, 300, 20), 127)
assert (ring_matmul_limbs(a, b, 64) == a[:, :, :20] * 127 * 300).all()
"""


@pytest.mark.slow
def test_an_older_processor_gives_the_same() -> None:
    """Without VNNI the int8 products of oneDNN saturate."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    words = [sys.executable, "-c", ON_ANOTHER_PROCESSOR]
    subprocess.run(words, env=environment, cwd=Path(limbs.__file__).parent, check=True, timeout=120)
