"""A pass's query: shares of one-hots, exact sizes, and nothing of a token in what one party is sent."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import count

import numpy as np
import numpy.typing as npt
import pytest
from generating import GPT2, LLAMA, PREFIX, pass_shares
from specs import changed

from privinf.errors import InputError
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import PRE
from privinf.models.programs import rows as wire
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.rows import Rows
from privinf.models.programs.wire import Asked, add_up, parse
from privinf.models.spec import ModelSpec
from privinf.protocols import prg, ring
from privinf.protocols.contract import SessionShape
from privinf.protocols.kernels.prg import U8
from privinf.protocols.masked.gates.norm import NormSpec
from privinf.protocols.masked.wires import Share

NORM = NormSpec(16, 40, 16, 16, -6, 6, 1e-5, 30, 12, 40)
VOCABS = (2, 37, 128, 129, 300)
SPECS = {"gpt2": GPT2, "llama": LLAMA}


def layout(
    spec: ModelSpec, *, prefix: tuple[int, ...] = PREFIX, public: bool = False, embedded: bool = False
) -> SessionLayout:
    """Nothing of a plan but what a query needs."""
    plan = Plan(PRE, spec.max_tokens, (), 36, embed_bits=19, residual_bits=42, final_norm=NORM, prefix=prefix)
    return SessionLayout(spec, plan, public, embedded)


def rows(ids: list[int], padding: int = 0) -> Rows:
    places = np.maximum(np.arange(len(ids)) - padding, 0) + len(PREFIX)
    return Rows(np.array(ids, dtype=np.int64), places, np.arange(len(ids)) < padding, padding)


def named(form: SessionLayout, shape: SessionShape, index: int) -> list[str]:
    """Keys and bits of a pass's query."""
    whole = form.form(shape, index)
    return [*(key.name for key in whole.keys), *(field.name for field in whole.shared)]


def both(form: SessionLayout, shape: SessionShape, index: int, given: Rows) -> tuple[Asked, ...]:
    """Each party's part of a query."""
    parts = pass_shares(form, shape, index, given)
    for party, part in enumerate(parts):
        assert len(part) == form.form(shape, index).nbytes(party)
    return tuple(parse(form.form(shape, index), party, memoryview(part)) for party, part in enumerate(parts))


def total(*shares: Share | None) -> npt.NDArray[np.int64]:
    first, second = shares
    assert first is not None
    assert second is not None
    assert (first.shape, first.bits, first.scale) == (second.shape, second.bits, second.scale)
    return ring.signed(ring.low(first.value + second.value, first.bits), first.bits)


