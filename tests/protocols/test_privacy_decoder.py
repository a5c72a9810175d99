"""What a party sees of a generation does not depend on the prompt, its length or what follows, pass after pass.

Two passes over one session: a padded prompt behind a prefix that is moved by a hidden angle, then a row more; or two
such prompts together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytest

from privinf.protocols.testing.sessions import Opening, Session, session

pytest.importorskip("torch")

from generating import SPECS, Kind, Toy, Writer, seeds, toy
from specs import changed

from privinf.models.cache._ledger import Ledger
from privinf.models.cache._store import AT_DEALER, AT_PARTY, IN_FIXED, NOTHING, Cache
from privinf.models.engines.stores import DealerStore, PartyStore, encode, mask_tensor
from privinf.models.plan.scales import PRE
from privinf.models.programs import rows as wire
from privinf.models.programs.passes import run_pass
from privinf.models.programs.public import PRIVATE
from privinf.protocols import ring
from privinf.protocols.contract import SessionShape
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.ideal import Ideal
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import F64, U64
from privinf.protocols.testing.uniform import SURPRISE, surprise

SESSIONS = 8
PROMPTS = ([5, 3, 11, 30], [36], [0, 0, 7, 7, 1])
NEXT = ((8, 20), (36, 0), (1, 2))
CASES: list[tuple[Kind, str, int]] = [
    ("gpt2", "generate", 1),
    ("llama", "generate-padded", 1),
    ("llama", "argmax", 1),
    ("llama", "generate-padded", 2),
]


class Decoder:
    """A tiny decoder with private weights as a program on the shares of two passes."""

    def __init__(self, kind: Kind, task: str, batch: int) -> None:
        self.toy: Toy = toy(changed(SPECS[kind], layers=1))
        self.layout, self.shape = self.toy.layout(), SessionShape(task, 5, 2, batch)
        encoded, masks = encode(self.toy.weights, PRE.of), seeds(-2)
        opened = {name: mask_tensor(v, masks, "tests", name) for name, v in encoded.items()}
        first, second = (PartyStore(opened, seed, "tests", PRE.of) for seed in masks)
        self.stores = first, second, DealerStore(self.toy.shapes, masks, "tests", PRE.of)

    def program(self, ctx: Interpreter, *shares: Share) -> Sequence[Share]:
        """Both passes under one pair of seeds, so that names must differ throughout."""
        keeps = {Party: AT_PARTY, Dealer: AT_DEALER, Ideal: IN_FIXED}
        cache = Cache(1, next((k for role, k in keeps.items() if isinstance(ctx, role)), NOTHING))
        ledger, left, results = Ledger(self.layout, self.shape), iter(shares), []
        for index in (0, 1):
            names = [f.name for f in self.layout.form(self.shape, index).shared]
            names += [key.name for key in self.layout.form(self.shape, index).keys]
            data = {name: next(left).data for name in names}
            query = self.layout.form(self.shape, index).asked(data)
            result = run_pass(ctx, ledger, ledger.step(cache.excluded), cache, query, PRIVATE)
            assert result is not None
            results.append(result[0])
            ledger.write()
            ledger.start += 5
        return results

    def inputs(self, which: int, minus: bool = False) -> list[Share]:
        """Both passes' queries; the one-hots' signs are the client's choice."""
        asked, out = self._asked(which), []
        writers = [Writer(self.toy, self.shape, list(PROMPTS[place])) for place in asked]
        prompts = wire.together([writer.prompt(0) for writer in writers])
        later = [writer.rows(NEXT[place]) for writer, place in zip(writers, asked, strict=True)]
        for index, rows in enumerate((prompts, wire.together(later))):
            query = wire.plain(self.layout, self.shape, index, rows)
            for onehot in query.lookups.values() if minus else ():
                onehot.data = np.uint64(0) - onehot.value
            out += query.shared.values()
            out += query.lookups.values()
        return out

    def _asked(self, which: int) -> list[int]:
        """The prompts of a session."""
        return [(which + place) % len(PROMPTS) for place in range(self.shape.batch)]

    def run(self, which: int, number: int = 0, like: Sequence[Opening] | None = None) -> Session:
        given = self.inputs(which, bool(number % 2))
        return session(self.program, given, seeds(number), weights=self.stores, like=like)

    def right(self, which: int, ran: Session) -> bool:
        """Whether a session's answers are those to a prompt, or to it and those asked with it."""
        found = np.concatenate([self._answer(i, v) for i, v in enumerate(ran.results)], axis=1)
        return all(self._near(place, rows) for place, rows in zip(self._asked(which), found, strict=True))

    def _near(self, place: int, found: F64) -> bool:
        wanted = self.toy.clear([*PROMPTS[place], *NEXT[place]])[[len(PROMPTS[place]) - 1, -2, -1]]
        if self.shape.task.startswith("argmax"):
            chosen = np.take_along_axis(wanted, found.astype(np.int64), axis=-1)
            return bool(np.all(chosen >= wanted.max(axis=-1, keepdims=True) - 0.06))
        return bool(np.abs(found - wanted).max() < 0.03)

    def _answer(self, index: int, value: U64) -> F64:
        field = self.layout.result(self.shape, index)
        if self.shape.task.startswith("argmax"):
            return ring.low(value, field.bits).astype(np.float64)
        return ring.decode(value, field.scale, field.bits)

    def wrong(self, which: int, ran: Session) -> bool:
        """Whether its answers are certainly those to another prompt; the likeliest tokens may be the same."""
        return self.shape.task.startswith("argmax") or not self.right(which, ran)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def decoder(request: pytest.FixtureRequest) -> Decoder:
    """Return a tiny decoder with a prefix, all logits or the likeliest token its answer."""
    return Decoder(*request.param)


