"""Keys of a client that deviates: everything but plus or minus one one-hot is refused, by both parties."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from privinf.errors import InputError
from privinf.protocols import prg, ring
from privinf.protocols.masked.gates.selection import open_sums, require_one_row
from privinf.protocols.masked.interpreter import DIGEST_BYTES, Interpreter
from privinf.protocols.masked.wires import Share
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.trials import I64, held, share

SIZE = 300


def program(ctx: Interpreter, vectors: Share) -> Share:
    sums = open_sums(ctx, vectors)
    return held(ctx, require_one_row(ctx, sums))


def run(vectors: I64, tamper: lockstep.Tamper | None = None) -> lockstep.Lockstep:
    return lockstep.run(program, [share(vectors, 64)], (prg.fresh_seed(), prg.fresh_seed()), tamper=tamper)


def refused(vectors: I64) -> None:
    """Both parties refuse in shares, and so does the ideal functionality."""
    with pytest.raises(InputError, match="one row"):
        run(vectors)
    with pytest.raises(InputError, match="one row"):
        lockstep.ideal(program, [share(vectors, 64)], (prg.fresh_seed(), prg.fresh_seed()))


def entries(values: dict[int, int]) -> I64:
    vector = np.zeros((1, SIZE), dtype=np.int64)
    vector[0, list(values)] = list(values.values())
    return vector


@pytest.mark.parametrize("sign", [1, -1])
def test_one_hots_of_both_signs_pass(sign: int) -> None:
    vectors = np.eye(SIZE, dtype=np.int64)[[0, 7, 7, SIZE - 1]] * sign
    first, second = run(vectors).results
    np.testing.assert_array_equal(
        ring.signed(first.value + second.value, 64), np.full((4, 1), sign, dtype=np.int64)
    )


KNOWN: dict[str, dict[int, int]] = {
    "none": {},
    "two": {3: 1, 9: 1},
    "two of both signs": {3: 1, 9: -1},
    "two negative": {0: -1, SIZE - 1: -1},
    "three": {0: 1, 1: 1, 2: 1},
    "three of both signs": {0: 1, 1: -1, 2: 1},
    "three that sum to minus one": {0: -1, 1: -1, 2: 1},
    "all": dict.fromkeys(range(SIZE), 1),
    "all but one": dict.fromkeys(range(SIZE - 1), 1),
    "all of both signs, summing to one": {i: (-1) ** i for i in range(SIZE - 1)},
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_attacks_are_refused(name: str) -> None:
    refused(entries(KNOWN[name]))


def test_one_bad_row_among_good_ones_refuses_all() -> None:
    vectors = np.eye(SIZE, dtype=np.int64)[:20]
    vectors[11, 5] = -1
    refused(vectors)


def test_random_vectors_are_refused() -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        vector = np.zeros((1, SIZE), dtype=np.int64)
        places = rng.choice(SIZE, int(rng.integers(2, 40)), replace=False)
        vector[0, places] = rng.choice([-1, 1], places.size)
        refused(vector)


def test_each_party_refuses_by_itself() -> None:
    """Neither goes on where the other was told, and what was not refused cost one digest."""
    verdicts: list[Any] = []

    def noting(ctx: Interpreter, vectors: Share) -> Share:
        try:
            result = program(ctx, vectors)
            ctx.flush()
        except InputError as error:
            verdicts.append(error)
            raise
        return result

    with pytest.raises(InputError):
        lockstep.run(noting, [share(entries({}), 64)], (prg.fresh_seed(), prg.fresh_seed()))
    assert len(verdicts) == 2
    sent = run(entries({4: -1})).transcripts[0]
    assert [len(message) for message in sent] == [3 * 8, DIGEST_BYTES]


def test_digests_of_one_row_are_equal_at_both_and_new_in_every_query() -> None:
    runs = [run(entries({4: 1})).transcripts for _ in range(3)]
    assert all(first[1] == second[1] for first, second in runs)
    assert len({first[1] for first, _ in runs}) == 3


def test_a_digest_that_is_tampered_with_is_refused() -> None:
    with pytest.raises(InputError):
        run(entries({4: 1}), lambda party, at, m: bytes(b ^ 1 for b in m) if (party, at) == (0, 1) else m)


@pytest.mark.parametrize(("count", "bits"), [(3, 8), (5, 4)])
def test_the_share_of_coins_that_let_others_pass(count: int, bits: int) -> None:
    """The bound in small rings, for all signs and all coins; three entries of both signs reach it."""
    size = 1 << bits
    r = np.stack(np.meshgrid(*[np.arange(size)] * (count - 1)), axis=-1).reshape(-1, count - 1)
    for signs in product((1, -1), repeat=count):
        v = np.array(signs)
        first, second = r @ v[1:], (r * r) @ v[1:]  # the coin of the first entry is 0
        passing = ((first * first - v.sum() * second) % size == 0).mean()
        assert passing <= (bits + 1) / size
        if count == 3 and abs(v.sum()) == 1:
            assert passing == (bits + 1) / size
