"""Single gates at the shapes of BERT-base, 128 tokens, from shares of the input to shares of the result."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from benchmarks.harness.workload import Workload
from privinf.models.engines.stores import ShapeStore
from privinf.models.plan.ranges import bits_for
from privinf.models.plan.scales import POST
from privinf.models.programs.wire import Field
from privinf.protocols.contract import QueryShape
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.gates import softmax
from privinf.protocols.masked.gates.activation import ACTIVATIONS, activate, input_bits
from privinf.protocols.masked.gates.compare import AtLeast
from privinf.protocols.masked.gates.linear import MatMul, ToShare
from privinf.protocols.masked.gates.norm import NormSpec, normalise
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, map_share
from privinf.protocols.ring import F64, U64, Shape

TOKENS, WIDTH, FFN, HEADS = 128, 768, 3072, 12
RANGE = 8.0  # rings hold values up to this with the headroom of a calibrated model
WIDE = 40  # ring of a result that a linear layer follows
SHARING = "sharing the inputs, which is the client's work"
STATIC = "masking the weights, done once when a model is shared"


def gate(
    name: str,
    run: Callable[..., Share],
    source: tuple[Field, F64],
    clear: Callable[[F64], F64],
    bound: float,
    leaves_out: str = SHARING,
    weights: dict[str, F64] | None = None,
) -> Workload:
    """A workload of one input; ring and scale of its result are those that the gate gives it."""
    given, value = source
    shapes = {key: w.shape for key, w in (weights or {}).items()}
    out = run(Counting(ShapeStore(shapes, POST.of)), Share(given.shape, given.bits, given.scale))
    return Workload(
        name,
        QueryShape("gate", 1, TOKENS),
        (given,),
        Field("result", out.shape, out.bits, int(out.scale)),
        run,
        lambda: [value],
        lambda: clear(value),
        bound,
        leaves_out,
        lambda: weights or {},
        shapes,
    )


def _normal(shape: Shape, spread: float, scale: int) -> F64:
    """Seeded values that the scale holds exactly."""
    drawn = np.random.default_rng(11).normal(0.0, spread, shape)
    rounded: F64 = np.rint(drawn * 2.0**scale) / 2.0**scale
    return rounded


def _held(ctx: Interpreter, share: Share) -> Share:
    ctx.flush()
    return share


def ring_gemm() -> Workload:
    """x W for a masked static W, its result cut back to the scale of x."""
    weight: F64 = np.random.default_rng(12).normal(0.0, 1.2 / math.sqrt(WIDTH), (WIDTH, FFN))
    bits = bits_for(RANGE, POST.linear)

    def run(ctx: Interpreter, x: Share) -> Share:
        product: Share = ctx.run(MatMul(), ctx.open(x), ctx.weight("gemm.weight"))
        cut = ctx.open(Share(product.shape, bits, product.scale, product.data), POST.weight)
        ctx.flush()
        return _held(ctx, ctx.run(ToShare(), cut))

    source = Field("x", (TOKENS, WIDTH), bits, POST.rows), _normal((TOKENS, WIDTH), 1.0, POST.rows)

    def clear(x: F64) -> F64:
        product: F64 = x @ weight
        return product

    leaves = f"{SHARING}; {STATIC}"
    name = f"ring-gemm-{TOKENS}x{WIDTH}x{FFN}"
    return gate(name, run, source, clear, 0.01, leaves, {"gemm.weight": weight})


def comparison() -> Workload:
    """x >= 0 as bits shared modulo 2."""

    def clear(x: F64) -> F64:
        bits: F64 = np.where(x >= 0, -1.0, 0.0)  # a ring of one bit holds 0 and -1
        return bits

    def run(ctx: Interpreter, x: Share) -> Share:
        (bit,) = ctx.run(AtLeast(), ctx.open(x))
        return _held(ctx, bit)

    shape = (TOKENS, FFN)
    source = Field("x", shape, bits_for(RANGE, POST.rows), POST.rows), _normal(shape, 1.5, POST.rows)
    name = f"comparison-{TOKENS}x{FFN}"
    return gate(name, run, source, clear, 0.5)


def gelu() -> Workload:
    """The exact GELU."""

    def run(ctx: Interpreter, x: Share) -> Share:
        return _held(ctx, activate(ctx, ctx.open(x), "gelu", WIDE))

    shape, about = (TOKENS, FFN), ACTIVATIONS["gelu"]
    source = (
        Field("x", shape, input_bits("gelu", 2 * RANGE, POST.rows), POST.rows),
        _normal(shape, 1.5, POST.rows),
    )
    return gate(f"gelu-{TOKENS}x{FFN}", run, source, about.clear, about.bound)


def softmax_rows() -> Workload:
    """Softmax of the last axis, for scores within 30 of each other; they come in base two."""
    shape, buckets, units = (HEADS, TOKENS, TOKENS), 2, 8

    def run(ctx: Interpreter, scores: Share) -> Share:
        weight = softmax.weights(ctx, ctx.open(scores), buckets, buckets, WIDE)
        inverse = softmax.inverse_sum(ctx, weight, buckets)
        return _held(ctx, ctx.run(Product(WIDE), weight, inverse))

    def clear(x: F64) -> F64:
        raised = 2.0 ** (x - x.max(-1, keepdims=True))
        normal: F64 = raised / raised.sum(-1, keepdims=True)
        return normal

    source = Field("scores", shape, units + POST.scores, POST.scores), _normal(shape, 3.0, POST.scores)
    leaves = f"{SHARING}; the factor log2(e), which is folded into the weights of the queries"
    name = f"softmax-{HEADS}x{TOKENS}x{TOKENS}"
    return gate(name, run, source, clear, 0.01, leaves)


def _centred(v: U64) -> U64:
    """width * x - sum(x) along the last axis: exact centring at the price of log2(width) bits."""
    return v * np.uint64(v.shape[-1]) - v.sum(axis=-1, keepdims=True, dtype=np.uint64)


def layer_norm_rows() -> Workload:
    """LayerNorm with its centring, for rows whose deviation lies between 1/2 and 4."""
    grown = 2 * math.log2(WIDTH)  # of a mean square, as rows are multiplied by their width
    low, high = math.floor(-2 + grown) - 1, math.ceil(4 + grown) + 1
    bits = bits_for(RANGE * WIDTH, POST.rows)
    spec = NormSpec(WIDTH, bits, 0, POST.rows, low, high, 1e-12 * WIDTH**2, 34, POST.rows, WIDE)

    def run(ctx: Interpreter, x: Share) -> Share:
        normal = normalise(ctx, map_share(x, x.shape, _centred), spec)
        ctx.flush()
        return _held(ctx, ctx.run(ToShare(), normal))

    def clear(x: F64) -> F64:
        centred = x - x.mean(-1, keepdims=True)
        normal: F64 = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-12)
        return normal

    shape = (TOKENS, WIDTH)
    source = Field("x", shape, 64, POST.rows), _normal(shape, 1.5, POST.rows) + 1.0
    leaves = f"{SHARING}; gain and bias, which are folded into the next linear layer"
    return gate(f"layernorm-{TOKENS}x{WIDTH}", run, source, clear, 0.02, leaves)


def openings() -> Workload:
    """Small openings, each waiting for the one before: what a round costs where next to nothing is sent."""
    count, shape = 200, (16,)

    def run(ctx: Interpreter, x: Share) -> Share:
        for _ in range(count):
            x = ctx.run(ToShare(), ctx.open(x))
        return _held(ctx, x)

    def same(x: F64) -> F64:
        return x

    source = Field("x", shape, bits_for(RANGE, POST.rows), POST.rows), _normal(shape, 1.5, POST.rows)
    return gate(f"openings-{count}", run, source, same, 0.0)


OPENINGS = "openings-200"
NAMES = {
    OPENINGS: openings,
    f"ring-gemm-{TOKENS}x{WIDTH}x{FFN}": ring_gemm,
    f"comparison-{TOKENS}x{FFN}": comparison,
    f"gelu-{TOKENS}x{FFN}": gelu,
    f"softmax-{HEADS}x{TOKENS}x{TOKENS}": softmax_rows,
    f"layernorm-{TOKENS}x{WIDTH}": layer_norm_rows,
}
