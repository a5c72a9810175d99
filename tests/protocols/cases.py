"""Cases of the gates' conformance suite: each draws a program, its inputs, and what they should give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from privinf.models.weights import DealerStore, IdealStore, PartyStore, ShapeStore, mask_tensor
from privinf.protocols import ring
from privinf.protocols.gates import softmax
from privinf.protocols.gates.activation import ACTIVATIONS, activate, maximum
from privinf.protocols.gates.compare import AtLeast, Equals
from privinf.protocols.gates.exp2 import RELATIVE_ERROR, Exp2
from privinf.protocols.gates.histogram import CountZeros, Head, MaxSpec, Tail, distance_below_max
from privinf.protocols.gates.linear import MatMul, PublicMatMul, ToShare
from privinf.protocols.gates.norm import NormSpec, centre, normalise
from privinf.protocols.gates.power import Power, evaluate
from privinf.protocols.gates.product import Lift, Product, SumSquares
from privinf.protocols.gates.table import Table, Window, lookup
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.ring import F64, Shape
from privinf.protocols.wires import Known, Share, Wire, map_share

Draw = Callable[[st.SearchStrategy[Any]], Any]
I64 = npt.NDArray[np.int64]
Ints = npt.NDArray[Any]
Program = Callable[..., Sequence[Share]]


@dataclass(frozen=True)
class Exactly:
    """Integers that a result must equal modulo its ring."""

    integers: Ints


@dataclass(frozen=True)
class Within:
    """Reals that a result may differ from by `bound`, both of the result's shape."""

    reals: F64
    bound: F64 | float


@dataclass(frozen=True)
class Stores:
    """One static weight as every role holds it."""

    parties: tuple[PartyStore, PartyStore]
    dealer: DealerStore
    ideal: IdealStore
    shapes: ShapeStore


@dataclass(frozen=True)
class Trial:
    """A program that ends in shares, its inputs, and what each result must be."""

    program: Program
    inputs: tuple[Share, ...]
    wanted: tuple[Exactly | Within, ...]
    stores: Stores | None = None


def integers(draw: Draw, shape: Shape, low: int, high: int, edges: Sequence[int] = ()) -> I64:
    """Integers in [low, high]: half of them at its ends, around zero, or at the given edges."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ends = [e for e in (low, low + 1, -1, 0, 1, high - 1, high, *edges) if low <= e <= high]
    inside = rng.integers(low, high, shape, endpoint=True, dtype=np.int64)
    return np.where(rng.random(shape) < 0.5, rng.choice(np.array(ends, dtype=np.int64), shape), inside)


def signed(draw: Draw, shape: Shape, bits: int, spare: int = 1, edges: Sequence[int] = ()) -> I64:
    """Signed integers of bits - spare + 1 bits, ends included."""
    half = 1 << (bits - spare)
    return integers(draw, shape, -half, half - 1, edges)


def share(x: Ints, bits: int, scale: float = 0) -> Share:
    return Share(x.shape, bits, scale, ring.low(x.astype(np.int64).view(np.uint64), bits))


def shape(draw: Draw, *, most: int = 3, rank: int = 3) -> Shape:
    return tuple(draw(st.lists(st.integers(1, most), min_size=1, max_size=rank)))


def width(draw: Draw, low: int, high: int) -> int:
    """A ring's bits; whole bytes, single bits and odd widths all occur."""
    return int(draw(st.integers(low, high)))


def wide(x: Ints) -> Ints:
    """Python integers, which do not wrap."""
    return x.astype(object)


def held(ctx: Interpreter, wire: Wire) -> Share:
    """A wire as a share, by which its value can be compared."""
    result: Share = ctx.run(ToShare(), wire)
    return result


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


def _stores(name: str, value: I64) -> Stores:
    seeds, sharing = (b"\x05" * 32, b"\x06" * 32), "tests"
    tensor, shapes = value.view(np.uint64), {name: value.shape}
    masked = {name: mask_tensor(tensor, seeds, sharing, name)}
    return Stores(
        (PartyStore(masked, seeds[0], sharing), PartyStore(masked, seeds[1], sharing)),
        DealerStore(shapes, seeds, sharing),
        IdealStore({name: tensor}),
        ShapeStore(shapes),
    )


