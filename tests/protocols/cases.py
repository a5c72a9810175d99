"""Cases of the gates' conformance suite: each draws a program, its inputs, and what they should give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import composites
import numpy as np
from hypothesis import strategies as st

from privinf.models.engines.stores import DealerStore, IdealStore, PartyStore, ShapeStore, mask_tensor
from privinf.models.plan.scales import POST
from privinf.protocols.masked.gates import alarm
from privinf.protocols.masked.gates import exp2 as powers
from privinf.protocols.masked.gates.activation import ACTIVATIONS
from privinf.protocols.masked.gates.bits import from_bits
from privinf.protocols.masked.gates.compare import AtLeast, Equals
from privinf.protocols.masked.gates.histogram import CountZeros, Head, Tail
from privinf.protocols.masked.gates.linear import MatMul, PublicMatMul
from privinf.protocols.masked.gates.power import FINE_ROOT, INVERSE, Power
from privinf.protocols.masked.gates.product import Product, SumSquares
from privinf.protocols.masked.gates.selection import open_sums, require_one_row
from privinf.protocols.masked.gates.separable import NOTHING, Factors, Separable
from privinf.protocols.masked.gates.table import Table, Window, lookup
from privinf.protocols.masked.gates.watch import watch
from privinf.protocols.masked.interpreter import Interpreter, drop_bits
from privinf.protocols.masked.wires import Known, Share, Wire, narrow
from privinf.protocols.testing.trials import (
    I64,
    Draw,
    Exactly,
    Stores,
    Trial,
    Within,
    held,
    integers,
    row_shape,
    shape,
    share,
    signed,
    wide,
    width,
)


def stored(name: str, value: I64) -> Stores:
    seeds, sharing = (b"\x05" * 32, b"\x06" * 32), "tests"
    tensor, shapes = value.view(np.uint64), {name: value.shape}
    masked = {name: mask_tensor(tensor, seeds, sharing, name)}
    return Stores(
        (PartyStore(masked, seeds[0], sharing, POST.of), PartyStore(masked, seeds[1], sharing, POST.of)),
        DealerStore(shapes, seeds, sharing, POST.of),
        IdealStore({name: tensor}, POST.of),
        ShapeStore(shapes, POST.of),
    )


def matmul(draw: Draw) -> Trial:
    m, k, n = (draw(st.integers(1, 4)) for _ in range(3))
    bits = width(draw, 2, 64), width(draw, 2, 64)
    x, y = signed(draw, (m, k), bits[0]), signed(draw, (k, n), bits[1])

    def program(ctx: Interpreter, a: Share, b: Share) -> Sequence[Share]:
        return [ctx.run(MatMul(), ctx.open(a), ctx.open(b))]

    return Trial(program, (share(x, bits[0], 3), share(y, bits[1], 5)), (Exactly(wide(x) @ wide(y)),))


def matmul_batched(draw: Draw) -> Trial:
    lead, m, k, n = shape(draw, most=2, rank=2), 2, draw(st.integers(1, 5)), 3
    x, y = signed(draw, (*lead, m, k), 40), signed(draw, (*lead, k, n), 64)
    clear = np.array(
        [wide(a) @ wide(b) for a, b in zip(x.reshape(-1, m, k), y.reshape(-1, k, n), strict=True)]
    )

    def program(ctx: Interpreter, a: Share, b: Share) -> Sequence[Share]:
        return [ctx.run(MatMul(), ctx.open(a), ctx.open(b))]

    return Trial(program, (share(x, 40), share(y, 64)), (Exactly(clear.reshape(*lead, m, n)),))


def matmul_static(draw: Draw) -> Trial:
    """A stored weight serves two products in one session, the second one from its cache."""
    lead, k, n = shape(draw, rank=3), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    bits = width(draw, 20, 64)
    x, weight = signed(draw, (*lead, k), bits), signed(draw, (k, n), 64)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        opened = ctx.open(a)
        return [ctx.run(MatMul(), opened, ctx.weight("up.weight")) for _ in range(2)]

    wanted = Exactly(wide(x) @ wide(weight))
    return Trial(program, (share(x, bits),), (wanted, wanted), stored("up.weight", weight))


def matmul_public(draw: Draw) -> Trial:
    lead, k, n = shape(draw), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    bits = width(draw, 2, 64)
    x, weight = signed(draw, (*lead, k), bits), signed(draw, (k, n), 64)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(PublicMatMul(weight.view(np.uint64), 4), ctx.open(a))]

    return Trial(program, (share(x, bits),), (Exactly(wide(x) @ wide(weight)),))


def to_share(draw: Draw) -> Trial:
    bits = width(draw, 1, 64)
    x = signed(draw, shape(draw), bits)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [held(ctx, ctx.open(a))]

    return Trial(program, (share(x, bits, 7),), (Exactly(x),))


def drop(dealt: bool) -> Callable[[Draw], Trial]:
    def case(draw: Draw) -> Trial:
        bits = width(draw, 4, 64)
        count = draw(st.integers(max(1, bits - 52), bits - 3))
        x = signed(draw, shape(draw), bits, 2)

        def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
            return [held(ctx, drop_bits(ctx.open(a), count) if dealt else ctx.open(a, count))]

        # the dealer's gives floor or floor + 1; a value on the grid moves too, unless the mask's low bits are zero
        wanted = Within((x >> count) + 0.5, 0.5) if dealt else Within(x / 2.0**count, 1.5)
        return Trial(program, (share(x, bits, count),), (wanted,))

    return case


def lift(draw: Draw) -> Trial:
    bits = width(draw, 2, 63)
    outer = draw(st.integers(bits + 1, 64))
    x = signed(draw, shape(draw), bits, 2)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Product(outer), ctx.open(a))]

    return Trial(program, (share(x, bits, 4),), (Exactly(x),))


def bits_lifted(draw: Draw) -> Trial:
    """Bits in a ring of any size, and narrowed to a smaller one."""
    outer = width(draw, 1, 64)
    inner = draw(st.integers(1, outer))
    x = integers(draw, shape(draw), 0, 1)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        lifted = from_bits(ctx, ctx.open(a), outer)
        return [lifted, narrow(lifted, inner)]

    return Trial(program, (share(x, 1),), (Exactly(x), Exactly(x)))


TABLE = Table(np.array([7, -3, 0, 11, -12, 5, 1], dtype=np.int64), -3, 0, 6)


def _product(draw: Draw, kinds: Sequence[str]) -> Trial:
    """A product of the given kinds of factors, each in a shape that broadcasts with the others."""
    outer = width(draw, 34, 64)
    full = shape(draw)
    values, inputs = [], []
    for kind in kinds:
        own = tuple(draw(st.sampled_from((1, n))) for n in full)
        bits = {"bit": 1, "wire": outer, "table": 5}.get(kind) or width(draw, 2, 33)
        x = signed(draw, own, bits, 2 if kind == "lifted" else 1)
        values.append({"bit": lambda v: v & 1, "table": TABLE.at}.get(kind, lambda v: v)(x))
        inputs.append(share(x, bits))

    def program(ctx: Interpreter, *shares: Share) -> Sequence[Share]:
        factors: list[Wire | Known] = []
        for kind, wire in zip(kinds, [ctx.open(s) for s in shares], strict=True):
            if kind == "table":
                entry, sign = ctx.run(Window(TABLE), wire)
                factors += [ctx.open(entry), sign]
            else:
                factors.append(wire)
        return [ctx.run(Product(outer), *factors)]

    result = wide(values[0])
    for value in values[1:]:
        result = result * wide(value)
    return Trial(program, tuple(inputs), (Exactly(result),))


def product(*kinds: str) -> Callable[[Draw], Trial]:
    return lambda draw: _product(draw, kinds)


def square(draw: Draw) -> Trial:
    """One wire twice in one product, in the ring and lifted."""
    bits = width(draw, 2, 63)
    x = signed(draw, shape(draw), bits, 2)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        wire = ctx.open(a)
        return [ctx.run(Product(64), wire, wire), ctx.run(Product(bits), wire, wire)]

    return Trial(program, (share(x, bits),), (Exactly(wide(x) ** 2), Exactly(wide(x) ** 2)))


def sum_squares(draw: Draw) -> Trial:
    bits = width(draw, 2, 40)
    outer = draw(st.integers(bits + 2, 64))
    x = signed(draw, (*shape(draw, rank=2), draw(st.integers(1, 6))), bits, 2)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(SumSquares(outer), ctx.open(a))]

    return Trial(program, (share(x, bits),), (Exactly((wide(x) ** 2).sum(-1, keepdims=True)),))


def at_least(draw: Draw) -> Trial:
    bits = width(draw, 3, 62)
    quarter = 1 << (bits - 2)
    thresholds = tuple(draw(st.lists(st.integers(-quarter, quarter - 1), min_size=1, max_size=4)))
    x = signed(draw, shape(draw), bits, 2, [t + step for t in thresholds for step in (-1, 0, 1)])

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return list(ctx.run(AtLeast(thresholds), ctx.open(a)))

    return Trial(program, (share(x, bits, 2),), tuple(Exactly((x >= t).astype(np.int64)) for t in thresholds))


def at_least_zero(draw: Draw) -> Trial:
    """The threshold zero covers the whole ring."""
    bits = width(draw, 2, 62)
    x = signed(draw, shape(draw), bits)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return list(ctx.run(AtLeast(), ctx.open(a)))

    return Trial(program, (share(x, bits),), (Exactly((x >= 0).astype(np.int64)),))


def equals(draw: Draw) -> Trial:
    bits = width(draw, 1, 62)
    half = 1 << (bits - 1)
    constant = draw(st.integers(-half, half - 1))
    x = signed(draw, shape(draw), bits, 1, [constant - 1, constant, constant, constant + 1])

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Equals(constant), ctx.open(a))]

    return Trial(program, (share(x, bits),), (Exactly((x == constant).astype(np.int64)),))


def _table(draw: Draw, bits: int) -> Table:
    """A table somewhere in the signed range of `bits`, up to the whole of it."""
    half = 1 << (bits - 1)
    start = draw(st.integers(-half, half - 1))
    size = draw(st.integers(1, min(half - start, 300)))
    inner = width(draw, 3, 30)
    return Table(signed(draw, (size,), inner, 2) | 1, start, 3, inner + 1)


def window(draw: Draw) -> Trial:
    """A table lookup at and beside the table's ends, and the index's sign from the same key."""
    bits = width(draw, 1, 24)
    table = _table(draw, bits)
    last = table.start + table.entries.size
    x = signed(draw, shape(draw), bits, 1, [table.start - 1, table.start, last - 1, last])

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        wire = ctx.open(a)
        entry, sign = ctx.run(Window(table), wire)
        return [ctx.run(Product(48), ctx.open(entry), sign), lookup(ctx, wire, table, 40)]

    entries = Exactly(table.at(x))
    return Trial(program, (share(x, bits),), (entries, entries))


def exp2(draw: Draw) -> Trial:
    """Up to the last block that does not wrap around, in steps of a block and half of one."""
    scale, result = draw(st.integers(1, 11)), draw(st.sampled_from((14, 16, 20)))
    bits = scale + width(draw, 7, 20)
    block, outer = powers.BLOCK << scale, width(draw, result + 17, 64)
    steps = [k * block // 2 + near for k in range(2 * powers.blocks(result) + 1) for near in (-1, 0, 1)]
    y = integers(draw, shape(draw), 0, (1 << bits) - block - 1, steps)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        fine = powers.exponential(ctx, ctx.open(a), result, outer)
        return [fine, held(ctx, ctx.open(fine, powers.DROPPED))]

    real, drop = 2.0 ** -(y / 2.0**scale), 1.5 * 2.0**-result
    dropped = powers.RELATIVE_ERROR * real + powers.UNITS_ERROR * 2.0**-result
    bound = np.where(y >= block * powers.blocks(result), 2.0**-result, dropped - drop)
    return Trial(program, (share(y, bits, scale),), (Within(real, bound), Within(real, bound + drop)))


def separable(draw: Draw) -> Trial:
    """A cubic in blocks of every size on both sides of zero, linear beyond them or zero: exact in integers."""
    low, count, depth = draw(st.integers(0, 5)), draw(st.integers(1, 4)), width(draw, 4, 9)
    first, far = draw(st.integers(-3, 2)), draw(st.booleans())
    factors = _cubic(low, first, count, far)
    end = (1 << (depth + low - 1)) - (1 << low)
    x = integers(draw, shape(draw), -end, end, [k << low for k in range(first - 1, first + count + 2)])
    outer = width(draw, 20, 64)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        wire = ctx.open(a)
        return [ctx.run(Separable(factors, outer), wire)]

    lowest, highest = (first + 1) << low, (first + count - 1) << low  # blocks here are near under every mask
    inside = (x >= lowest) & (x < highest)
    beyond = x >= (first + count) << low
    cubic, line = x**3 - 2 * x + 7, 5 * x - 3 if far else 0 * x
    real = np.where(inside, cubic, np.where(beyond, line, 0)).astype(np.float64)
    edge = ~inside & ~beyond & (x >= (first - 1) << low)  # here the mask decides, and the ideal says how
    return Trial(program, (share(x, depth + low),), (Within(real, np.where(edge, np.inf, 0.5)),))


def _cubic(low: int, first: int, count: int, far: bool) -> Factors:
    """x^3 - 2x + 7 with x = s - D, in powers of D; 5x - 3 beyond."""
    position = np.arange(1 << low, dtype=np.int64)
    payload = np.stack([position**0, position, position**2, position**3], axis=-1)
    tables = []
    for block in range(first, first + count):
        s = (block << low) + position
        tables.append(np.stack([s**3 - 2 * s + 7, 2 - 3 * s * s, 3 * s, -(s**0)], axis=-1))
    return Factors(payload, np.stack(tables).astype(np.int32), first, (5, -3, -5) if far else NOTHING, 0)


def tail(draw: Draw) -> Trial:
    bits, lane = width(draw, 1, 9), draw(st.sampled_from((8, 16)))
    x = signed(draw, row_shape(draw), bits)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Tail(lane), ctx.open(a))]

    from_bottom = (x + (1 << (bits - 1)))[..., None]
    return Trial(program, (share(x, bits),), (Exactly((from_bottom >= np.arange(1, 1 << bits)).sum(-2)),))


def head(draw: Draw) -> Trial:
    bits, lane = width(draw, 1, 20), draw(st.sampled_from((8, 16)))
    count = draw(st.integers(1, min(1 << bits, 40)))
    x = integers(draw, row_shape(draw), 0, (1 << bits) - 1, range(count + 2))

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Head(lane, count), ctx.open(a))]

    return Trial(program, (share(x, bits),), (Exactly((x[..., None] < np.arange(1, count + 1)).sum(-2)),))


def count_zeros(draw: Draw) -> Trial:
    bits, lane = width(draw, 1, 24), draw(st.sampled_from((8, 16)))
    x = signed(draw, row_shape(draw), bits)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(CountZeros(lane), ctx.open(a))]

    return Trial(program, (share(x, bits),), (Exactly((x == 0).sum(-1, keepdims=True)),))


def selection(draw: Draw) -> Trial:
    """Signs of one-hots; a round of its own for the digest, as no opening follows."""
    rows, size = (*shape(draw), 1), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sign = rng.choice([-1, 1], rows)
    vectors = (rng.integers(0, size, rows) == np.arange(size)) * sign

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [held(ctx, require_one_row(ctx, open_sums(ctx, a)))]

    return Trial(program, (share(vectors, 64),), (Exactly(sign),))


KINDS = ("wire", "lifted", "bit", "table")
PRODUCTS = (
    *((kind,) for kind in KINDS),
    *((a, b) for i, a in enumerate(KINDS) for b in KINDS[i:]),
    ("bit", "lifted", "table"),
    ("bit", "bit", "wire"),
    ("lifted", "lifted", "bit"),
    ("wire", "lifted", "table"),
)


def alarmed(*, opened: int, far: bool) -> Callable[[Draw], Trial]:
    """Wires that are lifted, that feed keys, and that are checked in a smaller ring than they are opened in."""

    def case(draw: Draw) -> Trial:
        bits, where = width(draw, 8, 40), shape(draw)
        x = integers(draw, where, -(1 << (bits - 2)), (1 << (bits - 2)) - 1)
        y = integers(draw, where, -(5 << (bits - 4)), 5 << (bits - 4)) if not far else x + (3 << (bits - 1))

        def program(ctx: Interpreter, a: Share, b: Share) -> Sequence[Share]:
            alarm.begin(ctx)
            first, second = ctx.open(narrow(a, bits)), ctx.open(narrow(b, bits + opened))
            watch(ctx, second, bits)
            lifted = ctx.run(Product(64), first)
            return [lifted, held(ctx, second), alarm.in_range(ctx, alarm.open_combinations(ctx))]

        inputs = share(x, 64), share(y, 64)
        return Trial(program, inputs, (Exactly(wide(x)), Exactly(wide(y)), Exactly(np.array([not far]))))

    return case


CASES: dict[str, Callable[[Draw], Trial]] = {
    "selection": selection,
    "matmul": matmul,
    "matmul batched": matmul_batched,
    "matmul static weight": matmul_static,
    "matmul public weight": matmul_public,
    "to share": to_share,
    "drop bits": drop(dealt=False),
    "drop bits at the dealer": drop(dealt=True),
    "lift": lift,
    "bits in a larger ring": bits_lifted,
    **{f"product {' '.join(kinds)}": product(*kinds) for kinds in PRODUCTS},
    "product square": square,
    "sum of squares": sum_squares,
    "at least": at_least,
    "at least zero": at_least_zero,
    "equals": equals,
    "window": window,
    "exp2": exp2,
    "separable": separable,
    "tail": tail,
    "head": head,
    "count zeros": count_zeros,
    "below max": composites.below_max,
    "below max in two passes": composites.below_max_twice,
    "alarm": alarmed(opened=0, far=False),
    "alarm of a smaller ring": alarmed(opened=2, far=False),
    "alarm raised": alarmed(opened=2, far=True),
    "softmax": composites.attention,
    "reciprocal": composites.power(Power(-1.0, 6, 12, 20, lanes=INVERSE), 20),
    "reciprocal of the narrowest ring": composites.power(Power(-1.0, 6, 12, 20, lanes=INVERSE), 13),
    "reciprocal of one octave": composites.power(Power(-1.0, 2, 3, 16, 5, lanes=INVERSE), 4),
    "root of many octaves": composites.power(Power(-0.5, 5, 34, 28, 384, offset=3), 44),
    "root to the last bit": composites.power(Power(-0.5, 40, 63, 48, lanes=FINE_ROOT), 64),
    "normalise": composites.normal,
    **{name: composites.activation(name) for name in ACTIVATIONS},
    "relu": composites.relu,
    "argmax": composites.place,
    "argmax of a dropped wire": composites.place_of_dropped,
}
