"""Decoders in shares, pass after pass: equal to the fixed interpreter, near the clear one, under names of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

pytest.importorskip("torch")

from generating import KINDS, MODES, SPECS, Kind, Toy, Toys, Trio, Writer, both_kinds, seeds, toy
from specs import changed

from privinf.models.engines.stores import IdealStore, encode
from privinf.models.fold import F64
from privinf.models.plan.scales import PRE
from privinf.models.programs import layout as form
from privinf.models.programs.passes import FixedSession
from privinf.protocols import ring
from privinf.protocols.contract import Advance, SessionShape
from privinf.protocols.ring import U64

NEAR = 0.03  # of logits up to 6: some sixteen times the error seen
PROMPT = (5, 3, 11, 30, 2)
ROWS = 3


@pytest.fixture(scope="module")
def toys() -> Toys:
    return both_kinds()


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "CHUNK", 4)


def same(trio: Trio, total: U64, fixed: U64 | None) -> F64:
    """The answer in real units, once shares and fixed interpreter agree on it."""
    field = trio.layout.result(trio.shape, trio.fixed.ledger.index - 1)
    if fixed is None:
        assert field.nbytes == 0
        return np.zeros(0)
    np.testing.assert_array_equal(total, ring.low(fixed, field.bits))
    return ring.decode(total, field.scale, field.bits)[0]


def read(trio: Trio, writer: Writer) -> F64:
    """All passes over the prompt; what the last answers."""
    answer, kept = np.zeros(0), 0
    for index in range(trio.layout.passes(trio.shape)):
        rows = writer.prompt(index)
        answer, kept = same(trio, *trio.step(kept, rows)), len(rows.ids)
    return answer


def begin(model: Toy, shape: SessionShape, *mode: bool, ahead: int = 0) -> tuple[Trio, Writer]:
    trio = Trio(model.layout(*mode), shape, model.weights)
    for _ in range(ahead):
        trio.prepare()
    return trio, Writer(model, shape, list(PROMPT))


def near_clear(model: Toy, seen: Sequence[int], drafts: Sequence[int], answer: F64) -> None:
    """Every row of a pass follows what stands, and the rows before it."""
    wanted = model.clear([*seen, *drafts])[-len(answer) :]
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(answer, wanted, atol=NEAR, rtol=0)


CASES = pytest.mark.parametrize(
    ("kind", "mode", "prefix"), list(product(KINDS, MODES, (False, True))), ids=lambda v: str(v)
)
HALF = pytest.mark.parametrize(  # each kind in each mode, half of them behind a prefix
    ("kind", "mode", "prefix"),
    [(kind, mode, at % 2 == 1) for at, (kind, mode) in enumerate(product(KINDS, MODES))],
)


@pytest.mark.fast_cases(1)
@CASES
def test_shares_equal_the_fixed_interpreter_over_passes(
    toys: Toys, kind: Kind, mode: str, prefix: bool
) -> None:
    """Padded prompt in two passes, drafts that are rejected, slots that orders drop two passes later."""
    model, rng = toys[kind, prefix], np.random.default_rng(2)
    trio, writer = begin(model, SessionShape("generate", 8, ROWS), *MODES[mode], ahead=2)
    near_clear(model, writer.seen, (), read(trio, writer))
    kept = 4
    trio.prepare()
    for stands in (1, 2, 3, 1):
        trio.prepare()
        drafts = rng.integers(0, model.spec.vocab, ROWS).tolist()
        near_clear(model, writer.seen, drafts, same(trio, *trio.step(kept, writer.rows(drafts))))
        writer.seen += drafts[:stands]
        kept = stands
    first = 8 + len(model.plan.prefix)
    assert [order.retired for order in trio.orders[-3:]] == [(), (first + 1, first + 2), (first + 3,)]
    unique(trio)


AFTER = (0, 0, 1, 3, 2)  # 0 - 1 - 3 - 4 and 0 - 2 - 5


@pytest.mark.fast_cases(1)
@HALF
def test_every_row_of_a_tree_follows_its_own_line(toys: Toys, kind: Kind, mode: str, prefix: bool) -> None:
    """Branches do not see each other, and the one that stays is gone on from; others are dropped."""
    model, rng = toys[kind, prefix], np.random.default_rng(3)
    trio, writer = begin(model, SessionShape("generate", 8, 1 + len(AFTER)), *MODES[mode])
    read(trio, writer)
    kept = tuple(range(4))
    for stays in ((0, 2, 5), (0, 1), (0, 1, 3, 4), (0,)):
        ids = rng.integers(0, model.spec.vocab, 1 + len(AFTER)).tolist()
        answer = same(trio, *trio.step(Advance(kept, AFTER), writer.rows(ids, AFTER)))
        for line in ((0, 1, 3, 4), (0, 2, 5)):
            near_clear(model, writer.seen, [ids[row] for row in line], answer[list(line)])
        writer.seen += [ids[row] for row in stays]
        kept = stays
    unique(trio)


def unique(trio: Trio) -> None:
    """Both parties open the same, in the same order, and nothing twice under one pass's seeds."""
    first, second = trio.names
    assert first == second
    named = [(index, name.split(" ")[0]) for index, name in first]
    assert {index for index, _ in named} == set(range(trio.fixed.ledger.index))
    assert len(set(named)) == len(named)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mode"), [("gpt2", "private"), ("llama", "embedded"), ("llama", "public")])
