"""Ring arithmetic: encoding, signs, and bytes on the wire, at the ends of every width."""

from __future__ import annotations

import numpy as np
import pytest

from privinf.errors import ConfigError
from privinf.protocols import kernels, ring

WIDTHS = [1, 2, 7, 8, 9, 31, 32, 33, 40, 62, 63, 64]


def ends(bits: int) -> ring.U64:
    """Return the smallest and largest ring elements and what lies around the sign's change."""
    half = 1 << (bits - 1)
    return np.array(sorted({0, 1, half - 1, half, 2 * half - 1}), dtype=np.uint64)


@pytest.mark.parametrize("bits", WIDTHS)
def test_pack_and_unpack_are_inverse(bits: int) -> None:
    x = np.concatenate([ends(bits), ring.low(np.arange(14, dtype=np.uint64), bits)])
    packed = ring.pack(x, bits)
    assert len(packed) == ring.packed_bytes(x.size, bits)
    np.testing.assert_array_equal(ring.unpack(packed, bits, x.shape), x)


@pytest.mark.parametrize("bits", WIDTHS)
def test_packing_reduces_first(bits: int) -> None:
    x = ends(64)
    assert ring.pack(x, bits) == ring.pack(ring.low(x, bits), bits)


def test_bytes_on_the_wire_are_little_endian() -> None:
    assert ring.pack(np.array([0x010203, 0xFF], dtype=np.uint64), 24) == bytes([3, 2, 1, 255, 0, 0])
    assert ring.pack(np.array([1, 0, 0, 1, 0, 0, 0, 0, 1], dtype=np.uint64), 1) == bytes([0b1001, 1])


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_byte_string_of_the_right_length_decodes(bits: int) -> None:
    size = 5
    decoded = ring.unpack(b"\xff" * ring.packed_bytes(size, bits), bits, (size,))
    np.testing.assert_array_equal(decoded, np.full(size, (1 << bits) - 1, dtype=np.uint64))


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("change", [-1, 1])
def test_another_length_is_refused(bits: int, change: int) -> None:
    nbytes = ring.packed_bytes(9, bits) + change
    with pytest.raises(ValueError, match=f"{nbytes} bytes cannot hold 9 elements of {bits} bits"):
        ring.unpack(b"\0" * nbytes, bits, (9,))


def test_unpacked_words_are_a_copy_of_the_buffer() -> None:
    buffer = bytearray(16)
    words = ring.unpack(memoryview(buffer), 64, (2,))
    buffer[0] = 1
    assert not words.any()


@pytest.mark.parametrize("bits", WIDTHS)
def test_signed_representatives(bits: int) -> None:
    half = 1 << (bits - 1)
    for x in ends(bits):
        wanted = int(x) - (1 << bits) * (int(x) >= half)
        assert int(ring.signed(np.array([x]), bits)[0]) == wanted


def test_signed_ignores_what_is_above_the_ring() -> None:
    assert int(ring.signed(np.array([0xF07], dtype=np.uint64), 8)[0]) == 7


@pytest.mark.parametrize("bits", [16, 40, 64])
@pytest.mark.parametrize("scale", [0, 5, 12])
def test_encoding_rounds_to_nearest(bits: int, scale: int) -> None:
    reals = np.array([0.0, 1.0, -1.0, 3.3, -3.3, 7.999, -8.0])
    encoded = ring.encode(reals, scale, bits)
    assert int(encoded.max()) >> bits == 0
    assert np.abs(ring.decode(encoded, scale, bits) - reals).max() <= 2.0 ** -(scale + 1)


def test_sizes() -> None:
    assert ring.size_of(()) == 1
    assert ring.size_of((3, 0)) == 0
    assert [ring.packed_bytes(n, 1) for n in (0, 1, 8, 9)] == [0, 1, 1, 2]
    assert ring.packed_bytes(3, 33) == 13


@pytest.mark.parametrize("bits", [1, 2, 7, 8, 9, 16, 17, 24, 31, 32, 33, 40, 46, 48, 56, 57, 58, 63, 64])
def test_every_backend_packs_alike(bits: int) -> None:
    """Against Python's own integers, at every length around a word, from views that are not aligned."""
    rng = np.random.default_rng(bits)
    width = (bits + 7) // 8
    for name in kernels.LEVELS:
        try:
            backend = kernels.load(name)
        except ConfigError:  # not for this processor
            continue
        for count in (0, 1, 2, 3, 7, 8, 9, 31, 1000):
            x = np.frombuffer(rng.bytes(8 * count), dtype=np.uint64)
            number = sum(int(v) % (1 << bits) << (i * bits) for i, v in enumerate(x))
            wanted = number.to_bytes(ring.packed_bytes(count, bits), "little")
            assert backend.pack(x, bits).tobytes() == wanted
            shifted = np.frombuffer(b"\xff" + wanted, dtype=np.uint8)[1:]
            np.testing.assert_array_equal(backend.unpack(shifted, bits, count), ring.low(x, bits))
            noise = np.frombuffer(rng.bytes(count * width), dtype=np.uint8)
            whole = [
                int.from_bytes(noise.tobytes()[i * width : (i + 1) * width], "little") for i in range(count)
            ]
            found = backend.spread(noise, bits, count)
            np.testing.assert_array_equal(found, np.array(whole, dtype=np.uint64) & ring.modulus_mask(bits))
