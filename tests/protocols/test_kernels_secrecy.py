"""Keys show nothing of what they hide: bits of correction words are balanced and independent of the secrets.

A key whose payload lanes came from seed bits would evaluate correctly and still show bits of the point and of the
payload. No test of outputs sees that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.protocols.kernels import default, powers, separable
from privinf.protocols.kernels.prg import U64

kernels = default()
TREE = bytes(range(96))  # six keys of 16 bytes
N = 4096
BITS = 11
LIMIT = 6.0  # standard deviations: one of a thousand fair statistics exceeds it once in half a million runs


def _deviations(bits: NDArray[np.uint8], secret: NDArray[np.uint64]) -> NDArray[np.float64]:
    """How far each column's agreement with a secret bit is from chance, in standard deviations."""
    agree = (bits == secret.astype(np.uint8)[:, None]).sum(axis=0)
    found: NDArray[np.float64] = (agree - len(bits) / 2) / np.sqrt(len(bits) / 4)
    return found


def _worst(keys: list[NDArray[np.generic]], alpha: U64, beta: U64) -> float:
    """The largest deviation of any key bit from any predictor made of the secrets."""
    columns = [np.moveaxis(key, -2 if key.ndim == 3 else -1, 0).reshape(N, -1) for key in keys]
    bits = np.concatenate(
        [np.unpackbits(np.ascontiguousarray(c).view(np.uint8), axis=1) for c in columns], axis=1
    )
    one, last, first = np.uint64(1), alpha & np.uint64(1), alpha >> np.uint64(BITS - 1)
    low = beta & one
    predictors = [np.zeros(N, np.uint64), last, first, low, last & low, last ^ low, (last ^ one) & low]
    # A product of two fair bits is fair only against a fair column, so a balanced column is part of the claim.
    return max(float(np.abs(_deviations(bits, p)).max()) for p in predictors)


def _secrets() -> tuple[U64, U64, NDArray[np.uint8]]:
    rng = np.random.default_rng(99)
    alpha, beta = rng.integers(0, 2**BITS, N, dtype=np.uint64), rng.integers(0, 2**64, N, dtype=np.uint64)
    return alpha, beta, rng.integers(0, 256, (2, N, 16), dtype=np.uint8)


def test_point_keys() -> None:
    alpha, beta, roots = _secrets()
    cw, sign = kernels.dpf_gen(TREE, alpha, BITS, *roots)
    assert _worst([cw, sign[None] * np.uint8(255)], alpha, beta) < LIMIT


@pytest.mark.parametrize("lane", [8, 16])
def test_one_hot_keys(lane: int) -> None:
    alpha, beta, roots = _secrets()
    assert _worst([kernels.onehot_gen(TREE, alpha, BITS, lane, *roots)], alpha, beta) < LIMIT


def _separable_key(alpha: U64, beta: U64, roots: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """A key whose payload's lowest bit is beta's."""
    payload = np.array([[6, 2**40, 0], [7, -1, 2**62 + 1]])
    mask = (alpha << np.uint64(1)) | (beta & np.uint64(1))
    cw, last = kernels.separable_gen(TREE, mask, BITS, 1, payload, 6, *roots)
    return [cw, last.T]


def _first_lane(alpha: U64, beta: U64, roots: NDArray[np.uint8], key: list[NDArray[Any]]) -> U64:
    """The payload's first lane, less 6, as both parties' sums of one distance find it at the mask itself."""
    index, table = (alpha << np.uint64(1)) | (beta & np.uint64(1)), np.zeros((1, 2, 3), np.int32)
    table[..., 0] = 1
    words, last = key[0], np.ascontiguousarray(key[1].T)
    given = (words, last, BITS, 1, 6, index, 0, table, np.zeros(3, np.int64))
    shares = [separable.separable_eval(TREE, b, roots[b], *given) for b in (0, 1)]
    return (shares[0] + shares[1] - np.uint64(6)) & np.uint64(2**48 - 1)


def test_payload_keys() -> None:
    alpha, beta, roots = _secrets()
    assert _worst(_separable_key(alpha, beta, roots), alpha, beta) < LIMIT


def test_payload_lanes_from_seed_bits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta, roots = _secrets()
    monkeypatch.setattr(kernels, "separable_gen", separable.separable_gen)
    assert _worst(_separable_key(alpha, beta, roots), alpha, beta) < LIMIT
    monkeypatch.setattr(
        separable, "_lanes", lambda tree, seeds, count: np.repeat(seeds, 2, axis=-1)[..., :count]
    )
    leaky = _separable_key(alpha, beta, roots)
    right = beta & np.uint64(1)  # no output betrays it
    np.testing.assert_array_equal(_first_lane(alpha, beta, roots, leaky), right)
    assert _worst(leaky, alpha, beta) > 10 * LIMIT


def _power_key(alpha: U64, beta: U64, roots: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """A key whose last level's blocks are of two numbers, so that beta's lowest bit is the second lane's sign."""
    mask = (alpha << np.uint64(1)) | (beta & np.uint64(1))
    cw, values = kernels.powers_gen(TREE, mask, BITS + 1, 3, 9, 3, 8, 4, *roots)
    return [cw, values.astype("<u8").view(np.uint8).reshape(len(values), N, -1)]


def test_power_keys() -> None:
    alpha, beta, roots = _secrets()
    assert _worst(_power_key(alpha, beta, roots), alpha, beta) < LIMIT


def test_power_lanes_from_seed_bits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta, roots = _secrets()
    monkeypatch.setattr(kernels, "powers_gen", powers.powers_gen)
    assert _worst(_power_key(alpha, beta, roots), alpha, beta) < LIMIT
    monkeypatch.setattr(
        powers, "_lanes", lambda tree, seeds, count: np.repeat(seeds, 2, axis=-1)[..., :count]
    )
    assert _worst(_power_key(alpha, beta, roots), alpha, beta) > 10 * LIMIT
