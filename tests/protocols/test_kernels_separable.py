"""Sums of table rows times a hidden payload vector mean what they say, at every backend."""

from __future__ import annotations

import subprocess
import sys

import at_a_fault
import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.errors import ConfigError
from privinf.protocols.kernels import LEVELS, Kernels, load

pytestmark = pytest.mark.fast_cases(5)  # of each test

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
TREE = bytes(range(96))  # six keys of 16 bytes
FAR = (7, -(2**40), -1)
NONE = (0, 0, 0)


def _available(level: str) -> bool:
    try:
        load(level)
    except ConfigError:
        return False
    return True


NATIVE = [level for level in LEVELS if level != "reference" and _available(level)]


@pytest.fixture(params=[*NATIVE, "reference"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return load(request.param)


class Case:
    """Random inputs; half of the indices lie near their mask, and the first is the mask itself."""

    def __init__(
        self, bits: int, low_bits: int, lanes: int, first: int, near: int, far: tuple[int, ...], n: int = 70
    ) -> None:
        self.rng = rng = np.random.default_rng(bits + 100 * lanes)
        self.bits, self.low_bits, self.first, self.far = bits, low_bits, first, np.array(far, np.int64)
        self.mask, self.index = rng.integers(0, 2**64, (2, n), dtype=np.uint64)  # beyond the bits that count
        close = rng.integers((first - 1) << low_bits, (first + near + 3) << low_bits, n // 2)
        self.index[: n // 2] = self.mask[: n // 2] + close.astype(np.uint64)
        self.index[0] = self.mask[0]
        self.payload = rng.integers(-(2**63), 2**63, (1 << low_bits, lanes))
        self.tables = rng.integers(-(2**31), 2**31, (near, 1 << low_bits, lanes)).astype(np.int32)
        self.tables.flat[:2] = -(2**31), 2**31 - 1
        self.roots = rng.integers(0, 256, (2, n, 16), dtype=np.uint8)

    def dealt(self, kernels: Kernels, lane_bytes: int) -> tuple[U8, U8]:
        given = (self.mask, self.bits, self.low_bits, self.payload, lane_bytes, *self.roots)
        return kernels.separable_gen(TREE, *given)

    def share(self, kernels: Kernels, party: int, cw: U8, last: U8, lane_bytes: int) -> U64:
        key = (party, self.roots[party], cw, last, self.bits, self.low_bits, lane_bytes)
        return kernels.separable_eval(TREE, *key, self.index, self.first, self.tables, self.far)

    def wanted(self) -> U64:
        """The sums modulo 2^64, each from the one distance at which the payload lies."""
        cut, low_bits = np.uint64(2**self.bits - 1), np.uint64(self.low_bits)
        high = (self.index >> low_bits) - (self.mask >> low_bits) & cut
        half, near = 2 ** (self.bits - 1), len(self.tables)
        distance = (high.astype(np.int64) - self.first) % 2**self.bits + self.first
        low, own = (
            (x & np.uint64((1 << self.low_bits) - 1)).astype(np.int64) for x in (self.index, self.mask)
        )
        payload = self.payload[own]
        rows = self.tables[np.minimum(distance - self.first, near - 1), low].astype(np.int64)
        close = (rows * payload).sum(axis=1)
        if not self.far.any():
            return np.where(distance < self.first + near, close, 0).view(np.uint64)
        line = self.far[0] * ((distance << self.low_bits) + low) + self.far[1]
        beyond = line * payload[:, 0] + self.far[2] * payload[:, 1]
        sums = np.where(distance < self.first + near, close, np.where(distance < half, beyond, 0))
        return sums.view(np.uint64)


def _assert_right(kernels: Kernels, case: Case, lane_bytes: int) -> None:
    cw, last = case.dealt(kernels, lane_bytes)
    shares = [case.share(kernels, party, cw, last, lane_bytes) for party in (0, 1)]
    top = np.uint64(2 ** (8 * lane_bytes) - 1)
    assert max(int(share.max()) for share in shares) <= int(top)
    np.testing.assert_array_equal((shares[0] + shares[1]) & top, case.wanted() & top)


@pytest.mark.fast_cases(20)
@pytest.mark.parametrize("lane_bytes", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 6, 7, 8])
def test_lanes(kernels: Kernels, lanes: int, lane_bytes: int) -> None:
    _assert_right(kernels, Case(5, 6, lanes, -1, 3, FAR if lanes > 1 else NONE), lane_bytes)
    _assert_right(kernels, Case(5, 6, lanes, 0, 2, NONE), lane_bytes)


@pytest.mark.fast_cases(16)
@pytest.mark.parametrize("far", [FAR, NONE, (0, 0, 1)])
@pytest.mark.parametrize(
    ("bits", "low_bits", "first", "near"),
    [
        (1, 0, -1, 1),
        (1, 3, -1, 2),
        (2, 1, -2, 4),  # tables for the whole domain
        (2, 0, 1, 1),
        (3, 2, -4, 1),  # far ones for all the rest of it
        (4, 2, 2, 5),
        (5, 14, -1, 3),
        (6, 0, -32, 64),
        (8, 1, -3, 6),
        (9, 1, 255, 1),
    ],
)
def test_distances(
    kernels: Kernels, bits: int, low_bits: int, first: int, near: int, far: tuple[int, ...]
) -> None:
    _assert_right(kernels, Case(bits, low_bits, 3, first, near, far), 6)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 31, 32, 33, 65])
def test_every_part_of_a_batch(kernels: Kernels, n: int) -> None:
    case = Case(4, 3, 3, 0, 2, FAR, max(n, 1))
    case.mask, case.index = case.mask[:n], case.index[:n]
    case.roots = np.ascontiguousarray(case.roots[:, :n])
    cw, last = case.dealt(kernels, 4)
    shares = [case.share(kernels, party, cw, last, 4) for party in (0, 1)]
    np.testing.assert_array_equal(
        (shares[0] + shares[1]) & np.uint64(2**32 - 1), case.wanted() & np.uint64(2**32 - 1)
    )


def test_the_greatest_sizes(kernels: Kernels) -> None:
    _assert_right(kernels, Case(16, 0, 2, -1, 4, NONE), 8)
    _assert_right(kernels, Case(16, 1, 2, 2**15 - 40, 9, FAR, 9), 8)
    _assert_right(kernels, Case(3, 20, 1, 0, 1, NONE, 9), 7)


READ_AT_A_FAULT = (
    at_a_fault.BEGINNING
    + """
for n in (1, 32, 33, 64, 67):
    for lanes, lane_bytes in ((1, 4), (1, 7), (2, 6), (3, 5), (7, 6), (8, 8)):
        mask, index = (at_the_end(x) for x in rng.integers(0, 2**64, (2, n), dtype=np.uint64))
        roots = [at_the_end(x) for x in rng.integers(0, 256, (2, n, 16), dtype=np.uint8)]
        payload = at_the_end(rng.integers(-9, 9, (4, lanes)))
        cw, last = kernels.separable_gen(TREE, mask, 3, 2, payload, lane_bytes, *roots)
        tables = at_the_end(rng.integers(-9, 9, (2, 4, lanes)).astype(np.int32))
        key = 1, roots[1], at_the_end(cw), at_the_end(last), 3, 2, lane_bytes
        kernels.separable_eval(TREE, *key, index, 0, tables, np.array([0, 0, lanes > 1]))
print("read")
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="the fault is set with Linux's mprotect")
@pytest.mark.parametrize("level", NATIVE)
def test_no_buffer_is_read_past_its_end(level: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_AT_A_FAULT, level], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "read"), done.stderr


@pytest.mark.parametrize("level", NATIVE)
@pytest.mark.parametrize("lane_bytes", [4, 6, 8])
@pytest.mark.parametrize(
    ("bits", "lanes", "first", "near", "far"),
    [(1, 1, 0, 1, NONE), (3, 2, -4, 8, NONE), (5, 7, -1, 3, FAR), (6, 3, -32, 4, FAR), (8, 8, 9, 5, NONE)],
)
def test_levels_give_the_reference_bytes(
    level: str, bits: int, lanes: int, first: int, near: int, far: tuple[int, ...], lane_bytes: int
) -> None:
    case, native, reference = Case(bits, 3, lanes, first, near, far), load(level), load("reference")
    cw, last = case.dealt(reference, lane_bytes)
    found = case.dealt(native, lane_bytes)
    np.testing.assert_array_equal(found[0], cw)
    np.testing.assert_array_equal(found[1], last)
    case.roots = case.rng.integers(0, 256, case.roots.shape, dtype=np.uint8)  # equal bytes need no meaning
    for party in (0, 1):
        shares = [case.share(kernels, party, cw, last, lane_bytes) for kernels in (native, reference)]
        np.testing.assert_array_equal(*shares)


@pytest.mark.parametrize("level", [*NATIVE, "reference"])
def test_received_buffers_are_read_in_place(level: str) -> None:
    case, kernels = Case(5, 4, 7, -1, 3, FAR, 41), load(level)
    cw, last = case.dealt(kernels, 6)
    share = case.share(kernels, 1, cw, last, 6)
    names = "mask", "index", "payload", "tables", "roots", "far"
    for name in names:
        setattr(case, name, _odd(getattr(case, name)))
    again = case.dealt(kernels, 6)
    np.testing.assert_array_equal(again[0], cw)
    np.testing.assert_array_equal(again[1], last)
    np.testing.assert_array_equal(case.share(kernels, 1, _odd(cw), _odd(last), 6), share)


def _odd(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same array, read-only, in a buffer that begins at an odd address."""
    shifted = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype)
    assert not shifted.flags.writeable
    return shifted.reshape(array.shape)