@pytest.mark.parametrize("vocab", VOCABS)
@pytest.mark.parametrize("family", SPECS)
@pytest.mark.parametrize("embedded", [False, True])
def test_shares_add_up_to_one_hots_up_to_their_sign(family: str, vocab: int, embedded: bool) -> None:
    form = layout(changed(SPECS[family], vocab=vocab), embedded=embedded)
    ids = [0, vocab - 1, vocab // 2, 0, vocab - 1, 1, 0, vocab - 2]
    shape, signs = SessionShape("generate", len(ids), 1), set()
    for _ in range(4):
        first, second = both(form, shape, 0, given := rows(ids, 2))
        for name, key in {key.name: key for key in form.form(shape, 0).keys}.items():
            wanted = {"token": np.array(ids), "position": given.places, "moved": np.array([2])}[name]
            found = total(first.lookups[name], second.lookups[name])
            assert found.shape == (1, key.count, key.size)
            np.testing.assert_array_equal(np.abs(found), (np.arange(key.size) == wanted[:, None])[None])
            signs |= set(np.unique(found.sum(axis=-1)))
    assert signs == {-1, 1}


@pytest.mark.parametrize("family", SPECS)
def test_bits_add_up_modulo_two(family: str) -> None:
    form = layout(SPECS[family])
    first, second = both(form, SessionShape("generate", 5, 1), 0, rows([4, 4, 4, 9, 36], 2))
    assert "rejected" not in first.shared
    assert "pads" in first.shared
    assert first.shared["pads"].bits == 1  # no client can ask for a factor
    assert np.abs(total(first.shared["pads"], second.shared["pads"])).tolist() == [[[[1, 1, 0, 0, 0]]]]


def test_where_rows_are_and_which_are_out_is_shared_where_acceptance_is_hidden() -> None:
    form, shape = layout(LLAMA), SessionShape("generate-padded", 4, 3)
    given = replace(rows([4, 5, 6]), moved=2, rejected=np.array([False, True, True]))
    given = replace(
        given, places=given.places + 5
    )  # three tokens of two passes, of at most six, less padding
    first, second = both(form, shape, 3, given)
    assert "pads" not in first.shared
    assert "rejected" in first.shared
    assert first.shared["rejected"].bits == 1
    assert np.abs(total(first.shared["rejected"], second.shared["rejected"])).tolist() == [[[[1, 1]]]]
    advanced = np.abs(total(first.lookups["advanced"], second.lookups["advanced"]))
    assert advanced.tolist() == [[[0, 1, 0, 0, 0]]]  # each pass gives one token at least
    assert "advanced" not in both(form, shape, 1, given)[0].lookups  # all know where the first begins
    assert both(form, shape, 1, given)[0].shared == {}  # nothing was drafted before the first


def test_no_bit_rules_out_the_row_that_a_pass_goes_on_from() -> None:
    """Only drafts can be out: a pass without any has no bits, and one with some has as many."""
    form, sizes = layout(LLAMA), {1: [], 2: [(1, 1, 1, 1)], 4: [(1, 1, 1, 3)]}
    for many, shapes in sizes.items():
        assert [f.shape for f in form.form(SessionShape("generate-padded", 4, many), 3).shared] == shapes
    given = replace(rows([4]), rejected=np.array([False]))
    given = replace(given, places=given.places + 6)
    assert both(form, SessionShape("generate-padded", 4, 1), 3, given)[0].shared == {}


@pytest.mark.parametrize("advanced", [-1, 5])
def test_a_position_that_no_course_leads_to_is_refused(advanced: int) -> None:
    form, shape = layout(LLAMA), SessionShape("generate-padded", 4, 3)
    start = len(PREFIX) + 4 + 2 + advanced
    given = Rows(
        np.array([4, 5, 6]), start + np.arange(3), np.zeros(3, dtype=bool), 0, np.zeros(3, dtype=bool)
    )
    with pytest.raises(InputError, match="no course"):
        pass_shares(form, shape, 3, given)


def test_what_a_pass_has_no_use_for_is_not_sent() -> None:
    form, shape = layout(LLAMA), SessionShape("generate", 70, 2)
    names = [named(form, shape, index) for index in range(3)]
    assert names == [["token", "moved", "pads"], ["token", "pads"], ["token"]]
    assert [form.rows(shape, index) for index in range(4)] == [64, 6, 2, 2]
    assert [form.outputs(shape, index) for index in range(4)] == [0, 1, 2, 2]
    assert form.result(shape, 0).nbytes == 0
    assert named(layout(LLAMA, prefix=()), shape, 0) == ["token", "pads"]
    assert list(layout(GPT2).tables.items()) == [("token", 37), ("position", 48)]
    one = SessionShape("generate", 1, 1)
    assert named(form, one, 0) == ["token", "pads"]  # a prompt of one row has no padding


@pytest.mark.parametrize("vocab", [128, 129, 32000])
def test_a_query_is_as_small_as_its_keys(vocab: int) -> None:
    """16 bytes of name, 16 a level and a root at party 1: not one element a token of the vocabulary."""
    form, shape = layout(changed(LLAMA, vocab=vocab)), SessionShape("generate", 1, 1)
    words = 16 * (1 + max((vocab - 1).bit_length() - 7, 0))
    assert form.form(shape, 1).nbytes(0) == 32 + 16 + words
    assert form.form(shape, 1).nbytes(1) == 16 + words + 16


@pytest.mark.parametrize("task", ["generate", "generate-padded"])
@pytest.mark.parametrize("embedded", [False, True])
def test_a_token_takes_a_kilobyte_at_most(task: str, embedded: bool) -> None:
    """Both parties' parts together, for vocabularies up to 2^17 and sessions of thousands of tokens."""
    for spec in (GPT2, LLAMA):
        form = layout(changed(spec, vocab=1 << 17, max_tokens=8192), embedded=embedded)
        for prompt, drafts in ((1, 1), (64, 8), (1024, 32)):
            shape = SessionShape(task, prompt, drafts)
            for index in (0, form.passes(shape), form.passes(shape) + 100):
                sent = sum(form.form(shape, index).nbytes(party) for party in (0, 1))
                assert sent <= 1024 * form.rows(shape, index)


def fixed_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fresh seed is the next of a list."""
    number = count()

    def fresh() -> bytes:
        return hashlib.blake2b(str(next(number)).encode(), digest_size=32).digest()

    monkeypatch.setattr(prg, "fresh_seed", fresh)


@pytest.mark.parametrize("family", SPECS)
def test_nothing_comes_twice_of_one_token_encoded_twice(family: str) -> None:
    """Neither party finds any 16 bytes of one query in another, nor in another row."""
    form, shape = layout(changed(SPECS[family], vocab=300)), SessionShape("generate", 4, 1)
    for party in (0, 1):
        seen: set[bytes] = set()
        for _ in range(4):
            part = pass_shares(form, shape, 0, rows([7, 7, 7, 7]))[party]
            keys = part[32 if party == 0 else 0 :]
            blocks = [keys[at : at + 16] for at in range(0, len(keys) - 15, 16)]
            assert len(blocks) >= 4 * 3
            assert not seen & set(blocks)
            assert len(set(blocks)) == len(blocks)
            seen |= set(blocks)


def surprise(counts: npt.NDArray[np.int64]) -> float:
    """Standard deviations by which a chi-square statistic against equal counts is too high."""
    degrees, mean = counts.size - 1, counts.mean()
    statistic, spread = ((counts - mean) ** 2 / mean).sum(), 2 / (9 * degrees)
    return float(((statistic / degrees) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


@pytest.mark.parametrize("party", [0, 1])
def test_what_one_party_is_sent_is_uniform(party: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte over many encodings, for each of two tokens and for the difference between them."""
    fixed_randomness(monkeypatch)
    form, shape = layout(changed(LLAMA, vocab=300)), SessionShape("generate", 8, 1)
    queries: list[U8] = []
    for token in (0, 299):
        parts = [pass_shares(form, shape, 0, rows([token] * 8, 3))[party] for _ in range(60)]
        queries.append(np.frombuffer(b"".join(parts), dtype=np.uint8).reshape(60, -1))
    for cells in (*queries, queries[0] - queries[1], queries[0] ^ queries[1]):
        for nibble in (cells & 15, cells >> 4):
            assert surprise(np.bincount(nibble.reshape(-1), minlength=16)) < 4
        whole = surprise(np.bincount(cells.reshape(-1), minlength=256))
        assert whole < 4


@pytest.mark.parametrize("party", [0, 1])
def test_one_partys_bits_of_a_one_hot_do_not_show_the_token(
    party: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a party expands is one half of the time one, at the token as anywhere else."""
    fixed_randomness(monkeypatch)
    form, shape, repeats = layout(changed(LLAMA, vocab=300)), SessionShape("generate", 32, 1), 40
    ones = np.zeros(300)
    for _ in range(repeats):
        query = both(form, shape, 0, rows([123] * 32))[party]
        ones += (query.lookups["token"].value[0] & np.uint64(1)).sum(axis=0)
    deviations = (ones - repeats * 16) / np.sqrt(repeats * 8)
    assert np.abs(deviations).max() < 5
    assert abs(deviations[123]) < 3


def test_the_sign_is_either_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened under a mask; still it is no function of the token."""
    fixed_randomness(monkeypatch)
    form, shape = layout(LLAMA), SessionShape("generate", 32, 1)
    for token in (0, 36):
        plus = 0
        for _ in range(20):
            first, second = both(form, shape, 0, rows([token] * 32))
            plus += int((total(first.lookups["token"], second.lookups["token"]) == 1).sum())
        assert abs(plus - 320) < 5 * np.sqrt(160)


def test_the_fixed_interpreter_is_given_the_query_itself() -> None:
    form, shape = layout(GPT2), SessionShape("generate", 3, 1)
    query = wire.plain(form, shape, 0, rows([36, 0, 5]))
    assert query.lookups["token"].value.argmax(-1).tolist() == [[36, 0, 5]]
    assert query.lookups["position"].value.argmax(-1).tolist() == [[3, 4, 5]]
    assert query.lookups["token"].value.sum(-1).tolist() == [[1, 1, 1]]
    blank = form.form(shape, 0).asked({})
    assert blank.lookups["token"].shape == query.lookups["token"].shape
    assert blank.lookups["token"].data is None


@pytest.mark.parametrize("token", [-1, 37, 64, 10**6])
def test_a_token_beyond_the_vocabulary_is_refused(token: int) -> None:
    """Point functions count modulo a power of two: another token's row would take its place."""
    shape, given = SessionShape("generate", 2, 1), rows([1, token])
    for embedded in (False, True):
        with pytest.raises(InputError, match="token"):
            pass_shares(layout(LLAMA, embedded=embedded), shape, 0, given)
    with pytest.raises(InputError, match="token"):
        wire.plain(layout(LLAMA), shape, 0, given)


def test_answers_are_added_up() -> None:
    form = layout(LLAMA)
    for task, values in (("generate", np.linspace(-9, 9, 3 * 37)), ("argmax", np.array([0, 36, 17]))):
        shape = SessionShape(task, 4, 3)
        field = form.result(shape, 1)
        secret = ring.encode(values, field.scale, field.bits).reshape(field.shape)
        first = prg.elements(b"\x01" * 32, "first", field.shape, field.bits)
        shares = [
            bytes(ring.pack(part, field.bits)) + bytes([said])
            for part, said in ((first, 0), (secret - first, 1))
        ]
        found = wire.decode(form, shape, 1, add_up(field, shares))
        np.testing.assert_allclose(found.reshape(-1), values, atol=2.0**-15)
        assert found.shape == ((1, 3) if task == "argmax" else (1, 3, 37))


@pytest.mark.parametrize(
    "shape",
    [
        SessionShape("embed", 4, 1),
        SessionShape("generate-padded-padded", 4, 1),
        SessionShape("generate", 4, 0),
        SessionShape("generate", 4, 33),
        SessionShape("generate", 0, 1),
        SessionShape("generate", 45, 1),
        SessionShape("generate", -1, 1),
    ],
    ids=str,
)
def test_a_session_that_the_model_cannot_take_is_refused(shape: SessionShape) -> None:
    layout(LLAMA).check(SessionShape("argmax", 44, 1))
    with pytest.raises(InputError):
        layout(LLAMA).check(shape)
