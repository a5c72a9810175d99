"""The small programs of the known answers: together they run every gate, under fixed seeds and on given shares."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from privinf.models.engines.stores import DealerStore, PartyStore, ShapeStore, mask_tensor
from privinf.models.plan.scales import POST
from privinf.protocols import ring
from privinf.protocols.masked import gates
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates.alarm import begin, in_range, open_combinations
from privinf.protocols.masked.gates.argmax import argmax
from privinf.protocols.masked.gates.base import Gate
from privinf.protocols.masked.gates.compare import AtLeast, Equals
from privinf.protocols.masked.gates.histogram import CountZeros, Head, Tail
from privinf.protocols.masked.gates.linear import MatMul, PublicMatMul, ToShare
from privinf.protocols.masked.gates.power import Lanes, Power, Powers
from privinf.protocols.masked.gates.product import Product, SumSquares
from privinf.protocols.masked.gates.selection import open_sums, require_one_row
from privinf.protocols.masked.gates.separable import Factors, Separable
from privinf.protocols.masked.gates.table import Table, lookup
from privinf.protocols.masked.gates.watch import watch
from privinf.protocols.masked.interpreter import Interpreter, drop_bits
from privinf.protocols.masked.wires import Share, narrow
from privinf.protocols.ring import U64

MODULES: list[ModuleType] = [
    import_module(f"{gates.__name__}.{module.name}") for module in pkgutil.iter_modules(gates.__path__)
]


def of_gates(kind: Callable[[object], bool]) -> Iterator[Any]:
    """What the modules of gates define of a kind."""
    for module in MODULES:
        yield from (
            item for item in vars(module).values() if kind(item) and item.__module__ == module.__name__
        )


GATES: list[type[Gate]] = [
    found for found in of_gates(inspect.isclass) if issubclass(found, Gate) and not inspect.isabstract(found)
]
Results = Sequence[Share]
WEIGHT = np.array([[3, 1], [2**64 - 2, 5]], dtype=np.uint64)
NAME = "layer0.attn.q.weight"
TABLE = Table(np.array([7, -3, 11, 5], dtype=np.int64), -2, 0, 6)
POWER = Power(-1.0, 4, 7, 10, 64, lanes=Lanes(4, 9, 3, 10))
# f(4 j + L - D) = T[j, L] . H(D): two lanes, blocks of 4, tables for j = -1, 0 and a line beyond.
FACTORS = Factors(
    np.array([[1, 0], [1, 1], [1, 2], [1, 3]]),
    np.array([[[5, -1], [6, -1], [7, -1], [8, -1]], [[4, 2], [3, 2], [2, 2], [1, 2]]], dtype=np.int32),
    -1,
    (2, 1, -2),
    0,
)


@dataclass(frozen=True)
class Case:
    """A program, what it does in words, and its inputs."""

    name: str
    text: str
    program: Callable[..., Results]
    inputs: tuple[Share, ...] = ()
    stored: bool = False

    def stores(self, seeds: tuple[bytes, bytes], sharing: str) -> tuple[Any, Any, Any]:
        """The weight as both parties and the dealer hold it, where there is one."""
        if not self.stored:
            return None, None, None
        masked = {NAME: mask_tensor(WEIGHT, seeds, sharing, NAME)}
        first, second = (PartyStore(masked, seed, sharing, POST.of) for seed in seeds)
        return first, second, DealerStore({NAME: WEIGHT.shape}, seeds, sharing, POST.of)


def gates_of(case: Case) -> list[str]:
    """The gates that it runs, by name."""
    found: set[str] = set()

    class Noting(Counting):
        """Notes each gate."""

        def apply(self, gate: Any, inputs: tuple[Any, ...]) -> Any:
            found.add(gate.name)
            return super().apply(gate, inputs)

    ctx = Noting(ShapeStore({NAME: WEIGHT.shape}, POST.of))
    case.program(ctx, *(Share(x.shape, x.bits, x.scale) for x in case.inputs))
    return sorted(found)


def _of(values: Any, bits: int, scale: int = 0) -> Share:
    x: U64 = np.array(values, dtype=np.int64).view(np.uint64)
    return Share(x.shape, bits, scale, ring.low(x, bits))


def _drop(ctx: Interpreter, x: Share) -> Results:
    local, dealt = ctx.open(x, 5), ctx.open(x)
    return [ctx.run(ToShare(), local), ctx.run(ToShare(), drop_bits(dealt, 5))]


def _matmul(ctx: Interpreter, x: Share, y: Share) -> Results:
    return [ctx.run(MatMul(), ctx.open(x), ctx.open(y))]


def _static(ctx: Interpreter, x: Share) -> Results:
    wire = ctx.open(x)
    with ctx.scope("layer0/attn"):
        return [ctx.run(MatMul(), wire, ctx.weight(NAME)), ctx.run(PublicMatMul(WEIGHT, 0), wire)]


def _products(ctx: Interpreter, x: Share, y: Share, b: Share) -> Results:
    x_, y_, b_ = (ctx.open(share) for share in (x, y, b))
    return [ctx.run(Product(40), x_, y_), ctx.run(Product(40), b_, x_), ctx.run(Product(40), y_)]


def _squares(ctx: Interpreter, x: Share) -> Results:
    return [ctx.run(SumSquares(64), ctx.open(x))]


def _compare(ctx: Interpreter, x: Share) -> Results:
    wire = ctx.open(x)
    return [*ctx.run(AtLeast((0, 3)), wire), ctx.run(Equals(-5), wire)]


def _lookup(ctx: Interpreter, x: Share) -> Results:
    return [lookup(ctx, ctx.open(x), TABLE, 20)]


def _separable(ctx: Interpreter, x: Share) -> Results:
    return [ctx.run(Separable(FACTORS, 36), ctx.open(x))]


def _powers(ctx: Interpreter, x: Share) -> Results:
    return [ctx.run(Powers(POWER), ctx.open(x))]


def _counts(ctx: Interpreter, x: Share) -> Results:
    wire = ctx.open(x)
    return [ctx.run(Tail(8), wire), ctx.run(Head(16, 3), wire), ctx.run(CountZeros(8), wire)]


def _argmax(ctx: Interpreter, x: Share) -> Results:
    return [argmax(ctx, ctx.open(x))]


def _selection(ctx: Interpreter, vectors: Share) -> Results:
    return [ctx.run(ToShare(), require_one_row(ctx, open_sums(ctx, vectors)))]


def _alarm(ctx: Interpreter, x: Share, y: Share) -> Results:
    begin(ctx)
    wire, lifted = ctx.open(narrow(x, 14), 2), ctx.open(narrow(y, 10))
    watch(ctx, wire, 12)
    product = ctx.run(Product(40), wire, lifted)
    return [product, in_range(ctx, open_combinations(ctx))]


ROWS = ([[1, -2, 300], [7, 0, -511]], [[5, -6], [-7, 8], [9, 10]])
CASES = (
    Case(
        "drop", "y = open(x, 5), z = drop(open(x), 5): share(y), share(z)", _drop, (_of([1000, -77, 31], 20),)
    ),
    Case("matmul", "matmul(open(x), open(y))", _matmul, (_of(ROWS[0], 20), _of(ROWS[1], 33))),
    Case(
        "weights",
        "w = open(x); in the scope layer0/attn: matmul(w, weight), public_matmul(w, weight)",
        _static,
        (_of([[4, -9], [100, 3]], 30),),
        stored=True,
    ),
    Case(
        "products",
        "x, y, b = open(x), open(y), open(b); modulo 2^40: product(x, y), product(b, x), product(y)",
        _products,
        (_of([900, -30], 40), _of([-400, 250], 12), _of([1, 0], 1)),
    ),
    Case("squares", "sum_squares(open(x)) modulo 2^64", _squares, (_of([[30, -40], [0, 5]], 20),)),
    Case(
        "compare",
        "w = open(x): at_least(w, 0), at_least(w, 3) of one key, equals(w, -5)",
        _compare,
        (_of([3, 2, -5], 12),),
    ),
    Case(
        "lookup",
        "lookup(open(x), T) modulo 2^20, T = 7, -3, 11, 5 from -2 on, in 6 bits",
        _lookup,
        (_of([-2, 1, 4], 5),),
    ),
    Case("separable", "separable(open(x)) modulo 2^36", _separable, (_of([-9, -3, 1, 20], 8),)),
    Case(
        "powers",
        "powers(open(x)): 2^20 (64 / x), low 4, high 7, 4 lanes of 0, 9, 6, 3 fraction bits",
        _powers,
        (_of([16, 50, 127, 3], 9),),
    ),
    Case(
        "counts",
        "w = open(x): tail(w) in lanes of 8, head(w, 3) in lanes of 16, count_zeros(w) of 8",
        _counts,
        (_of([[0, 3, -4, 0], [1, 1, 2, -1]], 4),),
    ),
    Case("argmax", "argmax(open(x))", _argmax, (_of([[3, 9, -2], [4, 4, 1]], 12),)),
    Case(
        "selection",
        "s = require_one_row(open_sums(v)): share(s)",
        _selection,
        (_of([[0, 1, 0], [-1, 0, 0]], 64),),
    ),
    Case(
        "alarm",
        "begin; w, l = open(x mod 2^14, 2), open(y mod 2^10); watch(w, 12); product(w, l) modulo 2^40, "
        "which checks l; in_range(open_combinations)",
        _alarm,
        (_of([2000, -2040], 64), _of([100, -5], 64)),
    ),
)
