"""Keys show nothing of what they hide: bits of correction words are balanced and independent of alpha and beta.

A comparison key whose values came from seed bits, or from one key for both children, would evaluate correctly and
still carry lsb(beta) times the last bit of alpha in its final correction. No test of outputs sees that.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from privinf.protocols import kernels
from privinf.protocols.kernels import reference, separable
from privinf.protocols.kernels.prg import U64, Use, hash_blocks

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


def test_comparison_keys() -> None:
    alpha, beta, roots = _secrets()
    assert _worst([*kernels.dcf_gen(alpha, beta, BITS, *roots)], alpha, beta) < LIMIT


def test_comparison_keys_of_odd_payloads() -> None:
    alpha, beta, roots = _secrets()
    _, values = kernels.dcf_gen(alpha, beta | np.uint64(1), BITS, *roots)
    final = (values[BITS] & np.uint64(1)).astype(np.uint8)[:, None]
    assert abs(_deviations(final, alpha & np.uint64(1))[0]) < LIMIT


def test_point_keys() -> None:
    alpha, beta, roots = _secrets()
    cw, sign = kernels.dpf_gen(alpha, BITS, *roots)
    assert _worst([cw, sign[None] * np.uint8(255)], alpha, beta) < LIMIT


@pytest.mark.parametrize("lane", [8, 16])
def test_one_hot_keys(lane: int) -> None:
    alpha, beta, roots = _secrets()
    assert _worst([kernels.onehot_gen(alpha, BITS, lane, *roots)], alpha, beta) < LIMIT


def _separable_key(alpha: U64, beta: U64, roots: NDArray[np.uint8]) -> list[NDArray[np.generic]]:
    """A key whose payload's lowest bit is beta's."""
    payload = np.array([[6, 2**40, 0], [7, -1, 2**62 + 1]])
    mask = (alpha << np.uint64(1)) | (beta & np.uint64(1))
    cw, last = kernels.separable_gen(mask, BITS, 1, payload, 6, *roots)
    return [cw, last.T]


def test_payload_keys() -> None:
    alpha, beta, roots = _secrets()
    assert _worst(_separable_key(alpha, beta, roots), alpha, beta) < LIMIT


def test_payload_lanes_from_seed_bits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta, roots = _secrets()
    monkeypatch.setattr(kernels, "separable_gen", separable.separable_gen)
    assert _worst(_separable_key(alpha, beta, roots), alpha, beta) < LIMIT
    monkeypatch.setattr(separable, "_lanes", lambda seeds, count: np.repeat(seeds, 2, axis=1)[:, :count])
    assert _worst(_separable_key(alpha, beta, roots), alpha, beta) > 10 * LIMIT


def _leaky(use: Use, seeds: U64) -> U64:
    """Values as they must not be derived: one key for both children, and the end's from the seed itself."""
    low: U64 = seeds[..., 0] if use == Use.FINAL else hash_blocks(Use.VALUE_LEFT, seeds)[..., 0]
    return low


def test_the_trap_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta, roots = _secrets()
    monkeypatch.setattr(reference, "_low", _leaky)
    cw, values = reference.dcf_gen(alpha, beta, BITS, *roots)
    outputs = [reference.dcf_eval(b, roots[b], cw, values, BITS, alpha[None] - np.uint64(1)) for b in (0, 1)]
    right = np.where(alpha > 0, beta, 0)
    np.testing.assert_array_equal((outputs[0] + outputs[1])[0], right)  # no output betrays it
    np.testing.assert_array_equal(values[BITS] & alpha & np.uint64(1), alpha & beta & np.uint64(1))
    assert _worst([cw, values], alpha, beta) > 10 * LIMIT
