"""Slots of a generation: written once, ruled out, dropped; and what a session's ledger refuses."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from generating import LLAMA, Toy, Trio, Writer, toy
from specs import changed

from privinf.errors import InputError, ProtocolError
from privinf.models.cache._ledger import Ledger
from privinf.models.cache._store import AT_DEALER, AT_PARTY, IN_FIXED, NOTHING, Cache, Keeps
from privinf.models.programs import layout as form
from privinf.models.programs.session import PartyGeneration
from privinf.protocols.contract import Advance, Order, SessionShape
from privinf.protocols.masked.wires import Share, Wire
from privinf.protocols.ring import U64

HEADS, WIDTH, BITS = 2, 3, 20


def numbers(slots: int, start: int) -> U64:
    """Values that say which slot they are of."""
    return np.broadcast_to(
        np.arange(start, start + slots, dtype=np.uint64)[:, None], (1, HEADS, slots, WIDTH)
    )


def wires(slots: int, start: int, keeps: Keeps) -> tuple[Wire, Wire]:
    """Keys, and values a hundred higher, as a role has them."""
    made = []
    for more in (0, 100):
        wire_ = Wire((1, HEADS, slots, WIDTH), BITS, 0)
        value = numbers(slots, start + more)
        wire_.source = value if keeps.public else None
        wire_.mask = value + np.uint64(1000) if keeps.mask else None
        wire_.mask_share = value + np.uint64(2000) if keeps.mask_share else None
        made.append(wire_)
    return made[0], made[1]


def pads(values: list[int], keeps: Keeps) -> Share:
    data = np.array(values, dtype=np.uint64).reshape(1, 1, 1, -1) if keeps.public else None
    return Share((1, 1, 1, len(values)), 64, 0, data)


def held(wire_: Wire) -> list[int]:
    """The slots that a wire is of, by whatever its role holds."""
    found = []
    for value, more in ((wire_.source, 0), (wire_.mask, 1000), (wire_.mask_share, 2000)):
        if value is not None:
            assert not callable(value)
            assert value.shape == wire_.shape
            assert np.all(value == value[:, :1, :, :1])
            found.append([int(v) - more for v in value[0, 0, :, 0]])
    assert all(f == found[0] for f in found)
    return found[0] if found else list(range(wire_.shape[2]))


def filled(keeps: Keeps) -> Cache:
    """A prompt of four slots, one of them padding, and two passes of two."""
    cache = Cache(1, keeps)
    for start, count, padding in ((0, 4, pads([1, 0, 0, 0], keeps)), (4, 2, None), (6, 2, None)):
        keys, values = wires(count, start, keeps)
        cache.extend(0, [keys], [values])
        cache.settle(count, padding)
    return cache


def layer(cache: Cache, keeps: Keeps) -> tuple[Wire, Wire]:
    """All slots with one more."""
    keys, values = wires(1, 50, keeps)
    return cache.extend(0, [keys], [values])


EVERY = pytest.mark.parametrize("keeps", [AT_PARTY, AT_DEALER, IN_FIXED], ids=["party", "dealer", "fixed"])


@EVERY
def test_a_pass_reads_all_slots_before_it(keeps: Keeps) -> None:
    cache = filled(keeps)
    keys, values = layer(cache, keeps)
    for wire_ in (keys, values):
        for part in ("source", "mask", "mask_share"):
            if callable(lazy := getattr(wire_, part)):
                setattr(wire_, part, lazy())
    assert held(keys) == [*range(8), 50]
    assert held(values) == [*range(100, 108), 150]
    assert keys.shared


@EVERY
def test_retired_slots_are_gone_for_ever(keeps: Keeps) -> None:
    cache = filled(keeps)
    cache.exclude([5, 7])
    cache.retire((1, 5))
    assert len(cache.excluded) == 6
    assert cache.excluded.tolist() == [False] * 5 + [True]
    keys, values = cache._layers[0] or pytest.fail("nothing is there")
    assert held(keys) == [0, 2, 3, 4, 6, 7]
    assert held(values) == [100, 102, 103, 104, 106, 107]
    assert cache.pads is not None
    assert cache.pads.shape == (1, 1, 1, 6)
    if keeps.public:
        assert cache.pads.value.reshape(-1).tolist() == [1, 0, 0, 0, 0, 0]
    cache.retire((0,))
    assert held((cache._layers[0] or pytest.fail("nothing is there"))[0]) == [2, 3, 4, 6, 7]


def test_nothing_is_kept_by_whoever_follows_shapes() -> None:
    cache = filled(NOTHING)
    cache.retire((0, 3))
    keys, values = layer(cache, NOTHING)
    for wire_ in (keys, values):
        assert wire_.shape == (1, HEADS, 7, WIDTH)
        assert (wire_.source, wire_.mask, wire_.mask_share) == (None, None, None)


@EVERY
def test_a_settled_wire_stands_on_its_own(keeps: Keeps) -> None:
    """Neither what made it nor what was dealt for it in its pass outlives that pass."""
    cache, (keys, values) = Cache(1, keeps), wires(2, 0, keeps)
    keys.lifts[40] = numbers(2, 0), numbers(2, 0)
    keys.cache["operand"] = numbers(2, 0)
    cache.extend(0, [keys], [values])
    cache.settle(2, None)
    kept, _ = cache._layers[0] or pytest.fail("nothing is there")
    assert kept is not keys
    assert (kept.lifts, kept.cache, kept.round, kept.static) == ({}, {}, -1, False)
    for part, wanted in (("source", keeps.public), ("mask", keeps.mask), ("mask_share", keeps.mask_share)):
        assert (getattr(kept, part) is not None) == wanted


def test_padding_of_passes_that_have_none_is_zero() -> None:
    cache = Cache(1, AT_PARTY)
    assert cache.with_pads(2, None) is None
    first = cache.with_pads(2, pads([1, 0], AT_PARTY))
    assert first is not None
    assert first.value.reshape(-1).tolist() == [1, 0]
    cache = filled(AT_PARTY)
    joined = cache.with_pads(3, None)
    assert joined is not None
    assert joined.value.reshape(-1).tolist() == [1] + [0] * 10


def test_rows_rejected_in_secret_are_padding_from_then_on() -> None:
    cache = filled(AT_PARTY)
    cache.reject(pads([0, 1], AT_PARTY))
    assert cache.pads is not None
    assert cache.pads.value.reshape(-1).tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    assert not cache.excluded.any()


@pytest.fixture(scope="module")
def model() -> Toy:
    """Return a decoder with a prefix of three and room for 40."""
    return toy(changed(LLAMA, layers=1))


@pytest.fixture
def ledger(model: Toy, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Return one after a prompt of six in two passes and a pass of three."""
    monkeypatch.setattr(form, "CHUNK", 4)
    made = Ledger(model.layout(), SessionShape("generate", 6, 3))
    for _ in range(3):
        made.write()
    return made


