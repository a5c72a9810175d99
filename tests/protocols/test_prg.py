"""The generator of masks: a stable function of seed and name, uniform, and another one for every name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from privinf.protocols import kernels, prg, ring

SEED = bytes(range(32))


def test_fresh_seeds_are_full_length_and_differ() -> None:
    seeds = {prg.fresh_seed() for _ in range(8)}
    assert len(seeds) == 8
    assert {len(seed) for seed in seeds} == {32}


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        prg.stream_key(b"\0" * length, "x")


def test_elements_are_aes_in_counter_mode_under_a_keyed_hash_of_the_name() -> None:
    name = "layer0/open#3:mask|40|2x3"
    key = hashlib.blake2b(name.encode(), key=SEED, digest_size=32, person=b"privinf prf v2").digest()
    blocks = Cipher(algorithms.AES(key[:16]), modes.CTR(key[16:])).encryptor().update(b"\0" * 30)
    wanted = ring.unpack(blocks, 40, (2, 3))
    np.testing.assert_array_equal(prg.elements(SEED, "layer0/open#3:mask", (2, 3), 40), wanted)


@pytest.mark.parametrize("level", ["reference", "portable"])
def test_backends_agree(level: str) -> None:
    usual = prg.elements(SEED, "a", (37,), 33), prg.roots(SEED, "a", 5)
    given = kernels.load(level)
    others = prg.elements(SEED, "a", (37,), 33, given), prg.roots(SEED, "a", 5, given)
    for one, other in zip(usual, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_everything_in_the_name_counts() -> None:
    drawn = [
        prg.elements(SEED, "a", (16,), 64),
        prg.elements(SEED, "b", (16,), 64),
        prg.elements(b"\1" + SEED[1:], "a", (16,), 64),
        prg.elements(SEED, "a", (4, 4), 64),
        prg.elements(SEED, "a", (16,), 63),
    ]
    flat = [x.reshape(-1) for x in drawn]
    for i, one in enumerate(flat):
        for other in flat[i + 1 :]:
            # the low 60 bits: a shared mask in a smaller ring would be a reuse as well
            assert not (ring.low(one, 60) == ring.low(other, 60)).any()


@pytest.mark.parametrize("bits", [1, 5, 8, 12, 33, 62, 64])
def test_elements_lie_in_the_ring_and_use_all_of_it(bits: int) -> None:
    x = prg.elements(SEED, "range", (4096,), bits)
    assert x.dtype == np.uint64
    ones = ((x[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).sum(axis=0)
    assert not ones[bits:].any()
    assert np.abs(ones[:bits].astype(float) - 2048).max() < 6 * 32  # six standard deviations


def test_roots_are_distinct_blocks() -> None:
    roots = prg.roots(SEED, "keys", 100)
    assert roots.shape == (100, 16)
    assert len({root.tobytes() for root in roots}) == 100
    assert not np.array_equal(roots[:5], prg.roots(SEED, "keys", 5))
