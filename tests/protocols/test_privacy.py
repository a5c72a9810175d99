"""What a party sees does not depend on the input: lengths and order, uniform openings, masks that explain any input.

The detectors are tested too: they must find a generator that is short of range and a mask that is used twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from cases import TABLE

from privinf.models.engines import stores
from privinf.models.plan.scales import POST
from privinf.models.programs import query, texts
from privinf.models.programs.layout import QueryLayout
from privinf.models.programs.public import PRIVATE
from privinf.models.sharing import calibrate
from privinf.protocols import prg, ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.kernels import Kernels
from privinf.protocols.masked.gates import exp2, softmax
from privinf.protocols.masked.gates.activation import ACTIVATIONS, activate
from privinf.protocols.masked.gates.linear import MatMul, ToShare
from privinf.protocols.masked.gates.norm import NormSpec, normalise
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.table import lookup
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, map_share
from privinf.protocols.ring import F64, U64, Shape
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.sessions import Opening, Session, session
from privinf.protocols.testing.trials import share
from privinf.protocols.testing.uniform import SURPRISE, difference_surprise, opened_surprise, overlap_surprise

SESSIONS = 50
ROWS: Shape = (8, 6)
SPEC = NormSpec(6, 33, 3, 14, -6, 8, 1e-5, 31, 12, 37)


@dataclass(frozen=True)
class Probe:
    """A program on one share of shape ROWS, the share's ring and scale, and what it computes up to `error`."""

    program: lockstep.Program
    bits: int
    scale: int
    clear: object
    error: float
    span: int = 13

    def input(self, seed: int) -> Share:
        """Small values of which half are extremes."""
        rng = np.random.default_rng(seed)
        end = 1 << self.span
        x = rng.integers(-end, end, ROWS, endpoint=True)
        return share(
            np.where(rng.random(ROWS) < 0.5, np.sign(x) * end, x).astype(np.int64), self.bits, self.scale
        )


def linear(ctx: Interpreter, x: Share) -> Sequence[Share]:
    wire = ctx.open(x)
    y = ctx.run(MatMul(), wire, ctx.open(map_share(x, (6, 8), lambda v: v.reshape(6, 8))))
    return [ctx.run(ToShare(), ctx.open(y))]


def product(ctx: Interpreter, x: Share) -> Sequence[Share]:
    wire = ctx.open(x)
    square = ctx.run(Product(62), wire, wire)
    return [ctx.run(Product(64), ctx.open(square), wire)]


def exponential(ctx: Interpreter, x: Share) -> Sequence[Share]:
    moved = ctx.add_public(x, np.full(ROWS, 1 << 13, dtype=np.uint64))
    return [ctx.run(ToShare(), ctx.open(exp2.exponential(ctx, ctx.open(moved), 14, 44), 15))]


def gelu(ctx: Interpreter, x: Share) -> Sequence[Share]:
    return [activate(ctx, ctx.open(x), "gelu", 44)]


def relu(ctx: Interpreter, x: Share) -> Sequence[Share]:
    return [activate(ctx, ctx.open(x), "relu", 44)]


def table(ctx: Interpreter, x: Share) -> Sequence[Share]:
    return [lookup(ctx, ctx.open(x), TABLE, 30)]


def soft(ctx: Interpreter, x: Share) -> Sequence[Share]:
    weight = softmax.weights(ctx, ctx.open(x), 2, 1, 40)
    return [ctx.run(Product(64), weight, softmax.inverse_sum(ctx, weight, 1))]


def norm(ctx: Interpreter, x: Share) -> Sequence[Share]:
    return [ctx.run(ToShare(), normalise(ctx, x, SPEC))]


def _softmax(x: F64) -> F64:
    weights = 2.0 ** (x - x.max(-1, keepdims=True))
    clear: F64 = weights / weights.sum(-1, keepdims=True)
    return clear


PROBES = {
    "linear": Probe(linear, 33, 4, lambda x: x @ x.reshape(6, 8), 0),
    "product": Probe(product, 40, 4, lambda x: x**3, 0),
    "exp2": Probe(exponential, 19, 10, lambda x: 2.0 ** -(x + 8), 2e-3),
    "gelu": Probe(gelu, 20, 12, ACTIVATIONS["gelu"].clear, ACTIVATIONS["gelu"].bound),
    "relu": Probe(relu, 21, 12, lambda x: np.maximum(x, 0), 0),
    "lookup": Probe(table, 5, 0, lambda x: TABLE.at(x.astype(np.int64)), 0, 3),
    "softmax": Probe(soft, 18, 10, _softmax, 1e-2, 14),
    "norm": Probe(norm, 64, 17, lambda x: x / np.sqrt((x * x).mean(-1, keepdims=True) + SPEC.eps), 1e-2, 17),
}
NAMES = pytest.mark.parametrize("name", PROBES)