def test_the_likeliest_token_alone(toys: Toys, kind: Kind, mode: str) -> None:
    model = toys[kind, True]
    trio, writer = begin(model, SessionShape("argmax", 8, 2), *MODES[mode])
    kept = 4
    field = trio.layout.result(trio.shape, 1)
    assert (field.shape, field.bits) == ((1, 1, 1), 6)
    found = read(trio, writer).reshape(-1) % 64
    for drafts in ([7, 3], [12, 0]):
        _likely(model.clear(writer.seen)[-len(found) :], found)
        found = same(trio, *trio.step(kept, writer.rows(drafts))).reshape(-1) % 64
        writer.seen, kept = writer.seen + drafts, 2
    _likely(model.clear(writer.seen)[-2:], found)
    unique(trio)


def _likely(logits: F64, tokens: F64) -> None:
    """The largest, up to what rounding hides."""
    chosen = np.take_along_axis(logits, tokens.astype(np.int64)[:, None], axis=-1)[:, 0]
    assert np.all(chosen >= logits.max(axis=-1) - 2 * NEAR)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prefix", [False, True])
def test_hidden_length_changes_no_answer(toys: Toys, kind: Kind, prefix: bool) -> None:
    """A prompt answers as in a session without padding, in the pass that reads it and in later ones."""
    model = toys[kind, prefix]

    def answers(rows: int) -> list[F64]:
        """Without shares: those are held against the fixed interpreter above."""
        layout, shape = model.layout(), SessionShape("generate", rows, 2)
        encoded = encode(model.weights, PRE.of)
        session = FixedSession(layout, shape, IdealStore(encoded, PRE.of), encoded)
        writer, kept, out = Writer(model, shape, list(PROMPT)), 0, []
        passes = [writer.prompt(index) for index in range(layout.passes(shape))]
        for number, given in enumerate([*passes, writer.rows([4, 8])]):
            result = session.run(Advance.first(kept), given, seeds(number))
            kept, field = len(given.ids), layout.result(shape, number)
            if result is not None:
                out.append(ring.decode(result, field.scale, field.bits)[0])
        return out

    unpadded = answers(len(PROMPT))
    near_clear(model, PROMPT, (), unpadded[0])
    near_clear(model, PROMPT, (4, 8), unpadded[1])
    for rows in (6, 9, 24):
        for mine, theirs in zip(answers(rows), unpadded, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=NEAR, rtol=0)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("prompt", [1, 4, 12])
def test_prompts_of_all_lengths_around_a_chunk(toys: Toys, prompt: int) -> None:
    model = toys["llama", True]
    trio = Trio(model.layout(), SessionShape("generate", prompt, 1), model.weights)
    writer = Writer(model, trio.shape, [6] if prompt < len(PROMPT) else list(PROMPT))
    near_clear(model, writer.seen, (), read(trio, writer))


@pytest.mark.slow
def test_a_slot_that_was_rejected_is_seen_by_no_later_row() -> None:
    """Whatever the drafts were, and whether or not an order has dropped them."""
    model = toy(changed(SPECS["llama"], layers=1))

    def after(wrong: list[int], ahead: int) -> F64:
        trio, writer = begin(model, SessionShape("generate", 8, 3), ahead=ahead)
        read(trio, writer)
        trio.step(4, writer.rows([9, *wrong]))
        writer.seen += [9]
        trio.step(1, writer.rows([10, 11, 12]))
        writer.seen += [10, 11, 12]
        answer = same(trio, *trio.step(3, writer.rows([13, 14, 15])))
        assert bool(trio.orders[-1].retired) == (ahead == 0)
        return answer

    answers = [after(*given) for given in (([1, 2], 0), ([33, 36], 0), ([33, 36], 5))]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=NEAR, rtol=0)


def test_answers_say_nothing_but_their_sum() -> None:
    """Party 0's share follows from its seed alone, so that it is the same for every prompt."""
    model = toy(changed(SPECS["gpt2"], layers=1))
    for task in ("generate", "argmax"):
        shares = []
        for prompt in ([1, 2, 3], [30, 20, 10, 9]):
            trio = Trio(model.layout(), SessionShape(task, 4, 1), model.weights)
            trio.step(0, Writer(model, trio.shape, prompt).prompt(0))
            shares.append(trio.parts)
        assert shares[0][0][:-1] == shares[1][0][:-1]  # behind it is a bit, turned by chance
        assert shares[0][1][:-1] != shares[1][1][:-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "prefix"),
    [
        ("gpt2", "private", False),
        ("gpt2", "embedded", True),
        ("llama", "private", True),
        ("llama", "public", False),
    ],
)
def test_hidden_acceptance(toys: Toys, kind: Kind, mode: str, prefix: bool) -> None:
    """All rows stay as far as servers know; the client alone knows which are out, and where rows truly stand."""
    model, rng = toys[kind, prefix], np.random.default_rng(3)
    trio, writer = begin(model, SessionShape("generate-padded", 8, ROWS), *MODES[mode], ahead=2)
    near_clear(model, writer.seen, (), read(trio, writer))
    kept, rejected = 4, None
    for stands in (1, 3, 2):
        drafts = rng.integers(0, model.spec.vocab, ROWS).tolist()
        given = replace(writer.rows(drafts), rejected=rejected)
        near_clear(model, writer.seen, drafts, same(trio, *trio.step(kept, given)))
        writer.seen += drafts[:stands]
        kept, rejected = ROWS, np.arange(ROWS) >= stands
    assert not any(order.retired for order in trio.orders)
    unique(trio)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize(
    ("kind", "name"), [("gpt2", "gelu"), ("gpt2", "relu"), ("gpt2", "tanh"), ("llama", "relu")]
)
def test_activations(kind: Kind, name: str) -> None:
    model = toy(changed(SPECS[kind], layers=1, activation=name))
    trio, writer = begin(model, SessionShape("generate", 8, 1))
    near_clear(model, writer.seen, (), read(trio, writer))
