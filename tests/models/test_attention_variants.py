"""Attention variants and their mixes: float32 follows the formula, shares equal the fixed interpreter, costs count."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from privinf.models.attention import VARIANTS, Named, run, variant_of
from privinf.models.attention._plain import EPS, FLOOR
from privinf.models.engines.clear import ClearOps
from privinf.models.engines.masked import MaskedOps, Sight
from privinf.models.engines.observers import Ranges
from privinf.models.engines.weights import PublicWeights
from privinf.models.fold import F64, LOG2_E
from privinf.models.ops import Heads
from privinf.models.parts import Attention, Linear
from privinf.models.plan.scales import POST as SCALES
from privinf.protocols import ring
from privinf.protocols.cost import Cost
from privinf.protocols.masked.gates.alarm import begin, in_range, open_combinations
from privinf.protocols.masked.gates.linear import ToShare
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import U64
from privinf.protocols.testing import lockstep
from privinf.protocols.testing.trials import counted

BATCH, HEADS, ROWS, WIDTH, OUTER = 2, 4, 9, 4, 36
LINEAR = Linear("none", False)
SEEDS = bytes(range(32)), bytes(range(32, 64))
RS, SCALE = "relu_softmax", "scaling"
PLAIN = ("relu_softmax", "scaling", "quad")
MIXES: tuple[Named, ...] = (*PLAIN, (RS, SCALE, SCALE, RS), (SCALE, "softmax", RS, "quad"))
# Twice the largest error that is seen in these draws, whose sums of weights are small
NEAR = {"relu_softmax": 1e-2, "scaling": 4e-3, "quad": 1.2e-2, "softmax": 6e-3}


def part(named: Named) -> Attention:
    return Attention(
        "layer0/attn", 0, *(LINEAR,) * 4, HEADS, HEADS, WIDTH, named, "full", None, None, None, None
    )


def drawn(seed: int, rows: int = ROWS, spread: float = 1.0) -> list[F64]:
    """Queries, keys and values (batch, rows, heads, width)."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, spread, (BATCH, rows, HEADS, WIDTH)) for _ in range(3)]


def formula(name: str, q: F64, k: F64, v: F64, eps: float = EPS) -> F64:
    """One head (rows, width) as its paper has it; eps as it stands beside scores in base two."""
    s = q @ k.T / math.sqrt(q.shape[-1])
    if name == "softmax":
        weights = np.exp(s - s.max(-1, keepdims=True))
        return weights @ v / weights.sum(-1, keepdims=True)
    if name == "scaling":
        return s @ v / len(k)
    weights = np.maximum(s, 0) if name == "relu_softmax" else s * s
    return weights @ v / (weights.sum(-1, keepdims=True) + eps)


def wanted(named: Named, q: F64, k: F64, v: F64, eps: float = EPS) -> F64:
    """All heads, side by side."""
    names = named if isinstance(named, tuple) else (named,) * HEADS
    out = np.zeros((*q.shape[:2], HEADS, WIDTH))
    for b in range(len(q)):
        for h, name in enumerate(names):
            power = 2 if name == "quad" else 1
            scale = 1 if eps == EPS else LOG2_E**-power
            out[b, :, h] = formula(name, *(x[b, :, h] for x in (q, k, v)), eps * scale)
    return out.reshape(*q.shape[:2], HEADS * WIDTH)


def folded(named: Named, q: F64, rows: int) -> F64:
    """Queries with their factors."""
    names = named if isinstance(named, tuple) else (named,) * HEADS
    factors = [variant_of(name).factor(rows) * LOG2_E / math.sqrt(WIDTH) for name in names]
    return q * np.array(factors)[:, None]


def clear(named: Named, q: F64, k: F64, v: F64, seen: Ranges | None = None) -> Any:
    """The clear engine's answer; ranges are seen as a calibration does."""
    ops = ClearOps({}, torch.zeros(1), observer=seen)
    turned = (folded(named, q, k.shape[1]), k, v)
    flat = [torch.from_numpy(x).float().reshape(*x.shape[:2], -1) for x in turned]
    with ops.at("layer0/attn"):
        return run(variant_of(named).attend(ops, part(named), ops.heads(part(named), *flat)))


def planned(named: Named, rows: int = ROWS, spread: float = 1.0) -> Attention:
    """With rings for what a few draws reach."""
    seen = Ranges()
    for seed in range(5):
        q, k, v = drawn(100 + seed, rows, spread)
        clear(named, q, k, v, seen)
        for what, x in (("q", folded(named, q, rows)), ("k", k), ("v", v)):
            seen.see(f"layer0.attn.{what}", torch.from_numpy(x))
    rings = variant_of(named).rings("layer0.attn", seen.high, rows, OUTER, SCALES)
    return replace(part(named), rings=rings)


def program(made: Attention, alarm: bool, ctx: Interpreter, q: Share, k: Share, v: Share) -> Any:
    """From what linear layers give to mixed values, and whether all ranges were kept."""
    if alarm:
        begin(ctx, None)
    ops = MaskedOps(ctx, PublicWeights({}, SCALES.of), SCALES, q, Sight(None))
    mixed = run(variant_of(made.variant).attend(ops, made, ops.heads(made, q, k, v)))
    share = ctx.run(ToShare(), mixed)
    return (share, in_range(ctx, open_combinations(ctx))) if alarm else share


def inputs(named: Named, made: Attention, q: F64, k: F64, v: F64) -> list[Share]:
    rows = planned_inputs(made)
    return [
        Share(
            (*x.shape[:2], HEADS * WIDTH),
            rows,
            SCALES.linear,
            ring.low(ring.encode(x.reshape(*x.shape[:2], -1), SCALES.linear), rows),
        )
        for x in (folded(named, q, k.shape[1]), k, v)
    ]


