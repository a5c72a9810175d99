"""A client that deviates chooses tokens, positions and rows: whatever else it sends is refused or means just that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest

pytest.importorskip("torch")

from generating import SPECS, Kind, Toy, Trio, Writer, pass_shares, toy
from specs import changed as resized

from privinf.errors import InputError
from privinf.models.programs import rows as wire
from privinf.models.programs.keys import KeyForm
from privinf.models.programs.layout import ADVANCED, MOVED
from privinf.models.programs.rows import Rows
from privinf.models.programs.wire import add_up, parse
from privinf.protocols import prg, ring
from privinf.protocols.contract import Advance, SessionShape
from privinf.protocols.kernels.prg import BLOCK
from privinf.protocols.ring import U64

Bodies = tuple[bytes, bytes]
Change = Callable[[bytearray, bytearray], None]
PROMPT = (5, 3, 11)
MODES = {"private": (False, False), "embedded": (False, True)}


@pytest.fixture(scope="module")
def toys() -> dict[Kind, Toy]:
    """Return both kinds, of one layer and with a prefix."""
    return {kind: toy(resized(spec, layers=1)) for kind, spec in SPECS.items()}


@dataclass
class Asked:
    """A session up to the pass that a client deviates in, and the query of that pass if it did not."""

    trio: Trio
    advance: Advance
    rows: Rows

    @property
    def index(self) -> int:
        return self.trio.fixed.ledger.index

    def honest(self) -> Bodies:
        return pass_shares(self.trio.layout, self.trio.shape, self.index, self.rows)

    def key(self, name: str) -> KeyForm:
        """The keys of a table."""
        form = self.trio.layout.form(self.trio.shape, self.index)
        return next(key for key in form.keys if key.name == name)

    def words(self, name: str) -> slice:
        """Where the correction words of a table's keys lie in what party 1 is sent."""
        at = prg.QUERY_ID_BYTES
        for key in self.trio.layout.form(self.trio.shape, self.index).keys:
            end = at + key.words_bytes
            if key.name == name:
                return slice(at, end)
            at = end
        raise AssertionError(name)

    def send(self, bodies: Bodies) -> list[bytes | BaseException]:
        """What each party makes of it."""
        self.trio.prepare()
        (_, prepared), *_ = self.trio._ahead
        with ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(party.evaluate, self.advance, memoryview(body), ready, end)
                for party, body, ready, end in zip(
                    self.trio.parties, bodies, prepared, self.trio.ends, strict=True
                )
            ]
            return [run.exception(60) or run.result() for run in runs]

    def fixed(self, rows: Rows) -> U64:
        """The answer that a choice of tokens, positions and rows has."""
        (seeds, _), *_ = self.trio._ahead
        answer = self.trio.fixed.run(self.advance, rows, seeds)
        assert answer is not None
        return answer

    def chosen(self, bodies: Bodies) -> Rows | None:
        """The choice that a query makes; nothing where a key selects no row, or more than one."""
        layout, shape = self.trio.layout, self.trio.shape
        first, second = (
            parse(layout.form(shape, self.index), party, memoryview(body))
            for party, body in enumerate(bodies)
        )
        found = {name: first.lookups[name].value + second.lookups[name].value for name in first.lookups}
        places = {}
        for name, vectors in found.items():
            sizes = np.abs(vectors[0].view(np.int64))
            if np.any(sizes.sum(axis=-1) != 1):
                return None
            places[name] = sizes.argmax(axis=-1)
        rows = replace(self.rows, ids=places["token"])
        if "position" in places:
            rows = replace(rows, places=places["position"])
        if MOVED in places:
            rows = replace(rows, moved=int(places[MOVED][0]))
        if ADVANCED in places:
            ahead = int(places[ADVANCED][0]) - wire._advanced(layout, shape, self.index, self.rows)
            rows = replace(rows, places=rows.places + ahead)
        for name in ("pads", "rejected"):
            one, two = first.shared.get(name), second.shared.get(name)
            if one is not None and two is not None:
                bits = ring.low(one.value + two.value, 1).reshape(-1).astype(bool)
                given = {"padding": bits} if name == "pads" else {"rejected": np.append(False, bits)}
                rows = replace(rows, **given)
        return rows


def first_pass(model: Toy, mode: str) -> Asked:
    """A padded prompt behind a prefix: keys of tokens, of positions or of the move, bits of padding."""
    trio = Trio(model.layout(*MODES[mode]), SessionShape("generate", 5, 2), model.weights)
    return Asked(trio, Advance(()), Writer(model, trio.shape, list(PROMPT)).prompt(0))


def later_pass(model: Toy, mode: str) -> Asked:
    """Rows at hidden positions, some of the pass before rejected by bits."""
    trio = Trio(model.layout(*MODES[mode]), SessionShape("generate-padded", 5, 2), model.weights)
    writer = Writer(model, trio.shape, list(PROMPT))
    trio.step(0, writer.prompt(0))
    trio.step(5, writer.rows([6, 7]))
    writer.seen += [6]
    rows = replace(writer.rows([8, 9]), rejected=np.array([False, True]))
    return Asked(trio, Advance.first(2), rows)


PASSES = {"first": first_pass, "later": later_pass}
CASES = pytest.mark.parametrize(
    ("kind", "mode", "which"),
    [(kind, mode, which) for kind in SPECS for mode in MODES for which in PASSES],
    ids=lambda v: str(v),
)