def matmul_static(draw: Draw) -> Trial:
    """A stored weight serves two products in one session, the second one from its cache."""
    lead, k, n = shape(draw, rank=3), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    bits = width(draw, 20, 64)
    x, weight = signed(draw, (*lead, k), bits), signed(draw, (k, n), 64)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        opened = ctx.open(a)
        return [ctx.run(MatMul(), opened, ctx.weight("up.weight")) for _ in range(2)]

    wanted = Exactly(wide(x) @ wide(weight))
    return Trial(program, (share(x, bits),), (wanted, wanted), _stores("up.weight", weight))


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


def drop(draw: Draw) -> Trial:
    bits = width(draw, 4, 64)
    count = draw(st.integers(max(1, bits - 52), bits - 3))
    x = signed(draw, shape(draw), bits, 2)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [held(ctx, ctx.open(a, count))]

    # floor or floor + 1; a value on the grid moves too, unless the mask's low bits are zero
    return Trial(program, (share(x, bits, count),), (Within((x >> count) + 0.5, 0.5),))


def lift(draw: Draw) -> Trial:
    bits = width(draw, 2, 63)
    outer = draw(st.integers(bits + 1, 64))
    x = signed(draw, shape(draw), bits, 2)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Lift(outer), ctx.open(a))]

    return Trial(program, (share(x, bits, 4),), (Exactly(x),))


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
                entry, sign, _ = ctx.run(Window(TABLE), wire)
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
    outer = draw(st.integers(bits + 1, 64))
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
        entry, sign, above = ctx.run(Window(table, sign=True), wire)
        return [ctx.run(Product(48), ctx.open(entry), sign), above, lookup(ctx, wire, table, 40)]

    entries = Exactly(table.at(x))
    return Trial(program, (share(x, bits),), (entries, Exactly((x >= 0).astype(np.int64)), entries))


def exp2(draw: Draw) -> Trial:
    scale = draw(st.integers(1, 11))
    bits = width(draw, scale + 5, min(scale + 20, 40))
    end = 16 << scale
    y = integers(
        draw, shape(draw), 0, (1 << bits) - 1, [end - 1, end, end + 1, 2 * end, *range(0, end, end // 8)]
    )

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Exp2(), ctx.open(a))]

    real = Exp2.clear(y / 2.0**scale)
    return Trial(program, (share(y, bits, scale),), (Within(real, RELATIVE_ERROR * real + EXP2_ERROR),))


EXP2_ERROR = 2.0**-12  # half a unit of the far public factor, whose smallest values are below one unit


def _rows(draw: Draw, most: int = 9) -> Shape:
    return (*shape(draw, most=2, rank=2), draw(st.integers(1, most)))


def tail(draw: Draw) -> Trial:
    bits, lane = width(draw, 1, 9), draw(st.sampled_from((8, 16)))
    x = signed(draw, _rows(draw), bits)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Tail(lane), ctx.open(a))]

    from_bottom = (x + (1 << (bits - 1)))[..., None]
    return Trial(program, (share(x, bits),), (Exactly((from_bottom >= np.arange(1, 1 << bits)).sum(-2)),))


def head(draw: Draw) -> Trial:
    bits, lane = width(draw, 1, 20), draw(st.sampled_from((8, 16)))
    count = draw(st.integers(1, min(1 << bits, 40)))
    x = integers(draw, _rows(draw), 0, (1 << bits) - 1, range(count + 2))

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(Head(lane, count), ctx.open(a))]

    return Trial(program, (share(x, bits),), (Exactly((x[..., None] < np.arange(1, count + 1)).sum(-2)),))


def count_zeros(draw: Draw) -> Trial:
    bits, lane = width(draw, 1, 24), draw(st.sampled_from((8, 16)))
    x = signed(draw, _rows(draw), bits)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [ctx.run(CountZeros(lane), ctx.open(a))]

    return Trial(program, (share(x, bits),), (Exactly((x == 0).sum(-1, keepdims=True)),))


