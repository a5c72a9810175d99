"""Every kernel backend keeps the mathematical meaning of its functions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.errors import ConfigError
from privinf.protocols.kernels import LEVELS, Kernels, load

pytestmark = pytest.mark.fast_cases(5)  # of each test

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
TREE = bytes(range(96))  # six keys of 16 bytes
BITS = (1, 2, 3, 4, 6, 7, 8, 11, 18, 31, 62)


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
    return np.random.default_rng(20)


def _roots(rng: np.random.Generator, n: int) -> tuple[U8, U8]:
    both = rng.integers(0, 256, (2, n, 16), dtype=np.uint8)
    return both[0], both[1]


def _thresholds(rng: np.random.Generator, bits: int, n: int) -> U64:
    """Random numbers below 2^bits, with both ends of the range among them."""
    alpha = rng.integers(0, 2**bits, n, dtype=np.uint64)
    alpha[:2] = (0, 2**bits - 1)[: len(alpha[:2])]
    return alpha


def _points(rng: np.random.Generator, alpha: U64, bits: int) -> U64:
    near = [(alpha + np.uint64(d % 2**64)) & np.uint64(2**bits - 1) for d in (-1, 0, 1)]
    return np.stack([*near, rng.integers(0, 2**bits, len(alpha), dtype=np.uint64)])


@pytest.mark.parametrize("bits", BITS)
def test_point_and_prefix(kernels: Kernels, rng: np.random.Generator, bits: int) -> None:
    alpha, roots = _thresholds(rng, bits, 37), _roots(rng, 37)
    cw, sign = kernels.dpf_gen(TREE, alpha, bits, *roots)
    points = _points(rng, alpha, bits)
    found = [kernels.dpf_bit(TREE, b, roots[b], cw, bits, points) for b in (0, 1)]
    np.testing.assert_array_equal(found[0] ^ found[1], points == alpha)
    np.testing.assert_array_equal(found[0][1], sign)
    prefix = [kernels.dpf_prefix(TREE, b, roots[b], cw, bits, points) for b in (0, 1)]
    np.testing.assert_array_equal(prefix[0] ^ prefix[1], alpha <= points)


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("bits", [1, 5, 7, 8, 11])
@pytest.mark.parametrize("n", [1, 37])
def test_whole_domain(kernels: Kernels, rng: np.random.Generator, bits: int, n: int) -> None:
    """All bits at once are those at each point."""
    alpha, roots = _thresholds(rng, bits, n), _roots(rng, n)
    cw, _ = kernels.dpf_gen(TREE, alpha, bits, *roots)
    packed = [kernels.dpf_whole(TREE, b, roots[b], cw, bits) for b in (0, 1)]
    found = [np.unpackbits(half, axis=1, count=1 << bits, bitorder="little") for half in packed]
    every = np.arange(2**bits, dtype=np.uint64)
    np.testing.assert_array_equal(found[0] ^ found[1], every == alpha[:, None])
    points = np.ascontiguousarray(np.broadcast_to(every[:, None], (2**bits, n)))
    np.testing.assert_array_equal(found[1].T, kernels.dpf_bit(TREE, 1, roots[1], cw, bits, points))


def _entries(rng: np.random.Generator, count: int, width: int) -> NDArray[np.int64]:
    half = 2 ** (width - 1)
    table = rng.integers(-half, half, count, dtype=np.int64)
    table[[0, -1]] = half - 1, -half
    return table


@pytest.mark.fast_cases(20)
@pytest.mark.parametrize("width", [1, 8, 16, 33, 64])
@pytest.mark.parametrize(
    ("bits", "count"), [(1, 2), (5, 32), (6, 63), (7, 128), (9, 130), (12, 1024), (40, 300)]
)
def test_table(kernels: Kernels, rng: np.random.Generator, bits: int, count: int, width: int) -> None:
    n, start = 35, -(count // 3)
    alpha, roots, table = _thresholds(rng, bits, n), _roots(rng, n), _entries(rng, count, width)
    cw, sign = kernels.dpf_gen(TREE, alpha, bits, *roots)
    offset = rng.integers(-5, count + 5, n)  # some outside the table
    index = (alpha + (offset + start).astype(np.uint64)) & np.uint64(2**bits - 1)
    shares = [kernels.dpf_table(TREE, b, roots[b], cw, bits, index, start, table) for b in (0, 1)]
    reached = offset % 2**bits
    wanted = np.where(reached < count, table[np.minimum(reached, count - 1)], 0).view(np.uint64)
    np.testing.assert_array_equal(shares[0] + shares[1], np.where(sign == 1, wanted, np.uint64(0) - wanted))


def test_table_longer_than_a_chunk(kernels: Kernels, rng: np.random.Generator) -> None:
    bits, count = 18, (1 << 17) + 77
    alpha, roots, table = _thresholds(rng, bits, 3), _roots(rng, 3), _entries(rng, count, 12)
    cw, sign = kernels.dpf_gen(TREE, alpha, bits, *roots)
    offset = np.array([0, count - 1, 1 << 17])
    index = (alpha + offset.astype(np.uint64)) & np.uint64(2**bits - 1)
    shares = [kernels.dpf_table(TREE, b, roots[b], cw, bits, index, 0, table) for b in (0, 1)]
    wanted = table[offset] * np.where(sign == 1, 1, -1)
    np.testing.assert_array_equal((shares[0] + shares[1]).view(np.int64), wanted)


@pytest.mark.fast_cases(16)
@pytest.mark.parametrize("lane", [8, 16])
@pytest.mark.parametrize("bits", BITS)
def test_one_hot_point(kernels: Kernels, rng: np.random.Generator, bits: int, lane: int) -> None:
    alpha, roots = _thresholds(rng, bits, 37), _roots(rng, 37)
    cw, points = kernels.onehot_gen(TREE, alpha, bits, lane, *roots), _points(rng, alpha, bits)
    shares = [kernels.onehot_point(TREE, b, roots[b], cw, bits, lane, points) for b in (0, 1)]
    assert max(int(share.max()) for share in shares) < 2**lane
    np.testing.assert_array_equal((shares[0] + shares[1]) % np.uint64(2**lane), points == alpha)


def _counts(index: U64, alpha: U64, bits: int, group: int) -> NDArray[np.int64]:
    turned = ((index - alpha) & np.uint64(2**bits - 1)).astype(np.int64).reshape(-1, group)
    return np.stack([np.bincount(row, minlength=2**bits) for row in turned])


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize("lane", [8, 16])
@pytest.mark.parametrize(("bits", "group"), [(1, 1), (2, 40), (4, 5), (8, 8), (9, 20), (11, 4)])
def test_one_hot_sums(kernels: Kernels, rng: np.random.Generator, bits: int, group: int, lane: int) -> None:
    n = 40
    alpha, roots = _thresholds(rng, bits, n), _roots(rng, n)
    index = rng.integers(0, 2**bits, n, dtype=np.uint64)
    key, wanted = kernels.onehot_gen(TREE, alpha, bits, lane, *roots), _counts(index, alpha, bits, group)
    sums = [kernels.onehot_sum(TREE, b, roots[b], key, bits, lane, index, group) for b in (0, 1)]
    np.testing.assert_array_equal(sums[0] + sums[1], wanted)
    for count in {1, 2**bits // 3 + 1, 2**bits}:
        part = [
            kernels.onehot_window(TREE, b, roots[b], key, bits, lane, index, group, count) for b in (0, 1)
        ]
        np.testing.assert_array_equal(part[0] + part[1], wanted[:, :count])


def test_one_hot_sums_wrap(kernels: Kernels, rng: np.random.Generator) -> None:
    alpha, roots = np.zeros(300, np.uint64), _roots(rng, 300)
    cw = kernels.onehot_gen(TREE, alpha, 2, 8, *roots)
    sums = [kernels.onehot_sum(TREE, b, roots[b], cw, 2, 8, alpha, 300) for b in (0, 1)]
    np.testing.assert_array_equal(sums[0] + sums[1], [[300 % 256, 0, 0, 0]])


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 8, 130, 25), (1, 9, 17, 33), (1, 41, 150, 401)]
)
@pytest.mark.parametrize("dtype", [np.uint64, np.uint32])
def test_product(
    kernels: Kernels, rng: np.random.Generator, shape: tuple[int, int, int, int], dtype: type[np.uint64]
) -> None:
    batch, m, k, n = shape
    top = np.iinfo(dtype).max
    a = rng.integers(0, top, (batch, m, k), dtype=dtype, endpoint=True)
    b = rng.integers(0, top, (batch, k, n), dtype=dtype, endpoint=True)
    product = (lambda a, b: kernels.ring_matmul(a, b, 64)) if dtype == np.uint64 else kernels.ring_matmul32
    np.testing.assert_array_equal(product(a, b), a @ b)
    np.testing.assert_array_equal(product(a, b[:1]), a @ b[:1])


def test_every_number_of_rows(kernels: Kernels, rng: np.random.Generator) -> None:
    b = rng.integers(0, 2**64, (1, 11, 29), dtype=np.uint64)
    for m in range(35):
        a = rng.integers(0, 2**64, (1, m, 11), dtype=np.uint64)
        np.testing.assert_array_equal(kernels.ring_matmul(a, b, 64), a @ b)


def test_nothing_to_do(kernels: Kernels) -> None:
    none, roots, cw = np.empty(0, np.uint64), np.empty((0, 16), np.uint8), np.empty((2, 0, 16), np.uint8)
    assert kernels.dpf_gen(TREE, none, 8, roots, roots)[0].shape == (2, 0, 16)
    assert kernels.dpf_bit(TREE, 0, roots, cw, 8, none[None]).shape == (1, 0)
    assert kernels.dpf_prefix(TREE, 1, roots, cw, 8, none[None]).shape == (1, 0)
    assert kernels.dpf_table(TREE, 0, roots, cw, 8, none, 0, np.arange(3)).shape == (0,)
    assert kernels.onehot_gen(TREE, none, 5, 8, roots, roots).shape == (2, 0, 16)
    assert kernels.onehot_sum(TREE, 0, roots, cw, 5, 8, none, 4).shape == (0, 32)
    assert kernels.onehot_window(TREE, 0, roots, cw, 5, 8, none, 4, 3).shape == (0, 3)
    assert kernels.onehot_point(TREE, 0, roots, cw, 5, 8, none[None]).shape == (1, 0)
    no_rows = kernels.ring_matmul(np.empty((1, 0, 3), np.uint64), np.empty((1, 3, 2), np.uint64), 64)
    assert no_rows.shape == (1, 0, 2)
    empty_sum = kernels.ring_matmul(np.empty((1, 2, 0), np.uint64), np.empty((1, 0, 2), np.uint64), 64)
    np.testing.assert_array_equal(empty_sum, np.zeros((1, 2, 2)))


def test_an_empty_table_sums_to_nothing(kernels: Kernels, rng: np.random.Generator) -> None:
    alpha, roots = _thresholds(rng, 9, 5), _roots(rng, 5)
    cw, _ = kernels.dpf_gen(TREE, alpha, 9, *roots)
    np.testing.assert_array_equal(
        kernels.dpf_table(TREE, 1, roots[1], cw, 9, alpha, 0, np.empty(0, np.int64)), 0
    )


@pytest.mark.parametrize("nbytes", [0, 1, 16, 100, 5000])
def test_stream_is_aes_in_counter_mode(kernels: Kernels, nbytes: int) -> None:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    for first in (bytes(16), bytes(range(16)), bytes(8) + b"\xff" * 8, b"\xff" * 15 + b"\xfd"):
        key = bytes(range(16))
        cipher = Cipher(algorithms.AES(key), modes.CTR(first)).encryptor()
        assert kernels.stream(key + first, nbytes).tobytes() == cipher.update(bytes(nbytes))
