"""All kernel backends that this machine can run give the reference's bytes, from any buffer."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.errors import ConfigError
from privinf.protocols import kernels as chosen
from privinf.protocols.kernels import LEVELS, Kernels, load

REFERENCE = load("reference")
TREE = bytes(range(96))  # six keys of 16 bytes
SIZES = (1, 71)  # less than a batch, and whole batches with a part of one, at every level


def _native() -> list[str]:
    found = []
    for level in LEVELS:
        try:
            load(level)
        except ConfigError:
            continue
        found.append(level)
    return [level for level in found if level != "reference"]


@pytest.fixture(params=_native())
def native(request: pytest.FixtureRequest) -> Kernels:
    return load(request.param)


def _dealt(kernels: Kernels, bits: int, n: int) -> list[NDArray[np.generic]]:
    rng = np.random.default_rng(bits)
    alpha = rng.integers(0, 2**64, n, dtype=np.uint64)  # beyond 2^bits: reduced alike
    roots = rng.integers(0, 256, (2, n, 16), dtype=np.uint8)
    one_hot = [kernels.onehot_gen(TREE, alpha, bits, lane, *roots) for lane in (8, 16)]
    return [*kernels.dpf_gen(TREE, alpha, bits, *roots), *one_hot]


@cache
def _reference_keys(bits: int, n: int) -> list[NDArray[np.generic]]:
    return _dealt(REFERENCE, bits, n)


def _evaluated(kernels: Kernels, bits: int, n: int, party: int) -> list[NDArray[np.generic]]:
    rng = np.random.default_rng(bits + 100)
    dpf, _, small, wide = _reference_keys(bits, n)
    roots = rng.integers(0, 256, (n, 16), dtype=np.uint8)  # not the dealt ones: equal bytes need no meaning
    q = rng.integers(0, 2**64, (3, n), dtype=np.uint64)
    table = rng.integers(-(2**40), 2**15, min(2**bits, 700))
    out = [
        kernels.dpf_bit(TREE, party, roots, dpf, bits, q),
        kernels.dpf_prefix(TREE, party, roots, dpf, bits, q),
        kernels.dpf_table(TREE, party, roots, dpf, bits, q[0], -(2**61) + 5, table),
    ]
    if bits <= 12:
        out.append(kernels.dpf_whole(TREE, party, roots, dpf, bits))
    for lane, cw in ((8, small), (16, wide)):
        out.append(kernels.onehot_point(TREE, party, roots, cw, bits, lane, q))
        out.append(kernels.onehot_window(TREE, party, roots, cw, bits, lane, q[0], 1, min(2**bits, 45)))
        if bits <= 10:
            out.append(kernels.onehot_sum(TREE, party, roots, cw, bits, lane, q[0], n))
    return out


@cache
def _reference_outputs(bits: int, n: int, party: int) -> list[NDArray[np.generic]]:
    return _evaluated(REFERENCE, bits, n, party)


def _assert_same(found: list[NDArray[np.generic]], wanted: list[NDArray[np.generic]]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bits", [1, 3, 5, 6, 7, 9, 14, 33, 62])
def test_same_keys(native: Kernels, bits: int) -> None:
    for n in SIZES:
        _assert_same(_dealt(native, bits, n), _reference_keys(bits, n))


@pytest.mark.fast_cases(16)
@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("bits", [1, 3, 5, 6, 7, 8, 9, 10, 14, 33, 62])
def test_same_outputs(native: Kernels, bits: int, party: int) -> None:
    for n in SIZES:
        _assert_same(_evaluated(native, bits, n, party), _reference_outputs(bits, n, party))


def test_same_stream(native: Kernels) -> None:
    for nbytes in (1, 511, 512, 4097):
        np.testing.assert_array_equal(
            native.stream(b"k" * 30 + b"\xff\xf0", nbytes), REFERENCE.stream(b"k" * 30 + b"\xff\xf0", nbytes)
        )


def _odd(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same array, read-only, in a buffer that begins at an odd address."""
    shifted = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype)
    assert not shifted.flags.writeable
    assert array.itemsize == 1 or not shifted.flags.aligned
    return shifted.reshape(array.shape)


@pytest.mark.parametrize("level", [*_native(), "reference"])
def test_received_buffers_are_read_in_place(level: str) -> None:
    rng, kernels, n, bits = np.random.default_rng(3), load(level), 41, 12
    alpha, index = rng.integers(0, 2**bits, (2, n), dtype=np.uint64)
    roots = rng.integers(0, 256, (2, n, 16), dtype=np.uint8)
    dpf, sign = kernels.dpf_gen(TREE, _odd(alpha), bits, _odd(roots[0]), _odd(roots[1]))
    _assert_same([dpf, sign], [*kernels.dpf_gen(TREE, alpha, bits, *roots)])
    found = kernels.dpf_prefix(TREE, 0, _odd(roots[0]), _odd(dpf), bits, _odd(index[None]))
    _assert_same([found], [kernels.dpf_prefix(TREE, 0, roots[0], dpf, bits, index[None])])
    table = rng.integers(-9, 9, 70)
    found = kernels.dpf_table(TREE, 1, _odd(roots[1]), _odd(dpf), bits, _odd(index), 3, _odd(table))
    _assert_same([found], [kernels.dpf_table(TREE, 1, roots[1], dpf, bits, index, 3, table)])
    a, b = rng.integers(0, 2**64, (2, 1, 27, 27), dtype=np.uint64)
    _assert_same([kernels.ring_matmul(_odd(a), _odd(b))], [a @ b])


def test_the_low_root_bits_do_not_matter(native: Kernels) -> None:
    roots = np.random.default_rng(4).integers(0, 256, (2, 9, 16), dtype=np.uint8)
    other, alpha = roots.copy(), np.arange(9, dtype=np.uint64)
    other[:, :, 0] ^= 3
    _assert_same([*native.dpf_gen(TREE, alpha, 9, *roots)], [*native.dpf_gen(TREE, alpha, 9, *other)])


def _report(forced: str) -> subprocess.CompletedProcess[str]:
    code = "import privinf.protocols.kernels as k; print(k.default().name, k.why_reference())"
    environment = {**os.environ, "PRIVINF_KERNELS": forced}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("level", [*_native(), "reference"])
def test_the_environment_forces_a_backend(level: str) -> None:
    name, why = _report(level).stdout.split(maxsplit=1)
    assert name == LEVELS[level]
    assert why.strip() == ("PRIVINF_KERNELS=reference" if level == "reference" else "None")


def test_an_unknown_backend_is_refused() -> None:
    done = _report("fastest")
    assert done.returncode != 0
    assert "PRIVINF_KERNELS must be one of" in done.stderr


def test_a_reason_is_given_exactly_for_the_reference() -> None:
    assert (chosen.why_reference() is None) == (chosen.default().name != "reference")