def _below_max(draw: Draw, spec: MaxSpec, bits: int, most: int) -> Trial:
    """The whole domain; the result is unsigned, so that half of its ring is taken off before it is compared."""
    bucket, one, half = 1 << spec.coarse, 1 << spec.fine, 1 << (bits - 1)
    end = half - bucket - 1
    x = integers(draw, _rows(draw, most), -end, end, [bucket - 1, bucket, bucket + 1, one - 1, one])

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        y = held(ctx, distance_below_max(ctx, ctx.open(a), spec))
        moved = ctx.add_public(y, np.full(y.shape, half, dtype=np.uint64))
        return [moved, map_share(y, y.shape, lambda v: v - v[..., :1])]

    wanted = (
        Within((x.max(-1, keepdims=True) - x + one - half).astype(np.float64), one),
        Exactly(x[..., :1] - x),
    )
    return Trial(program, (share(x, bits),), wanted)


def below_max(draw: Draw) -> Trial:
    """One pass: at most 2^10 buckets, rows on both sides of 8-bit lanes."""
    coarse = draw(st.integers(1, 10))
    bits = coarse + width(draw, 4, 9)
    return _below_max(draw, MaxSpec(coarse, coarse), bits, draw(st.sampled_from((1, 9, 270))))


def below_max_twice(draw: Draw) -> Trial:
    fine = draw(st.integers(1, 10))
    coarse = fine + draw(st.integers(1, 5))
    return _below_max(draw, MaxSpec(coarse, fine), coarse + width(draw, 4, 8), 9)


def attention(draw: Draw) -> Trial:
    """Softmax in base two, normalised at the end, in one pass or two."""
    coarse, scale = draw(st.integers(0, 3)), 10
    bits = scale + 7 + coarse
    rows = (*shape(draw, most=2, rank=2), draw(st.sampled_from((1, 2, 7, 33))))
    end = (1 << (bits - 1)) - (1 << (scale + coarse)) - 1
    scores = integers(draw, rows, draw(st.sampled_from((-end, end - (3 << scale)))), end)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        weight = softmax.weights(ctx, ctx.open(a), coarse)
        return [ctx.run(Product(64), weight, *softmax.inverse_sum(ctx, weight))]

    real = 2.0 ** ((scores - scores.max(-1, keepdims=True)) / 2.0**scale)
    real = real / real.sum(-1, keepdims=True)
    inverse = softmax.inverse_power(rows[-1]).relative_error
    unit = 2.0**-12 + EXP2_ERROR + 2.0**-16  # of one weight: the drop, the exponential, the clip
    bound = (unit * (1 + real * rows[-1])) * 2**softmax.MIN_SUM + real * (RELATIVE_ERROR * 2 + inverse) * 1.01
    return Trial(program, (share(scores, bits, scale),), (Within(real, bound),))


def _power(power: Power, bits: int) -> Callable[[Draw], Trial]:
    edges = [(1 << a) + step for a in (*power.starts, power.high) for step in (-1, 0, 1)]

    def case(draw: Draw) -> Trial:
        top = (1 << min(bits - 1, power.high + 3)) - 1
        x = integers(draw, shape(draw, most=4), 0, top, edges * 2)

        def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
            return [evaluate(ctx, ctx.open(a), power)]

        real = power.at(x) / 2.0**power.scale
        return Trial(program, (share(x, bits),), (Within(real, real * power.relative_error),))

    return case


def normal(draw: Draw) -> Trial:
    """Rows of every size from the smallest deviation planned for to the largest."""
    size, cut = draw(st.integers(2, 12)), draw(st.sampled_from((0, 3)))
    spec = NormSpec(size, 40, cut, 14, -6, 10, 1e-5, 34, 12, 40)
    rows = (*shape(draw, rank=2), size)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    deviation = 2.0 ** rng.uniform(spec.low / 2 + 0.5, spec.high / 2 - 1, (*rows[:-1], 1))
    x = rng.standard_normal(rows)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True)) * deviation
    units = np.rint(x * 2.0 ** (14 + cut)).astype(np.int64)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [held(ctx, normalise(ctx, a, spec))]

    root = np.sqrt(((units * 2.0 ** -(14 + cut)) ** 2).mean(-1, keepdims=True) + spec.eps)
    real = units * 2.0 ** -(14 + cut) / root
    moved = (2.0**-14 if cut else 0.0) / root * (1 + np.abs(real) * np.abs(real).mean(-1, keepdims=True))
    bound = np.abs(real) * (spec.relative_error + 1e-9) + 2.0**-12 + moved * 1.1
    return Trial(program, (share(units, 64, 14 + cut),), (Within(real, bound),))