def test_slots_have_names_that_no_other_slot_ever_has(ledger: Ledger) -> None:
    assert ledger.slots[:3] == [(0, -1), (0, -2), (0, -3)]
    assert ledger.slots[3:] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    assert ledger.retire(Order(3, (10, 11))) == [(2, 1), (2, 2)]
    ledger.write()
    assert ledger.slots[-4:] == [(2, 0), (3, 0), (3, 1), (3, 2)]


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (Order(2), "pass 2 where pass 3"),
        (Order(4), "pass 4 where pass 3"),
        (Order(3, (11, 10)), "not there"),
        (Order(3, (10, 10)), "not there"),
        (Order(3, (12,)), "not there"),
        (Order(3, (-1, 10)), "not there"),
        (Order(3, (2, 10)), "prefix"),
        (Order(3, (0,)), "prefix"),
    ],
    ids=lambda v: str(v),
)
def test_an_order_out_of_place_is_refused(ledger: Ledger, order: Order, why: str) -> None:
    before = list(ledger.slots)
    with pytest.raises(ProtocolError, match=why):
        ledger.retire(order)
    assert ledger.slots == before


def test_a_session_is_full_in_the_end(ledger: Ledger) -> None:
    while len(ledger.slots) + 3 <= 40:
        ledger.write()
    assert len(ledger.slots) == 39
    with pytest.raises(InputError, match="holds 40 tokens"):
        ledger.retire(Order(ledger.index))
    with pytest.raises(InputError, match="holds 40 tokens"):
        ledger.require_room(1)
    assert len(ledger.retire(Order(ledger.index, (20, 21)))) == 2


def test_which_slots_a_row_may_attend_to(ledger: Ledger) -> None:
    excluded = np.zeros(12, dtype=bool)
    excluded[10:] = True
    step = ledger.step(excluded)
    assert step.hidden.astype(int).tolist() == [
        [0] * 10 + [1, 1] + after for after in ([0, 1, 1], [0, 0, 1], [0, 0, 0])
    ]
    assert not step.first
    first = Ledger(ledger.layout, ledger.shape).step()
    assert first.hidden[:, :3].sum() == 0
    assert first.places.tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("task", ["generate", "generate-padded"])