def seeds(number: int) -> tuple[bytes, bytes]:
    """Return the seeds of one session: all different, and the same in every run of the tests."""
    digests = [hashlib.blake2b(f"{number}/{role}".encode(), digest_size=32).digest() for role in (0, 1)]
    return digests[0], digests[1]


def sessions(name: str, count: int = SESSIONS, same_seeds: int = 1) -> Iterator[Session]:
    """Run the probe on two inputs in turn; `same_seeds` sessions after another share their seeds."""
    probe = PROBES[name]
    for i in range(count):
        yield session(probe.program, [probe.input(i % 2)], seeds(i // same_seeds))


@NAMES
def test_messages_do_not_depend_on_the_input(name: str) -> None:
    first, second = sessions(name, 2)
    for one, other in zip(first.transcripts, second.transcripts, strict=True):
        assert [len(m) for m in one] == [len(m) for m in other]
        assert one != other
    assert [(o.name, o.bits) for o in first.openings] == [(o.name, o.bits) for o in second.openings]


@pytest.mark.fast_cases(3)
@NAMES
def test_openings_are_uniform(name: str) -> None:
    runs = list(sessions(name))
    assert opened_surprise(runs) < SURPRISE
    assert difference_surprise(runs) < SURPRISE


def test_probes_open_rings_of_all_kinds() -> None:
    bits = {o.bits for name in PROBES for run in sessions(name, 1) for o in run.openings}
    assert {1, 62} < bits
    assert any(b % 8 == 0 and b < 64 for b in bits)
    assert len([b for b in bits if b % 8]) > 8


@pytest.mark.fast_cases(3)
@NAMES
def test_a_generator_that_is_short_of_range_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mask drawn by `rand() * half`; everything still computes the right result."""
    honest = prg.elements

    def short(seed: bytes, label: str, shape: Shape, bits: int, kernels: Kernels | None = None) -> U64:
        return honest(seed, label, shape, bits, kernels) >> np.uint64(1)

    monkeypatch.setattr(prg, "elements", short)
    runs = list(sessions(name))
    assert max(opened_surprise(runs), difference_surprise(runs)) > SURPRISE


@pytest.mark.fast_cases(3)
@NAMES
def test_seeds_used_twice_are_found(name: str) -> None:
    runs = list(sessions(name, same_seeds=2))
    assert opened_surprise(runs) < SURPRISE  # each session for itself is in order
    assert difference_surprise(runs) > SURPRISE


def test_seeds_used_twice_reveal_the_inputs() -> None:
    probe = PROBES["linear"]
    for pair in (2, 1):
        first, second = (run.openings[0].opened for run in sessions("linear", 2, pair))
        revealed = ring.low(second - first, probe.bits)
        hidden = ring.low(probe.input(1).value - probe.input(0).value, probe.bits)
        assert np.array_equal(revealed, hidden) == (pair == 2)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("name", ["linear", "norm", "softmax"])
def test_a_mask_used_twice_in_a_session_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(ctx: Interpreter, x: Share) -> Sequence[Share]:
        return [*probe.program(ctx, x), *probe.program(ctx, x)]

    probe = PROBES[name]
    monkeypatch.setitem(PROBES, name, replace(probe, program=twice))
    assert overlap_surprise(list(sessions(name))) < SURPRISE
    monkeypatch.setattr(Interpreter, "_rename", lambda self, what: setattr(self, "name", what))
    assert overlap_surprise(list(sessions(name))) > SURPRISE


@NAMES
def test_masks_explain_every_input(name: str) -> None:
    """For any other input there are masks under which every opening comes out the same, and the result is right."""
    probe = PROBES[name]
    before = session(probe.program, [probe.input(0)], seeds(0))
    for other in (1, 2):
        given = probe.input(other)
        after = session(probe.program, [given], seeds(0), like=before.openings)
        for one, two in zip(before.openings, after.openings, strict=True):
            np.testing.assert_array_equal(one.opened, two.opened)
        _right(probe, given, after)


def _right(probe: Probe, given: Share, ran: Session) -> None:
    (declared,) = lockstep.ideal(probe.program, [given], seeds(0))
    clear = probe.clear(ring.decode(given.value, given.scale, given.bits))  # type: ignore[operator]
    assert np.abs(clear).max() > 0
    result = ring.decode(ran.results[0], declared.scale, declared.bits)
    np.testing.assert_allclose(result, clear, atol=probe.error, rtol=0)


@pytest.mark.parametrize("name", ["linear", "product"])
def test_without_keys_the_view_of_party_0_is_the_same_byte_for_byte(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all differences go to party 1: one that party 0 is sent is uniform under what party 1 draws."""
    monkeypatch.setattr(Interpreter, "receiver", lambda self, shape, bits: 1)
    probe = PROBES[name]
    assert lockstep.declared(probe.program, [probe.input(0)]).tally.total().prep0 == 0
    before = session(probe.program, [probe.input(0)], seeds(0))
    after = session(probe.program, [probe.input(1)], seeds(0), like=before.openings)
    assert after.transcripts[1] == before.transcripts[1]


def test_masks_used_twice_explain_no_other_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation finds a reuse too: one mask cannot make two openings fit."""

    def twice(ctx: Interpreter, x: Share) -> Sequence[Share]:
        ctx.open(x)
        ctx.open(map_share(x, x.shape, lambda v: v * np.uint64(3)))
        return []

    def agreeing() -> list[bool]:
        before = session(twice, [PROBES["linear"].input(0)], seeds(0))
        after = session(twice, [PROBES["linear"].input(1)], seeds(0), like=before.openings)
        return [
            np.array_equal(a.opened, b.opened) for a, b in zip(before.openings, after.openings, strict=True)
        ]

    assert agreeing() == [True, True]
    monkeypatch.setattr(Interpreter, "_rename", lambda self, what: setattr(self, "name", what))
    assert agreeing() == [True, False]


class Encoder:
    """A tiny encoder as a program on a query's shares, with private weights."""

    def __init__(self, folder: Path) -> None:
        from tiny import load_tiny, write_model

        self.tiny = load_tiny(write_model(folder, "embed"))
        self.layout = QueryLayout(self.tiny.spec, self.tiny.plan, False, False)
        self.shape = QueryShape("embed", 1, 8)
        encoded, mask_seeds = stores.encode(self.tiny.folded, POST.of), seeds(-1)
        masked = {n: stores.mask_tensor(v, mask_seeds, "tests", n) for n, v in encoded.items()}
        shapes = {n: v.shape for n, v in encoded.items()}
        first, second = (stores.PartyStore(masked, seed, "tests", POST.of) for seed in mask_seeds)
        self.stores = first, second, stores.DealerStore(shapes, mask_seeds, "tests", POST.of)

    def program(self, ctx: Interpreter, vectors: Share, real: Share) -> Sequence[Share]:
        given = self.layout.form(self.shape).asked({"token": vectors.data, "real": real.data})
        return query.run_model(ctx, self.layout, given, PRIVATE)

    def rows(self, text: str) -> texts.Rows:
        return texts.lay_out(self.layout, self.shape, self.tiny.tokenizer.encode([text]))

    def inputs(self, text: str) -> list[Share]:
        given = texts.plain(self.layout, self.shape, self.rows(text))
        return [given.lookups["token"], given.shared["real"]]

    def run(self, text: str, like: Sequence[Opening] | None = None) -> Session:
        return session(self.program, self.inputs(text), seeds(0), weights=self.stores, like=like)

    def cosine(self, text: str, ran: Session) -> float:
        """Between a session's answer and the clear one."""
        field = self.layout.result(self.shape)
        row = ring.decode(ran.results[0], field.scale, field.bits).reshape(-1)
        (clear,) = calibrate.clear_answers(
            self.tiny.spec, self.tiny.folded, self.tiny.tokenizer.encode([text])
        )
        return float(row @ clear / np.linalg.norm(row) / np.linalg.norm(clear))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Return a tiny encoder with two layers."""
    pytest.importorskip("torch")
    return Encoder(tmp_path_factory.mktemp("tiny") / "model")


TEXTS = ("they were not", "the of and to in", "z")


def test_an_encoder_sends_the_same_messages_for_every_text(encoder: Encoder) -> None:
    runs = [encoder.run(text) for text in TEXTS]
    for party in (0, 1):
        assert len({tuple(map(len, run.transcripts[party])) for run in runs}) == 1
    assert len({tuple((o.name, o.bits, o.opened.shape) for o in run.openings) for run in runs}) == 1
    assert len({run.transcripts[0][-1] for run in runs}) == len(TEXTS)


def test_masks_explain_every_text_to_an_encoder(encoder: Encoder) -> None:
    """The whole transcript of one text's session is one of another's, down to the last opening."""
    before = encoder.run(TEXTS[0])
    assert encoder.cosine(TEXTS[0], before) > 0.999
    for text in TEXTS[1:]:
        after = encoder.run(text, before.openings)
        for one, two in zip(before.openings, after.openings, strict=True):
            np.testing.assert_array_equal(one.opened, two.opened)
        assert encoder.cosine(text, after) > 0.999
        assert encoder.cosine(TEXTS[0], after) < 0.99