def planned_inputs(made: Attention) -> int:
    assert made.rings is not None
    return made.rings.inputs(SCALES)


def value(share: Share, data: U64) -> F64:
    return ring.decode(data, SCALES.outer, share.bits)


def total(result: lockstep.Lockstep) -> U64:
    first, second = result.results
    return ring.low(first.value + second.value, first.bits)


@pytest.mark.parametrize("named", MIXES, ids=str)
def test_the_clear_engine_follows_the_formula(named: Named) -> None:
    q, k, v = drawn(1)
    np.testing.assert_allclose(clear(named, q, k, v), wanted(named, q, k, v), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("named", MIXES, ids=str)
def test_gradients_pass_through_a_variant(named: Named) -> None:
    q, k, v = (torch.from_numpy(x).float().flatten(2).requires_grad_() for x in drawn(2))
    ops, made = ClearOps({}, torch.zeros(1)), part(named)
    run(variant_of(named).attend(ops, made, ops.heads(made, q, k, v))).square().sum().backward()
    for x in (q, k, v):
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()
        assert (x.grad.abs().amax((0, 1)) > 0).all()


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize(("named", "rows"), [*product(MIXES, (ROWS, 16)), (SCALE, 3), ("quad", 3)], ids=str)
def test_shares_equal_the_fixed_interpreter_and_are_near_the_formula(named: Named, rows: int) -> None:
    made = planned(named, rows)
    for seed in range(3):
        q, k, v = drawn(seed, rows)
        given, what = inputs(named, made, q, k, v), partial(program, made, False)
        found = lockstep.run(what, given, SEEDS)
        fixed = lockstep.ideal(what, given, SEEDS)
        np.testing.assert_array_equal(total(found), ring.low(fixed.value, fixed.bits))
        names = set(named) if isinstance(named, tuple) else {named}
        near = max(NEAR[name] for name in names)
        np.testing.assert_allclose(value(fixed, total(found)), wanted(named, q, k, v, 2.0**-FLOOR), atol=near)
        counted(what, given, None, found)


@pytest.mark.parametrize("named", PLAIN)
def test_rows_without_a_weight_give_zero(named: Named) -> None:
    """A row none of whose scores is positive, or whose scores are all zero."""
    made = planned(named)
    q, k, v = drawn(5)
    q[:, 0], k[...] = -np.abs(q[:, 0]), np.abs(k)
    q[:, 1] = 0
    given = inputs(named, made, q, k, v)
    fixed = lockstep.ideal(partial(program, made, False), given, SEEDS)
    found = value(fixed, ring.low(fixed.value, fixed.bits))
    # A positive score is below 2^-8, or counts in full; squares are off by 1.5 units of 2^-18 before they are divided
    near = ROWS * 1.5 * 2.0 ** (FLOOR - 18) * np.abs(v).max() if named == "quad" else NEAR[named]
    np.testing.assert_allclose(found[:, :2], wanted(named, q, k, v, 2.0**-FLOOR)[:, :2], atol=near)


@pytest.mark.parametrize("named", MIXES, ids=str)
def test_ranges_are_kept_by_what_was_calibrated_and_not_by_what_is_far_beyond(named: Named) -> None:
    made = planned(named)
    what: Callable[..., Any] = partial(program, made, True)
    for spread, kept in ((1.0, 1), (40.0, 0)):
        given = inputs(named, made, *drawn(7, spread=spread))
        _, bit = lockstep.ideal(what, given, SEEDS)
        assert ring.low(bit.value, 1).item() == kept, spread


def cost(named: Named, rows: int = ROWS) -> Cost:
    made = planned(named, rows)
    given = inputs(named, made, *drawn(0, rows))
    return lockstep.declared(partial(program, made, False), given).tally.total()


def test_heads_of_several_variants_share_their_rounds() -> None:
    """Rounds of a mix are those of its longest; bytes are those of its parts."""
    dear, cheap, mixed = cost(RS), cost(SCALE), cost((RS, SCALE, SCALE, RS))
    assert cheap.rounds < dear.rounds
    assert mixed.rounds == dear.rounds
    assert cheap.prep0 + cheap.prep1 < mixed.prep0 + mixed.prep1 < dear.prep0 + dear.prep1


def test_a_variant_is_cheaper_than_softmax_in_rounds_and_bytes() -> None:
    softmax = cost("softmax", 16)
    for name in PLAIN:
        other = cost(name, 16)
        assert other.rounds < softmax.rounds
        assert other.prep0 + other.prep1 < softmax.prep0 + softmax.prep1


def test_every_variant_is_known_by_its_file() -> None:
    assert {"softmax", *PLAIN} <= set(VARIANTS.names())
    assert [VARIANTS[name].fixed for name in ("softmax", *PLAIN)] == [False, True, True, True]


def test_heads_may_be_picked_and_laid_together_again() -> None:
    made = part((RS, SCALE, RS, SCALE))
    ops = ClearOps({}, torch.zeros(1))
    x = torch.arange(2 * HEADS * 3 * WIDTH).float().view(2, HEADS, 3, WIDTH)
    groups = [ops.pick(x, heads).transpose(1, 2).flatten(2) for heads in ([0, 2], [1, 3])]
    whole = Heads(x, x, x).values.transpose(1, 2).flatten(2)
    assert torch.equal(ops.together(made, groups, [0, 2, 1, 3]), whole)
