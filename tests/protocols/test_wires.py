"""Secrets and their local arithmetic: what may be derived, and what must not escape."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from privinf.protocols import ring
from privinf.protocols.masked.wires import (
    Known,
    Share,
    Wire,
    add,
    derive,
    map_share,
    narrow,
    subtract,
)

VALUE = 123456789


def full(shape: ring.Shape, value: int) -> ring.U64:
    return np.full(shape, value, dtype=np.uint64)


SECRETS = [
    Share((2,), 40, 3, full((2,), VALUE)),
    Known((2,), full((2,), VALUE)),
    Wire((2,), 40, 3, source=full((2,), VALUE), mask=full((2,), VALUE), mask_share=full((2,), VALUE)),
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda s: type(s).__name__)
def test_secrets_do_not_escape(secret: Share | Known | Wire) -> None:
    kind = type(secret).__name__
    assert repr(secret) == str(secret) == f"{secret}" == f"<{kind}>"
    assert str(VALUE) not in f"{[secret]!r}"
    with pytest.raises(TypeError, match="no truth value"):
        bool(secret)
    with pytest.raises(TypeError, match="cannot be compared"):
        assert secret == secret
    with pytest.raises(TypeError, match="cannot be compared"):
        assert secret != 0
    with pytest.raises(TypeError, match="cannot be compared"):
        assert secret in [0]
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(secret)


def test_no_arithmetic_that_forgets_ring_and_scale() -> None:
    share = Share((1,), 8, 0, full((1,), 1))
    for act in (lambda: share + share, lambda: -share, lambda: share * 2, lambda: float(share)):  # type: ignore
        with pytest.raises(TypeError):
            act()


def test_sums_take_the_smaller_ring_and_broadcast() -> None:
    total = add(Share((2, 3), 40, 5, full((2, 3), 7)), Share((3,), 30, 5, full((3,), 2)))
    assert (total.shape, total.bits, total.scale) == ((2, 3), 30, 5)
    np.testing.assert_array_equal(total.value, full((2, 3), 9))
    less = subtract(Share((3,), 40, 5, full((3,), 7)), Share((3,), 64, 5, full((3,), 9)))
    np.testing.assert_array_equal(ring.signed(less.value, less.bits), np.full(3, -2))


def test_sums_of_different_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="scales 5 and 6"):
        add(Share((1,), 8, 5), Share((1,), 8, 6))


def test_a_share_cannot_be_widened() -> None:
    assert narrow(Share((1,), 40, 0, full((1,), 1)), 8).bits == 8
    with pytest.raises(ValueError, match="cannot be widened"):
        narrow(Share((1,), 8, 0), 9)


def test_shares_without_data_stay_without() -> None:
    empty = Share((2,), 8, 0)
    full_share = Share((2,), 8, 0, full((2,), 1))
    assert add(empty, full_share).data is None
    assert map_share(empty, (2,), lambda v: v + np.uint64(1)).data is None


def test_an_unopened_wire_cannot_be_read() -> None:
    with pytest.raises(AssertionError, match="before its round"):
        _ = Wire((1,), 8, 0).public


def _party_wire(mask_share: int = 5, round_index: int = 0) -> Wire:
    wire = Wire((2,), 8, 3, round_index, mask_share=full((2,), mask_share))
    wire.source = full((2,), 20)
    return wire


def _double(v: ring.U64) -> ring.U64:
    return ring.low(v * np.uint64(2), 8)


def test_a_linear_wire_keeps_its_mask_share() -> None:
    wire = derive([_party_wire()], (2,), 8, 3, public=_double, mask=_double)
    assert wire.shared
    np.testing.assert_array_equal(wire.public, full((2,), 40))
    np.testing.assert_array_equal(wire.own_mask, full((2,), 10))


def test_a_nonlinear_wire_has_no_mask_share_until_it_is_dealt() -> None:
    def halve(v: ring.U64) -> ring.U64:
        return v >> np.uint64(1)

    wire = derive([_party_wire()], (2,), 7, 2, public=halve, mask=halve, linear=False)
    assert not wire.shared
    assert wire.mask_share is None
    assert not derive([wire], (2,), 7, 2, public=_double, mask=_double).shared
    dealt = Wire((2,), 8, 3, mask=full((2,), 7))
    np.testing.assert_array_equal(
        derive([dealt], (2,), 7, 2, public=halve, mask=halve, linear=False).secret, full((2,), 3)
    )


def test_a_derived_wire_opens_with_its_latest_parent() -> None:
    late = derive(
        [_party_wire(round_index=2), _party_wire(round_index=5)],
        (2,),
        8,
        3,
        public=lambda a, b: a + b,
        mask=lambda a, b: a + b,
    )
    assert late.round == 5


def test_a_derived_wire_reads_its_parents_only_when_it_is_read() -> None:
    parent = Wire((2,), 8, 3, 0, mask_share=full((2,), 1))
    parent.source = lambda: pytest.fail("read too early")
    child = derive([parent], (2,), 8, 3, public=_double, mask=_double)
    parent.source = full((2,), 3)
    np.testing.assert_array_equal(child.public, full((2,), 6))
