"""A party that deviates: what it tampers with shows in the result, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from cases import TABLE

from privinf.protocols import ring
from privinf.protocols.masked.dealer import ALL, Buffer, Dealer
from privinf.protocols.masked.gates import softmax
from privinf.protocols.masked.gates.activation import activate
from privinf.protocols.masked.gates.linear import MatMul
from privinf.protocols.masked.gates.norm import NormSpec, normalise
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.table import lookup
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share, map_share
from privinf.protocols.ring import U64
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.lockstep import Tamper
from privinf.protocols.testing.trials import I64, share

SEEDS = (b"\x08" * 32, b"\x09" * 32)
PREPARATION = b"a preparation id"
SPEC = NormSpec(4, 33, 3, 14, -6, 8, 1e-5, 31, 12, 37)
VALUES: I64 = np.array([[1500, -1200, 7, 900], [-30, 1023, -1024, 4]], dtype=np.int64)


def _matmul(ctx: Interpreter, x: Share) -> Sequence[Share]:
    wire, turned = ctx.open(x), ctx.open(map_share(x, (4, 2), lambda v: v.T))
    return [ctx.run(MatMul(), ctx.open(ctx.run(MatMul(), wire, turned)), wire)]


def _cube(ctx: Interpreter, x: Share) -> Sequence[Share]:
    wire = ctx.open(x)
    return [ctx.run(Product(64), ctx.open(ctx.run(Product(48), wire, wire)), wire)]


def _norm(ctx: Interpreter, x: Share) -> Sequence[Share]:
    wire = normalise(ctx, x, SPEC)
    return [ctx.run(Product(37), wire, wire)]


def _softmax(ctx: Interpreter, x: Share) -> Sequence[Share]:
    weight = softmax.weights(ctx, ctx.open(x), 2, 1, 40)
    return [ctx.run(Product(64), weight, softmax.inverse_sum(ctx, weight, 1))]


PROGRAMS: dict[str, tuple[lockstep.Program, int, int]] = {
    "matmul": (_matmul, 40, 0),
    "product": (_cube, 33, 0),
    "gelu": (lambda ctx, x: [activate(ctx, ctx.open(x), "gelu", 44)], 20, 12),
    "relu": (lambda ctx, x: [activate(ctx, ctx.open(x), "relu", 44)], 20, 12),
    "lookup": (lambda ctx, x: [lookup(ctx, ctx.open(x), TABLE, 30)], 12, 0),
    "softmax": (_softmax, 18, 10),
    "norm": (_norm, 64, 10),
}


def run(name: str, tamper: Tamper | None = None) -> lockstep.Lockstep:
    program, bits, scale = PROGRAMS[name]
    values = VALUES % 7 - 3 if name == "lookup" else VALUES
    return lockstep.run(program, [share(values, bits, scale)], SEEDS, tamper=tamper)


def result(ran: lockstep.Lockstep) -> U64:
    (first,), (second,) = ran.results
    return ring.low(first.value + second.value, first.bits)


def _rounds(name: str) -> int:
    program, bits, scale = PROGRAMS[name]
    return lockstep.declared(program, [Share(VALUES.shape, bits, scale)]).rounds


EVERY_ROUND = [(name, at) for name in PROGRAMS for at in range(_rounds(name))]


@pytest.mark.fast_cases(12)
@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize(("name", "at"), EVERY_ROUND)
def test_a_tampered_opening_changes_the_result(
    name: str, at: int, party: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing absorbs a lie in silence: without authentication it shows as another answer."""

    def flip(sender: int, number: int, message: bytes) -> bytes:
        if (sender, number) != (party, at):
            return message
        return bytes(byte ^ 0xFF for byte in message)

    monkeypatch.setattr("privinf.protocols.prg.fresh_seed", lambda: b"\x0a" * 32)
    honest = result(run(name))
    np.testing.assert_array_equal(honest, result(run(name)))
    assert not np.array_equal(honest, result(run(name, flip)))


@pytest.mark.parametrize(
    "change",
    [lambda m: m[:-1], lambda m: m + b"\0", lambda m: b"", lambda m: m * 2],
    ids=["short", "long", "empty", "doubled"],
)
@pytest.mark.parametrize("at", [0, 1])
def test_a_message_of_another_length_is_refused(
    change: Callable[[bytes], bytes], at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resize(sender: int, number: int, message: bytes) -> bytes:
        return change(message) if (sender, number) == (1, at) else message

    monkeypatch.setattr(lockstep, "TIMEOUT", 0.2)  # the other party waits in vain
    with pytest.raises(ValueError, match="bytes where"):
        run("product", resize)


class _Careless:
    """A channel that gives whatever it likes, without checking it."""

    def __init__(self, surplus: int = 0) -> None:
        self._surplus = surplus

    def push(self, part: Buffer) -> None:
        """Drop it."""

    def pull(self, expect: Sequence[int]) -> list[memoryview]:
        return [memoryview(bytes(size + self._surplus)) for size in expect]


def test_a_party_checks_even_what_its_channel_does_not() -> None:
    party = Party(0, PREPARATION, SEEDS[0], lockstep.Tape([]), _Careless(-1))
    party.open(share(VALUES, 40))
    with pytest.raises(ValueError, match="cannot hold"):
        party.flush()


@pytest.mark.parametrize("missing", [0, 1, 100, 10**9])
@pytest.mark.parametrize("index", [0, 1])
def test_a_preparation_that_ends_early_is_refused(missing: int, index: int) -> None:
    program, bits, scale = PROGRAMS["gelu"]
    tape: list[bytes] = []

    def write(to: int, data: Buffer) -> None:
        if to in (index, ALL):
            tape.append(bytes(data))

    program(Dealer(PREPARATION, SEEDS, write), Share(VALUES.shape, bits, scale))
    whole = b"".join(tape)
    source = lockstep.Tape([whole[: max(len(whole) - missing, 0)]])
    party = Party(index, PREPARATION, SEEDS[index], source, _Careless())
    if missing:
        with pytest.raises(EOFError, match="preparation ends"):
            program(party, share(VALUES, bits, scale))
    else:
        program(party, share(VALUES, bits, scale))
        assert source.left == 0


def test_another_preparation_gives_another_result() -> None:
    """Two preparations of one program cannot be mixed without notice by the result."""
    program, bits, scale = PROGRAMS["gelu"]
    (mine,), _ = lockstep.run(program, [share(VALUES, bits, scale)], SEEDS).results
    _, (theirs,) = lockstep.run(program, [share(VALUES, bits, scale)], (SEEDS[0], b"\x0b" * 32)).results
    assert not np.array_equal(ring.low(mine.value + theirs.value, mine.bits), result(run("gelu")))