def refused(asked: Asked, bodies: Bodies) -> None:
    """By both parties, with an error that names the cause."""
    for verdict in asked.send(bodies):
        assert isinstance(verdict, InputError), verdict
        assert "does not select one row" in str(verdict)


def answered(asked: Asked, bodies: Bodies, rows: Rows) -> None:
    """As that choice is by the fixed interpreter, bit for bit."""
    first, second = asked.send(bodies)
    field = asked.trio.layout.result(asked.trio.shape, asked.index)
    assert isinstance(first, bytes), first
    assert isinstance(second, bytes), second
    total = add_up(field, (first, second))
    np.testing.assert_array_equal(ring.low(total, field.bits), ring.low(asked.fixed(rows), field.bits))


def changed(bodies: Bodies, change: Change) -> Bodies:
    first, second = bytearray(bodies[0]), bytearray(bodies[1])
    change(first, second)
    return bytes(first), bytes(second)


@pytest.mark.fast_cases(1)
@CASES
def test_an_honest_query_is_answered(toys: dict[Kind, Toy], kind: Kind, mode: str, which: str) -> None:
    asked = PASSES[which](toys[kind], mode)
    bodies = asked.honest()
    chosen = asked.chosen(bodies)
    assert chosen is not None
    answered(asked, bodies, chosen)


@pytest.mark.fast_cases(1)
@CASES
def test_a_random_body_is_refused(toys: dict[Kind, Toy], kind: Kind, mode: str, which: str) -> None:
    asked = PASSES[which](toys[kind], mode)
    rng = np.random.default_rng(4)
    refused(asked, tuple(rng.bytes(len(body)) for body in asked.honest()))


def both(asked: Asked, name: str, bits: Sequence[int]) -> Change:
    """Flip bits of the last correction word of a table's first key, at both parties alike.

    These are output bits: where keys differ, the outputs of the leaf are changed at one party and not at the other.
    """
    end = asked.words(name).stop - (asked.key(name).count - 1) * BLOCK

    def change(first: bytearray, second: bytearray) -> None:
        for bit in bits:
            for body, start in ((first, prg.SEED_BYTES), (second, 0)):
                body[start + end - BLOCK + bit // 8] ^= 1 << bit % 8

    return change


ATTACKS: list[tuple[Kind, str, str, str]] = [
    ("gpt2", "private", "first", "position"),
    ("gpt2", "embedded", "later", "position"),
    ("llama", "private", "first", "token"),
    ("llama", "embedded", "first", "token"),
    ("llama", "private", "first", MOVED),
    ("llama", "embedded", "later", ADVANCED),
]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(("kind", "mode", "which", "name"), ATTACKS)
def test_sums_of_rows_and_empty_keys_are_refused(
    toys: dict[Kind, Toy], kind: Kind, mode: str, which: str, name: str
) -> None:
    """Sums of tokens, of positions, and of angles, which would scale queries and keys; and no row at all."""
    key = PASSES[which](toys[kind], mode).key(name)
    size = key.size
    for more in (1, 2, size):
        asked = PASSES[which](toys[kind], mode)
        rows = asked.rows
        places = wire._places(asked.trio.layout, asked.trio.shape, asked.index, key, rows)
        other = [place for place in range(size) if place != int(places[0])]
        bits = {1: [int(places[0])], 2: other[:1], size: other}[more]
        refused(asked, changed(asked.honest(), both(asked, name, bits)))


def _where(which: str) -> tuple[SessionShape, int]:
    if which == "first":
        return SessionShape("generate", 5, 2), 0
    return SessionShape("generate-padded", 5, 2), 2


@pytest.mark.parametrize("mode", MODES)
def test_keys_that_the_two_parties_are_told_differently_are_refused(toys: dict[Kind, Toy], mode: str) -> None:
    asked = first_pass(toys["llama"], mode)
    other = pass_shares(asked.trio.layout, asked.trio.shape, 0, asked.rows)
    refused(asked, (asked.honest()[0], other[1]))


@pytest.mark.fast_cases(1)
@CASES
def test_a_changed_query_is_another_choice_or_refused(
    toys: dict[Kind, Toy], kind: Kind, mode: str, which: str
) -> None:
    """Bytes changed anywhere in either part: what comes back is the fixed interpreter's answer to what they choose."""
    rng, seen = np.random.default_rng(7), set()
    for number in range(4):
        asked = PASSES[which](toys[kind], mode)

        def change(first: bytearray, second: bytearray, number: int = number) -> None:
            if number == 0:
                first[0] ^= 1  # the seed
            elif number == 1:
                second[-1] ^= 1  # a bit of a row
            else:
                body = (first, second)[number % 2]
                body[int(rng.integers(len(body)))] ^= 1 << int(rng.integers(8))

        bodies = changed(asked.honest(), change)
        rows = asked.chosen(bodies)
        seen.add(rows is None)
        refused(asked, bodies) if rows is None else answered(asked, bodies, rows)
    assert seen == {True, False}


@pytest.mark.parametrize("mode", MODES)
def test_any_bits_are_a_choice_of_rows(toys: dict[Kind, Toy], mode: str) -> None:
    """Padding in the middle, and bits that do not fit the move: the client's own answer changes, as it chose."""
    asked = first_pass(toys["llama"], mode)
    rows = replace(asked.rows, padding=np.array([False, True, False, True, False]), moved=4)
    bodies = pass_shares(asked.trio.layout, asked.trio.shape, 0, rows)
    answered(asked, bodies, rows)
