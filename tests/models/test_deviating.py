"""A client that deviates chooses tokens and which rows are real, and nothing else; answers say no gain exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch")

from tiny import Shared, Tiny, load_tiny, write_model

from privinf.errors import InputError
from privinf.models.plan.ranges import sum_bits
from privinf.models.plan.scales import POST
from privinf.models.programs import texts
from privinf.models.programs.wire import parse, split
from privinf.protocols import prg, ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.ring import F64, U64

SEEDS = (b"\x0d" * 32, b"\x0e" * 32)
SHAPE = QueryShape("embed", 1, 8)
TOKENS = [5, 9, 5, 21, 30]
TRIALS = 9
HEAD = prg.SEED_BYTES + prg.QUERY_ID_BYTES  # what stands before party 0's correction words
Parts = tuple[bytes, bytes]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Return a tiny encoder of sentences."""
    return load_tiny(write_model(tmp_path_factory.mktemp("deviating") / "model", "embed"))


@pytest.fixture(scope="module")
def private(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Return it shared with private weights."""
    return tiny.share(tmp_path_factory.mktemp("private") / "shared", "private")


@pytest.fixture(scope="module")
def public(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Return it shared with public weights."""
    return tiny.share(tmp_path_factory.mktemp("public") / "shared", "public")


@pytest.fixture(params=["private", "public"])
def model(request: pytest.FixtureRequest) -> Shared:
    """Return it shared in either way."""
    shared: Shared = request.getfixturevalue(request.param)
    return shared


def honest(model: Shared) -> tuple[texts.Rows, Parts]:
    rows = model.rows(SHAPE, [np.array(TOKENS, dtype=np.int32)])
    return rows, split(model.client.layout.form(SHAPE), rows.values)


def meaning(model: Shared, parts: Parts) -> texts.Rows | None:
    """What both parties' messages select together; None where some key selects no single row."""
    layout = model.client.layout
    first, second = (parse(layout.form(SHAPE), b, memoryview(part)) for b, part in enumerate(parts))
    vectors = (first.lookups["token"].value + second.lookups["token"].value).view(np.int64)
    if not (np.abs(vectors).sum(axis=-1) == 1).all():
        return None
    real = (first.shared["real"].value ^ second.shared["real"].value).astype(bool)
    return texts.Rows(np.abs(vectors).argmax(axis=-1).astype(np.uint64), real)


def outcome(model: Shared, parts: Parts) -> U64 | None:
    """The sum of both shares of the answer; None where the query is refused."""
    try:
        session = model.exchange(SHAPE, parts, SEEDS)
    except InputError:
        return None
    return _total(model, SHAPE, session.shares)


def _total(model: Shared, shape: QueryShape, shares: Parts) -> U64:
    f = model.client.layout.result(shape)
    first, second = (ring.unpack(share[: f.nbytes], f.bits, f.shape) for share in shares)
    return ring.low(first + second, f.bits)


def means_what_it_selects(model: Shared, parts: Parts) -> bool:
    """Whether a query was taken; it must be if, and only if, it selects rows, and be answered for these rows alone."""
    rows, found = meaning(model, parts), outcome(model, parts)
    assert (rows is None) == (found is None)
    if rows is None or found is None:
        return False
    np.testing.assert_array_equal(found, outcome(model, split(model.client.layout.form(SHAPE), rows.values)))
    return True


def _keys(part: int, model: Shared) -> slice:
    """Where the correction words lie in a party's message."""
    start = prg.QUERY_ID_BYTES if part else HEAD
    return slice(start, start + model.client.layout.form(SHAPE).keys[0].words_bytes)


def garbage(model: Shared, parts: Parts) -> Parts:
    draw = np.random.default_rng(3)
    return draw.bytes(len(parts[0])), draw.bytes(len(parts[1]))


def zeros(model: Shared, parts: Parts) -> Parts:
    return bytes(len(parts[0])), bytes(len(parts[1]))


def same_message(model: Shared, parts: Parts) -> Parts:
    """Party 1's roots and words are those of another query."""
    return parts[0], honest(model)[1][1]


def empty_keys(model: Shared, parts: Parts) -> Parts:
    """Both parties hold the same bits, so that every difference is zero: what once was a row without a token."""
    form = model.client.layout.form(SHAPE).keys[0]
    roots = form.own_roots(parts[0][: prg.SEED_BYTES]).tobytes()
    words = bytes(form.words_bytes)
    end = _keys(1, model).stop
    tail = parts[1][end + form.roots_bytes :]
    return parts[0][:HEAD] + words, parts[1][: prg.QUERY_ID_BYTES] + words + roots + tail


def another_id(model: Shared, parts: Parts) -> Parts:
    return parts[0], prg.fresh_query_id() + parts[1][prg.QUERY_ID_BYTES :]


def two_tokens(model: Shared, parts: Parts) -> Parts:
    """One bit of the last correction word turned at both: the leaf of a second token differs too."""

    def turned(part: int) -> bytes:
        data = bytearray(parts[part])
        data[_keys(part, model).stop - 16] ^= 1 << 3
        return bytes(data)

    return turned(0), turned(1)


ATTACKS = (garbage, zeros, same_message, empty_keys, another_id, two_tokens)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_keys_that_select_no_single_row_are_refused(
    private: Shared, attack: Callable[[Shared, Parts], Parts]
) -> None:
    parts = attack(private, honest(private)[1])
    assert meaning(private, parts) is None
    assert outcome(private, parts) is None


@pytest.mark.fast_cases(1)
def test_any_change_to_a_query_chooses_tokens_and_rows_or_is_refused(model: Shared) -> None:
    """Bytes anywhere in either message: seeds, ids, words, roots and bits."""
    draw, taken = np.random.default_rng(11), 0
    _, parts = honest(model)
    bits = model.client.layout.form(SHAPE).shared[0].nbytes
    for trial in range(TRIALS):
        changed = [bytearray(part) for part in parts]
        party = int(draw.integers(2))
        at = int(draw.integers(len(changed[party])))
        if trial % 3 == 0:  # the bits at the end of party 1's message are few: aim at them
            party, at = 1, len(changed[1]) - int(draw.integers(1, bits + 1))
        changed[party][at] ^= int(draw.integers(1, 256))
        taken += means_what_it_selects(model, (bytes(changed[0]), bytes(changed[1])))
    assert TRIALS // 3 <= taken < TRIALS


def test_no_rows_at_all_give_zero(model: Shared) -> None:
    """Where a pool of zero once gave the last bias; a drop may miss by a unit."""
    rows, _ = honest(model)
    none = texts.Rows(rows.tokens, np.zeros_like(rows.real))
    found = outcome(model, split(model.client.layout.form(SHAPE), none.values))
    assert found is not None
    assert (np.abs(ring.signed(found, model.client.layout.result(SHAPE).bits)) <= 1).all()


def test_messages_have_one_size(model: Shared) -> None:
    """No field is left in which a weight, a mask or an embedded row could stand."""
    layout = model.client.layout
    for party in (0, 1):
        keys, bits = layout.form(SHAPE).keys[0], layout.form(SHAPE).shared[0].nbytes
        ours = keys.roots_bytes + bits if party else prg.SEED_BYTES
        assert layout.form(SHAPE).nbytes(party) == prg.QUERY_ID_BYTES + keys.words_bytes + ours


# ---------------------------------------------------------------- gains of the last layer

COPIES = 8
CHOICES = {
    "all rows": lambda draw: np.ones((COPIES, 8), dtype=bool),
    "one row": lambda draw: np.tile(np.arange(8) == 0, (COPIES, 1)),
    "half of them": lambda draw: draw.random((COPIES, 8)) < 0.5,
}


def estimated(answers: F64) -> F64:
    """For each column the number of which all differences between copies are small multiples, as far as they are.

    `answers` (copies, width) are in units of a gain's integer times a row's.
    """
    found = np.zeros(answers.shape[1])
    for column, values in enumerate(answers.T):
        differences = np.abs(values[:, None] - values)[np.triu_indices(len(values), 1)]
        best = np.inf
        for guess in np.unique(differences[differences > GUESSES[0]]):
            for candidate in guess / np.arange(1, 5):
                multiple = np.rint(differences / candidate)
                if not GUESSES[0] < candidate < GUESSES[1] or not multiple.any():
                    continue
                fitted = (differences @ multiple) / (multiple @ multiple)
                error = np.abs(differences - fitted * multiple).mean() / fitted
                if error < best / 2:  # half of it would fit as well, and a quarter
                    best, found[column] = error, np.rint(fitted)
    return found


GUESSES = (1 << 10, 3 << 14)  # gains up to three


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("name", CHOICES)
def test_repeated_texts_give_no_gain(private: Shared, name: str) -> None:
    """One query of 8 copies of one token gave 32 of 32 gains when the client could weigh a row by 2^26."""
    shape, layout = QueryShape("embed", COPIES, 8), private.client.layout
    tokens = np.full((COPIES, 8), 5, dtype=np.uint64)
    rows = texts.Rows(tokens, CHOICES[name](np.random.default_rng(1)))
    session = private.exchange(shape, split(layout.form(shape), rows.values), SEEDS)
    total = ring.signed(_total(private, shape, session.shares), layout.result(shape).bits)[:, 0]
    found = estimated(total.astype(np.float64) * 2.0 ** (POST.linear - POST.result + sum_bits(8)))
    gains = np.abs(ring.signed(ring.encode(private.tiny.folded["pool.gain"], POST.weight), 64))
    assert (found == gains).sum() <= 1  # as honest weights did: by chance