def centred(draw: Draw) -> Trial:
    x = signed(draw, (*shape(draw, rank=2), 5), 40)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [centre(a)]

    return Trial(program, (share(x, 64),), (Exactly(x * 5 - x.sum(-1, keepdims=True)),))


def activation(name: str) -> Callable[[Draw], Trial]:
    about = ACTIVATIONS[name]

    def case(draw: Draw) -> Trial:
        bits, outer = width(draw, 18, 30), width(draw, 32, 64)
        end = about.window << 12
        edges = [s * end + step for s in (-1, 1) for step in (-17, -16, -15, -1, 0, 1)]
        x = signed(draw, shape(draw, most=5), bits, 2, edges * 2)
        near = integers(draw, x.shape, -end, end)
        x = np.where(np.arange(x.size).reshape(x.shape) % 2 == 0, near, x)

        def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
            return [activate(ctx, ctx.open(a), name, outer)]

        real = about.clear(np.clip(x / 4096.0, -700, None))
        return Trial(program, (share(x, bits, 12),), (Within(real, about.bound),))

    return case


def relu(draw: Draw) -> Trial:
    bits, outer = width(draw, 3, 62), width(draw, 2, 64)
    x = signed(draw, shape(draw), bits, 2)

    def program(ctx: Interpreter, a: Share) -> Sequence[Share]:
        return [activate(ctx, ctx.open(a), "relu", outer)]

    return Trial(program, (share(x, bits, 12),), (Exactly(np.maximum(x, 0)),))


def larger(draw: Draw) -> Trial:
    bits, outer = width(draw, 4, 62), width(draw, 2, 64)
    rows = shape(draw)
    x = signed(draw, rows, bits, 3)
    y = np.where(integers(draw, rows, 0, 3) == 0, x, signed(draw, rows, bits, 3))

    def program(ctx: Interpreter, a: Share, b: Share) -> Sequence[Share]:
        return [maximum(ctx, ctx.open(a), ctx.open(b), outer)]

    return Trial(program, (share(x, bits), share(y, bits)), (Exactly(np.maximum(x, y)),))


KINDS = ("wire", "lifted", "bit", "table")
PRODUCTS = (
    *((kind,) for kind in KINDS),
    *((a, b) for i, a in enumerate(KINDS) for b in KINDS[i:]),
    ("bit", "lifted", "table"),
    ("bit", "bit", "wire"),
    ("lifted", "lifted", "bit"),
    ("wire", "lifted", "table"),
)

CASES: dict[str, Callable[[Draw], Trial]] = {
    "matmul": matmul,
    "matmul batched": matmul_batched,
    "matmul static weight": matmul_static,
    "matmul public weight": matmul_public,
    "to share": to_share,
    "drop bits": drop,
    "lift": lift,
    **{f"product {' '.join(kinds)}": product(*kinds) for kinds in PRODUCTS},
    "product square": square,
    "sum of squares": sum_squares,
    "at least": at_least,
    "at least zero": at_least_zero,
    "equals": equals,
    "window": window,
    "exp2": exp2,
    "tail": tail,
    "head": head,
    "count zeros": count_zeros,
    "below max": below_max,
    "below max in two passes": below_max_twice,
    "softmax": attention,
    "reciprocal": _power(Power(-1.0, 6, 12, 20), 20),
    "reciprocal of a narrow ring": _power(Power(-1.0, 1, 3, 16, precision=4, octaves=2), 5),
    "rsqrt in segments": _power(Power(-0.5, 5, 34, 28, factor=1 / 384, offset=3.5), 44),
    "rsqrt to the last bit": _power(Power(-0.5, 40, 60, 48), 62),
    "normalise": normal,
    "centre": centred,
    **{name: activation(name) for name in ACTIVATIONS},
    "relu": relu,
    "maximum": larger,
}