@pytest.mark.fast_cases(1)
def test_messages_are_the_same_for_every_prompt(decoder: Decoder) -> None:
    runs = [decoder.run(which) for which in range(len(PROMPTS))]
    for which, run in enumerate(runs):
        assert decoder.right(which, run)
        assert decoder.wrong((which + 1) % len(PROMPTS), run)
    for party in (0, 1):
        assert len({tuple(map(len, run.transcripts[party])) for run in runs}) == 1
    assert len({tuple((o.name, o.bits, o.opened.shape) for o in run.openings) for run in runs}) == 1


@pytest.mark.fast_cases(1)
def test_masks_explain_every_prompt(decoder: Decoder) -> None:
    """The openings of one prompt's session are another's, of whatever length, under other masks: all of them."""
    before = decoder.run(0)
    for which in (1, 2):
        after = decoder.run(which, like=before.openings)
        for one, two in zip(before.openings, after.openings, strict=True):
            np.testing.assert_array_equal(one.opened, two.opened)
        assert decoder.right(which, after)
        assert decoder.wrong(0, after)


@pytest.mark.slow
def test_openings_are_uniform(decoder: Decoder) -> None:
    """Sums, what party 0 is sent, and differences between sessions of two prompts; one site's openings together."""
    runs = [decoder.run(number % 2, number) for number in range(SESSIONS)]
    tested = 0
    for what in ("opened", "received"):
        for site, group in _sites(runs):
            values = [[getattr(o, what) for o in one] for one in group]
            differences = [_minus(a, b, site[1]) for a, b in zip(values[::2], values[1::2], strict=True)]
            for cells in (*_cells(values, site[1]), *_cells(differences, site[1])):
                assert surprise(cells) < SURPRISE, site
                tested += 1
    assert tested > 100


def _sites(runs: Sequence[Session]) -> Iterator[tuple[tuple[str, int], list[list[Opening]]]]:
    """All openings of one scope and ring, for each session."""

    def site(opening: Opening) -> tuple[str, int]:
        return opening.name.rsplit("/", 1)[0], opening.bits

    by_run = [
        {key: list(group) for key, group in groupby(sorted(run.openings, key=site), key=site)} for run in runs
    ]
    for key in by_run[0]:
        yield key, [groups[key] for groups in by_run]


def _minus(first: Sequence[U64], second: Sequence[U64], bits: int) -> list[U64]:
    return [ring.low(a - b, bits) for a, b in zip(first, second, strict=True)]


def _cells(sessions: Sequence[Sequence[U64]], bits: int) -> Iterator[Any]:
    """Counts of the lowest and the highest bits, as many as there are samples for."""
    values = np.concatenate([value.reshape(-1) for one in sessions for value in one])
    size = min(bits, 4, int(np.log2(values.size / 10)))
    for start in {0, bits - size} if size > 0 else set[int]():
        part = (values >> np.uint64(start)) & np.uint64((1 << size) - 1)
        yield np.bincount(part.astype(np.int64), minlength=1 << size)


def test_every_kind_of_opening_is_there(decoder: Decoder) -> None:
    """Lookups with their sums, bits, angles; keys and values, the prefix's moved ones too; places of the largest."""
    plan, names = decoder.toy.plan, [(o.name, o.bits, o.opened.shape) for o in decoder.run(0).openings]
    shapes = {shape for name, _, shape in names if name.startswith("embed/")}
    many = decoder.shape.batch
    assert {(many, 5, 37), (many, 5, 3), (many, 1, 1, 5), (many, 5, 16), (many, 2, 37)} <= shapes
    assert len({name for name, _, _ in names}) == len(names)
    if decoder.toy.spec.rotary:
        assert (2, many, 1, 3) in shapes
        moved = (many, 2, len(plan.prefix), 6)
        assert sum(shape == moved for _, _, shape in names) == 1
    if decoder.shape.task.startswith("argmax"):
        bits = [shape[2] for name, bits, shape in names if name.startswith("head/") and bits == 1]
        assert {18, 9, 5, 2, 1} <= set(bits)  # of 37 tokens, in halvings
        assert (names[-2][0].split("/")[0], *names[-2][1:]) == ("head", 6, (1, 2, 1))
    assert (names[-1][0].split("/")[0], *names[-1][1:]) == ("head", 2, (20,))  # of ranges, with each answer


def test_a_key_opened_again_under_its_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if slots were named by their position and a rejected draft's was written twice."""
    decoder = Decoder("gpt2", "generate", 1)
    before = decoder.run(0)

    def same(self: Interpreter, what: str) -> None:
        self.name = f"{self.where}/{what}"

    monkeypatch.setattr(Interpreter, "_rename", same)
    after = decoder.run(1, like=before.openings)
    pairs = list(zip(before.openings, after.openings, strict=True))
    assert not all(np.array_equal(one.opened, two.opened) for one, two in pairs)