def test_rows_kept_out_of_range_are_refused(model: Toy, task: str) -> None:
    """All of a prompt and none before it; of a later pass, one row at least, and all where drafts are hidden."""
    trio = Trio(model.layout(), SessionShape(task, 2, 2), model.weights)
    writer = Writer(model, trio.shape, [4, 5])

    def refused(*wrong: tuple[int, ...]) -> None:
        for kept in wrong:
            with pytest.raises(ProtocolError, match="kept"):
                trio.fixed.ledger.require(Advance(kept))

    refused((0,), (0, 1))
    trio.step(0, writer.prompt(0))
    refused((), (0,), (0, 1, 2), (1, 0), (0, 0))
    trio.step(2, writer.rows([6, 7]))
    refused((), (0, 1, 2), (1,), (1, 0), (0, 0), (0, 2), (0, 1, 1))
    if task == "generate-padded":
        refused((0,))


def test_only_one_line_of_a_tree_may_stay(model: Toy) -> None:
    trio = Trio(model.layout(), SessionShape("generate", 2, 5), model.weights)
    writer = Writer(model, trio.shape, [4, 5])
    trio.step(0, writer.prompt(0))
    trio.step(Advance((0, 1), (0, 0, 1, 3)), writer.rows([6, 7, 8, 9, 10]))  # 0 - 1 - 3 - 4, 0 - 2
    for wrong in ((0, 1, 2), (0, 3), (0, 2, 3), (1, 3), (2,), (0, 1, 4), (0, 1, 3, 4, 5), (0, 1, 3, 2)):
        with pytest.raises(ProtocolError, match="kept"):
            trio.fixed.ledger.require(Advance(wrong))
    trio.parties[0]._drop((0, 1, 3), Order(2))
    assert trio.parties[0]._rejected == {(1, 2), (1, 4)}


@pytest.mark.parametrize("after", [(0,), (0, 0, 0), (0, 2), (1, 0), (0, 3)])
def test_rows_that_follow_nothing_before_them_are_refused(model: Toy, after: tuple[int, ...]) -> None:
    ledger = Trio(model.layout(), SessionShape("generate", 2, 3), model.weights).fixed.ledger
    ledger.write()
    with pytest.raises(ProtocolError, match=r"follows none|rows is described"):
        ledger.require(Advance((0, 1), after))


def test_rows_of_prompts_and_of_hidden_drafts_do_not_branch(model: Toy) -> None:
    for task, index in (("generate", 0), ("generate-padded", 1)):
        ledger = Trio(model.layout(), SessionShape(task, 3, 3), model.weights).fixed.ledger
        for _ in range(index):
            ledger.write()
        kept = Advance.first(ledger.layout.rows(ledger.shape, index - 1) if index else 0).kept
        ledger.require(Advance(kept))
        with pytest.raises(ProtocolError, match="follow one another"):
            ledger.require(Advance(kept, (0, 0)))


def test_an_order_may_drop_only_what_is_ruled_out(model: Toy) -> None:
    """Party 1 holds party 0 to that: the order that both follow is party 0's."""
    trio = Trio(model.layout(), SessionShape("generate", 2, 3), model.weights)
    writer = Writer(model, trio.shape, [4, 5])
    trio.step(0, writer.prompt(0))
    trio.step(2, writer.rows([6, 7, 8]))
    for party in trio.parties:
        for retired in ((5,), (3, 7), (6, 7)):  # the last kept one, part of the prompt, one of two
            _refuses(party, retired)


def _refuses(party: PartyGeneration, retired: tuple[int, ...]) -> None:
    ledger, rejected = party._ledger, set(party._rejected)
    slots, start, excluded = list(ledger.slots), ledger.start, party._cache.excluded.copy()
    with pytest.raises(ProtocolError, match="in use"):
        party._drop((0, 1), Order(2, retired))
    ledger.slots, ledger.start = slots, start
    party._rejected, party._cache.excluded = rejected, excluded


def test_a_party_orders_what_was_rejected_and_nothing_twice(model: Toy) -> None:
    trio = Trio(model.layout(), SessionShape("generate", 2, 3), model.weights)
    writer = Writer(model, trio.shape, [4, 5])
    trio.step(0, writer.prompt(0))
    trio.step(2, writer.rows([6, 7, 8]))
    trio.prepare()
    trio.step(1, writer.rows([6, 7, 8]))
    assert trio.parties[0].order() == Order(3, (6, 7))
    trio.prepare()
    assert trio.parties[0].order() == Order(4)
    trio.step(3, writer.rows([1, 2, 3]))
    assert trio.parties[0].order() == Order(4)
    assert trio.parties[0]._rejected == trio.parties[1]._rejected == set()


def test_no_order_comes_of_a_full_session(model: Toy) -> None:
    trio = Trio(model.layout(), SessionShape("generate", 26, 10), model.weights)
    trio.prepare()
    trio.prepare()
    with pytest.raises(InputError, match="holds 40 tokens"):
        trio.parties[0].order()
