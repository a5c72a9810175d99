"""Shares of powers mean what they say, at every backend: within their bounds, constant beyond, from any buffer."""

from __future__ import annotations

import subprocess
import sys

import at_a_fault
import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.errors import ConfigError
from privinf.protocols.kernels import LEVELS, Kernels, load, powers

pytestmark = pytest.mark.fast_cases(5)  # of each test

U64 = NDArray[np.uint64]
TREE = bytes(range(96))  # six keys of 16 bytes


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
    """Numbers at the ends of all octaves, of the domain, and between, under masks with bits beyond those that count."""

    def __init__(self, bits: int, low: int, high: int, lanes: int, halves: int, n: int = 90) -> None:
        self.rng = rng = np.random.default_rng(bits + 100 * lanes)
        self.form, self.low, self.high = (bits, low, high, lanes, 9, 3), low, high
        self.curve = (halves, 5, min(20 + low * halves // 2, 62))
        ends = {1 << a for a in range(low - 2, high + 1)} | {9 << (high - 3), 1 << (bits - 1)}
        most = (1 << bits) - (1 << (high - 3))
        marks = sorted({0, most} | {end + step for end in ends for step in (-1, 0, 1) if end + step <= most})
        spread = rng.random(n) * (high - low + 2) + low - 1
        inside = np.minimum(np.floor(2.0**spread), float(min(most, 2**62))).astype(np.uint64)
        self.x = np.concatenate([np.array(marks, np.uint64), inside])
        self.mask = rng.integers(0, 2**64, self.x.size, dtype=np.uint64)
        self.index = self.x + self.mask
        self.roots = rng.integers(0, 256, (2, self.x.size, 16), dtype=np.uint8)

    def total(self, kernels: Kernels) -> U64:
        cw, values = kernels.powers_gen(TREE, self.mask, *self.form, *self.roots)
        key = (cw, values, *self.form, *self.curve, self.index)
        first, second = (kernels.powers_eval(TREE, b, self.roots[b], *key) for b in (0, 1))
        return first + second

    def at(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        halves, numerator, scale = self.curve
        values: NDArray[np.float64] = 2.0**scale * (numerator / x) ** (halves / 2)
        return values


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize(
    ("bits", "low", "high", "lanes", "bound"),
    [
        (4, 2, 3, 4, 2.0**-11),
        (9, 3, 8, 3, 2.0**-9.5),
        (28, 12, 27, 4, 2.0**-10.5),
        (30, 4, 9, 2, 2.0**-5.5),
        (55, 35, 50, 4, 2.0**-10),
        (64, 20, 40, 4, 2.0**-8.5),
        (64, 61, 63, 1, 0.3),
    ],
)
def test_powers(
    kernels: Kernels, bits: int, low: int, high: int, lanes: int, bound: float, halves: int
) -> None:
    case = Case(bits, low, high, lanes, halves)
    marked, x = case.total(kernels), case.x.astype(float)
    found = (marked & np.uint64(powers.SATURATED - 1)).astype(float)
    unit = 2.0**9.3 if lanes > 1 else 0.5  # half of the payload of all lanes
    inside = (case.x >= 1 << low) & (case.x < 1 << high)
    wanted = case.at(np.clip(x, 2.0**low, 2.0**high))
    assert (np.abs(found - wanted) <= wanted * bound + unit)[inside].all()
    assert not (marked >> np.uint64(62))[inside].any()
    assert (marked >> np.uint64(62) == 1)[(case.x < 3 << (low - 2)) | (case.x >= 9 << (high - 3))].all()
    ends = np.rint(case.at(2.0 ** np.array([low, high], float)))
    assert (found[case.x < 3 << (low - 2)] == ends[0]).all()
    assert (found[case.x >= 9 << (high - 3)] == ends[1]).all()
    between = ~inside & (case.x >= 3 << (low - 2)) & (case.x < 9 << (high - 3))
    assert (np.abs(found / wanted - 1) < 0.34 + bound + 2.0**-6)[between].all()


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 9, 31, 32, 33, 65])
@pytest.mark.parametrize("level", NATIVE)
def test_every_part_of_a_batch(level: str, n: int) -> None:
    """Also arrays of none: nothing but the reference's bytes."""
    case = Case(20, 5, 11, 3, 1, 90)
    case.mask, case.index = case.mask[:n], case.index[:n]
    case.roots = np.ascontiguousarray(case.roots[:, :n])
    np.testing.assert_array_equal(case.total(load(level)), case.total(load("reference")))


@pytest.mark.parametrize("halves", [1, 2])
def test_factors_are_the_same_integers_at_every_level(halves: int) -> None:
    """Doubles take part: a sum of a product and a number that is rounded once would show in one of so many."""
    case = Case(50, 8, 46, 4, halves, 600)
    sums = [case.total(load(level)) for level in (*NATIVE, "reference")]
    for other in sums[1:]:
        np.testing.assert_array_equal(other, sums[0])


def test_an_integer_is_the_nearest_whatever_the_size() -> None:
    """The kernels round by adding 1.5 * 2^52."""
    rng = np.random.default_rng(3)
    numbers = np.concatenate([rng.standard_normal(1000) * 2.0**e for e in range(0, 48, 3)])
    numbers = np.concatenate([numbers, np.arange(-9, 10) + 0.5, np.arange(-9, 10) / 2 + 2.0**47])
    moved = (numbers + 1.5 * 2.0**52).view(np.int64) - np.float64(1.5 * 2.0**52).view(np.int64)
    np.testing.assert_array_equal(moved, np.rint(numbers).astype(np.int64))


@pytest.mark.parametrize("halves", [1, 2])
def test_coefficients_are_the_curves(halves: int) -> None:
    """Against exact ones, by a quadrature of many nodes."""
    form, curve = powers.Form(60, 30, 40, 4, 0, 0), powers.Curve(halves, 3, 48)
    a = np.linspace(7.0, 17.9, 200)
    y = np.cos((np.arange(64) + 0.5) * np.pi / 64)
    exact = 2.0**48 * (3 / ((a[:, None] - y) / 2 * 2.0**30)) ** (halves / 2)
    for lane in range(4):
        basis = np.cos(lane * np.arccos(y))
        wanted = (exact * basis).mean(axis=1) * (2 if lane else 1)
        found = powers.coefficients(form, curve, 30, a)[:, lane].view(np.int64)
        assert np.abs(found - wanted).max() <= 0.5 + exact.max() * 2.0**-21


READ_AT_A_FAULT = (
    at_a_fault.BEGINNING
    + """
for n in (1, 32, 33, 64, 67):
    for lanes in (1, 2, 3, 4):
        mask, index = (at_the_end(x) for x in rng.integers(0, 2**64, (2, n), dtype=np.uint64))
        roots = [at_the_end(x) for x in rng.integers(0, 256, (2, n, 16), dtype=np.uint8)]
        form = (20, 5, 9, lanes, 9, 3)
        cw, values = kernels.powers_gen(TREE, mask, *form, *roots)
        kernels.powers_eval(TREE, 1, roots[1], at_the_end(cw), at_the_end(values), *form, 1, 5, 20, index)
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
