"""The two-party engine: a model's operations laid out over gates as its parts say, for every role alike."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.models.engines.hiding import hidden
from privinf.models.engines.positions import Places, half, pick, rotate, turns
from privinf.models.engines.relative import buckets
from privinf.models.engines.shapes import (
    below,
    beside,
    concatenate,
    derived,
    merge_heads,
    repeated,
    reshape,
    split_heads,
    transpose,
)
from privinf.models.engines.weights import Weights
from privinf.models.functions import FUNCTIONS
from privinf.models.ops import Heads, View
from privinf.models.parts import Attention, FeedForward, Head, Linear, Norm, Skip, planned
from privinf.models.plan.ranges import sum_bits
from privinf.models.plan.rings import AttentionRings, PlainRings
from privinf.models.plan.scales import ROTARY, Scales
from privinf.protocols import ring
from privinf.protocols.masked.gates import power, softmax
from privinf.protocols.masked.gates.alarm import in_range, open_combinations
from privinf.protocols.masked.gates.argmax import argmax
from privinf.protocols.masked.gates.compare import AtLeast
from privinf.protocols.masked.gates.linear import MatMul, ToShare
from privinf.protocols.masked.gates.norm import normalise
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.watch import watch, watch_lifted
from privinf.protocols.masked.interpreter import Interpreter, drop_bits
from privinf.protocols.masked.watched import SPARE
from privinf.protocols.masked.wires import Share, Wire, add, map_share, narrow, reduce, subtract
from privinf.protocols.ring import U64

# Of scores, fraction bits by which they are told to be positive, and from how many such units on they are: two, so that
# what is cut off and what queries are rounded by make no score positive that is not.
COMPARED, POSITIVE = 9, 2


@dataclass(frozen=True)
class Sight:
    """What a row may not see, but for itself: `pads` secretly, `hidden` publicly.

    pads: 1 for a slot of padding (batch, 1, 1, slots). hidden: (rows, slots).
    """

    pads: Share | None
    hidden: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Angles:
    """Rotary positions: those that everybody knows, or the cosines and sines of the client's choice.

    advanced: of the rows' own (2, batch, rows, head width / 2), where the servers do not know these; moved: by which
    the public prefix moves towards each prompt (2, batch, 1, head width / 2).
    """

    places: Places
    advanced: Wire | None = None
    moved: Wire | None = None


class Memory:
    """Where keys and values of earlier passes are: nowhere, as a text is read in one pass."""

    def read(self, ops: MaskedOps, part: Attention, heads: Heads[Wire]) -> View[Wire]:
        """All keys and values that a pass attends to."""
        return View(heads.keys, heads.values)


NOWHERE = Memory()


class MaskedOps:
    """Implements models.ops.Ops[Share, Wire] over an interpreter, for one pass.

    given: what the first layer takes: a sum, or rows that are normalised already. real: which rows are real
    (batch, rows), where an answer is a mean. likeliest: whether the answer is a token.
    """

    def __init__(
        self,
        ctx: Interpreter,
        weights: Weights,
        scales: Scales,
        given: Share | Wire,
        sight: Sight,
        *,
        angles: Angles | None = None,
        memory: Memory = NOWHERE,
        real: Share | None = None,
        likeliest: bool = False,
    ) -> None:
        self.ctx, self.weights, self.scales = ctx, weights, scales
        self._given, self._sight, self._angles, self._memory = given, sight, angles, memory
        self._real, self._likeliest = real, likeliest
        self._padding: Wire | None = None
        self.in_range: Share | None = None  # of an answer: whether all ranges were kept

    def at(self, label: str) -> AbstractContextManager[None]:
        return self.ctx.scope(label)

    def sums(self) -> Share:
        assert isinstance(self._given, Share)
        return self._given

    def rows(self, norm: Norm) -> Wire:
        """Sums of embeddings have rings that hold whatever the tables add up to."""
        if isinstance(self._given, Wire):
            return self._given
        return normalise(self.ctx, self._given, planned(norm.rings), bounded=True)

    def normalise(self, x: Share, norm: Norm) -> Wire:
        return normalise(self.ctx, x, planned(norm.rings))

    def linear(self, x: Wire, part: Linear) -> Share:
        share = self.weights.product(self.ctx, x, f"{part.name}.weight")
        return self.weights.plus(self.ctx, share, f"{part.name}.bias") if part.biased else share

    def add(self, x: Share, y: Share) -> Share:
        return add(x, y)

    def skip(self, y: Share, x: Wire, part: Skip) -> Share:
        scaled = self.weights.scaled(self.ctx, x, part.gain, min(x.bits, y.bits))
        return subtract(add(y, scaled), self.weights.product(self.ctx, x, part.mean))

    def heads(self, part: Attention, q: Share, k: Share, v: Share) -> Heads[Wire]:
        """Queries and keys in the ring of scores, values in that of their mixture."""
        ctx, rings, scales = self.ctx, planned(part.rings), self.scales
        drop, cut = scales.linear - scales.qk, scales.linear - scales.values
        queries = ctx.open(narrow(split_heads(q, part.heads), rings.query_bits + drop), drop)
        keys = ctx.open(narrow(split_heads(k, part.kv_heads), rings.key_bits + drop), drop)
        values = ctx.open(narrow(split_heads(v, part.kv_heads), rings.narrow_bits + cut), cut)
        watch_lifted(ctx, values, rings.lifted_bits)
        if any(own.pairs for own in rings.plain):  # they are lifted
            for x in (queries, keys):
                watch(ctx, x, x.bits - SPARE)
        if part.rotary is not None:
            queries, keys = self._turned(part, queries), self._turned(part, keys)
        return Heads(queries, keys, ctx.open(ctx.run(Product(rings.lifted_bits), values)))

    def _turned(self, part: Attention, x: Wire) -> Wire:
        """Queries or keys turned by their rows' positions, in the ring of scores."""
        assert self._angles is not None
        assert part.rotary is not None
        if self._angles.advanced is not None:
            watch(self.ctx, x, x.bits - SPARE)  # its halves are lifted
            rows = x.shape[2]
            by = self._angles.advanced
            own = derived(by, (*by.shape[:2], rows, by.shape[3]), lambda v: v[:, :, v.shape[2] - rows :])
            return self._product_turned(part, x, own)
        bits = self._score_ring(part) + ROTARY
        watch_lifted(self.ctx, x, bits)
        share: Share = self.ctx.run(Product(bits), x)
        places = self._angles.places[..., -x.shape[2] :]
        cos, sin = (ring.encode(angle, ROTARY) for angle in turns(places, part.rotary))
        turned = map_share(share, share.shape, lambda v: rotate(v, cos, sin))
        return self.ctx.open(Share(turned.shape, turned.bits, turned.scale + ROTARY, turned.data), ROTARY)

    def _product_turned(self, part: Attention, x: Wire, by: Wire) -> Wire:
        """The same by angles whose cosines and sines are masked too."""
        whole = Product(self._score_ring(part) + ROTARY)
        turn = [pick(by, i) for i in (0, 1)]
        (a, b), (c, e) = ([self.ctx.run(whole, end, t) for t in turn] for end in (half(x, 0), half(x, 1)))
        return self.ctx.open(beside(subtract(a, e), add(c, b)), ROTARY)

    def _score_ring(self, part: Attention) -> int:
        return planned(part.rings).widest(self.scales)

    def remember(self, part: Attention, heads: Heads[Wire]) -> View[Wire]:
        return self._memory.read(self, part, heads)

    def slots(self, x: Wire) -> int:
        return x.shape[2]

    def newest(self, x: Wire, slots: int) -> Wire:
        shape = (*x.shape[:2], slots, x.shape[3])
        return derived(x, shape, lambda v: v[:, :, v.shape[2] - slots :])

    def prefix(self, part: Attention, batch: int) -> tuple[Wire, Wire]:
        """The public prefix's keys, moved to where each prompt begins, and its values, the same for all."""
        keys = self.weights.wire(self.ctx, f"{part.prefix}.k")
        values = reduce(self.weights.wire(self.ctx, f"{part.prefix}.v"), planned(part.rings).value_bits)
        if self._angles is None or self._angles.moved is None:
            return repeated(reduce(keys, self._score_ring(part)), batch), repeated(values, batch)
        return self._product_turned(part, keys, self._angles.moved), repeated(values, batch)

    def scores(self, part: Attention, queries: Wire, keys: Wire) -> Share:
        scores = self._grouped(part, queries, transpose(keys))
        if part.relative is None:
            return scores
        shape = (1, *scores.shape[1:])
        places = buckets(shape[-1])[: shape[-2]]
        return self.weights.looked(
            self.ctx, scores, part.relative, shape, lambda table: table[places].transpose(2, 0, 1)[None]
        )

    def _grouped(self, part: Attention, x: Wire, matrices: Wire) -> Share:
        """Each head's rows times the keys or values that it shares with others, (batch, heads, rows, columns)."""
        batch, heads, rows, inner = x.shape
        grouped = reshape(x, (batch, part.kv_heads, heads // part.kv_heads * rows, inner))
        product: Share = self.ctx.run(MatMul(), grouped, matrices)
        shape = (batch, heads, rows, matrices.shape[3])
        return map_share(product, shape, lambda v: v.reshape(shape))

    def softmax(self, part: Attention, scores: Share) -> Wire:
        """Scores are checked as they are, and hidden once they are opened: padding takes the rest of their ring."""
        rings, scales = planned(part.rings), self.scales
        opened = self.ctx.open(narrow(scores, rings.widest(scales)))
        watch(self.ctx, opened, opened.bits - SPARE)
        offset = rings.offset << scales.product
        lower = int(ring.encode(rings.pad_score, scales.product))
        shown = hidden(opened, self._pads(), self._sight.hidden, lower, offset)
        cut = drop_bits(shown, scales.product - scales.scores)
        return softmax.weights(self.ctx, cut, rings.coarse, rings.fine, rings.value_bits)

    def _pads(self) -> Wire | None:
        """What is padding, opened once for all layers."""
        if self._padding is None and self._sight.pads is not None:
            self._padding = self.ctx.open(self._sight.pads)
        return self._padding

    def mix(self, part: Attention, weights: Wire, values: Wire) -> Wire:
        ctx, rings, scales = self.ctx, planned(part.rings), self.scales
        mixed = ctx.open(self._grouped(part, weights, values), rings.product(scales) - rings.mixed(scales))
        drop = rings.drop(scales, weights.shape[3])
        watch_lifted(ctx, mixed, rings.outer + drop)
        inverse = softmax.inverse_sum(ctx, weights, rings.fine, rings.digits)
        scaled: Share = ctx.run(Product(rings.outer + drop), mixed, inverse)
        return ctx.open(merge_heads(scaled), drop)

    def _plain(self, part: Attention) -> tuple[AttentionRings, PlainRings]:
        rings = planned(part.rings)
        assert isinstance(part.variant, str)
        return rings, rings.of(part.variant)

    def lifted(self, part: Attention, x: Wire) -> Wire:
        _, own = self._plain(part)
        return self.ctx.open(self.ctx.run(Product(own.bits), x))

    def plain(self, part: Attention, scores: Share) -> Wire:
        assert self._sight.pads is None
        assert self._sight.hidden is None
        _, own = self._plain(part)
        drop = self.scales.product - own.scores
        opened = self.ctx.open(narrow(scores, own.score_bits + drop), drop)
        watch(self.ctx, opened, opened.bits - SPARE)  # they are compared, or lifted
        return opened

    def positive(self, part: Attention, scores: Wire) -> Wire:
        """None that is negative, and none below 2^-COMPARED; all from 2^(1 - COMPARED) on."""
        cut = max(int(scores.scale) - COMPARED, 0)
        (above,) = self.ctx.run(AtLeast((POSITIVE,)), drop_bits(scores, cut))
        return self.ctx.open(above)

    def kept(self, part: Attention, which: Wire, scores: Wire) -> Wire:
        _, own = self._plain(part)
        return self.ctx.open(self.ctx.run(Product(own.bits), which, scores))

    def squared(self, part: Attention, scores: Wire) -> Wire:
        _, own = self._plain(part)
        cut = 2 * own.scores - own.weights
        return self.ctx.open(self.ctx.run(Product(own.bits + cut), scores, scores), cut)

    def paired(self, part: Attention, keys: Wire, values: Wire) -> Wire:
        product: Share = self.ctx.run(MatMul(), transpose(keys), values)
        return self.ctx.open(product, self.scales.qk)  # pairs have the scale of values

    def gathered(self, part: Attention, weights: Wire, values: Wire, halvings: int) -> Wire:
        mixed = self._grouped(part, weights, values)
        scaled = Share(mixed.shape, mixed.bits, mixed.scale + halvings, mixed.data, mixed.room)
        drop = int(scaled.scale) - self.scales.outer
        return self.ctx.open(merge_heads(narrow(scaled, planned(part.rings).outer + drop)), drop)

    def averaged(self, part: Attention, weights: Wire, values: Wire, eps: float) -> tuple[Wire, Wire]:
        rings, own = self._plain(part)
        drop = own.weights + self.scales.values - own.mixed
        mixed = self.ctx.open(self._grouped(part, weights, values), drop)
        watch_lifted(self.ctx, mixed, rings.outer + own.drop(self.scales))
        total = reduce(softmax.row_sum(weights), own.high + 1)
        return mixed, power.factor(self.ctx, total, own.inverse())

    def divided(self, part: Attention, mixed: Wire, inverse: Wire) -> Wire:
        rings, own = self._plain(part)
        drop = own.drop(self.scales)
        scaled: Share = self.ctx.run(Product(rings.outer + drop), mixed, inverse)
        return self.ctx.open(merge_heads(scaled), drop)

    def pick(self, x: Wire, heads: Sequence[int]) -> Wire:
        return derived(x, (x.shape[0], len(heads), *x.shape[2:]), lambda v: v[:, list(heads)])

    def together(self, part: Attention, groups: Sequence[Wire], heads: Sequence[int]) -> Wire:
        places = np.argsort(heads)[:, None] * part.head_width + np.arange(part.head_width)
        whole = concatenate(groups, 2)
        return derived(whole, whole.shape, lambda v: v[:, :, places.reshape(-1)])

    def activate(self, x: Share, part: FeedForward) -> Wire:
        rings, scales = planned(part.rings), self.scales
        return self._active(self._input(x, part), part.activation, scales.outer, rings.outer)

    def _input(self, x: Share, part: FeedForward) -> Wire:
        """What goes into an activation, checked in what its gate is sure to take."""
        bits, cut = planned(part.rings).inner + self.scales.weight, self.scales.weight
        opened = self.ctx.open(narrow(x, bits))
        watch(self.ctx, opened, bits - FUNCTIONS[part.activation].unsure)
        return drop_bits(opened, cut)

    def gate(self, x: Share, y: Share, part: FeedForward) -> Wire:
        ctx, rings, scales = self.ctx, planned(part.rings), self.scales
        cut = scales.linear - scales.up
        inner = self._input(x, part)
        factor = ctx.open(narrow(y, rings.up + cut), cut)
        # One bit more than the input has, as it is lifted: a value stays below a quarter of its ring.
        bits = rings.inner + 1 + scales.gate - scales.rows
        active = self._active(inner, part.activation, scales.gate, bits)
        drop = scales.gate + scales.up - scales.outer
        watch_lifted(ctx, factor, rings.outer + drop)
        return ctx.open(ctx.run(Product(rings.outer + drop), active, factor), drop)

    def _active(self, x: Wire, name: str, scale: int, bits: int) -> Wire:
        """f(x) at a scale, in a ring of so many bits."""
        function = FUNCTIONS[name]
        drop = self.scales.rows + function.extra - scale
        share = function.masked(self.ctx, x, bits + max(drop, 0) - function.extra)
        if drop >= 0:
            return self.ctx.open(share, drop)
        raised = map_share(share, share.shape, lambda v: v << np.uint64(-drop))
        return self.ctx.open(Share(share.shape, bits, scale, raised.data))

    def some(self, x: Wire, places: Sequence[int]) -> Wire:
        return derived(x, (x.shape[0], len(places), x.shape[2]), lambda v: v[:, list(places)])

    def placed(self, groups: Sequence[Share], places: Sequence[int]) -> Share:
        order, whole = list(np.argsort(places)), below(groups)
        return map_share(whole, whole.shape, lambda v: v[:, order])

    def last(self, x: Share, rows: int) -> Share:
        return map_share(x, (x.shape[0], rows, x.shape[2]), lambda v: v[:, v.shape[1] - rows :])

    def tail(self, x: Wire, rows: int) -> Wire:
        return derived(x, (x.shape[0], rows, x.shape[2]), lambda v: v[:, v.shape[1] - rows :])

    def top(self, x: Share, rows: int) -> Share:
        return map_share(x, (x.shape[0], rows, x.shape[2]), lambda v: v[:, :rows])

    def first(self, x: Wire, rows: int = 1) -> Wire:
        return derived(x, (x.shape[0], rows, x.shape[2]), lambda v: v[:, :rows])

    def pool(self, x: Wire, head: Head) -> Share:
        """The sum of the real rows over a power of two, where the mean is asked: the client divides."""
        if head.first:
            row = reduce(self.first(x), head.bits)
            scaled = self.weights.scaled(self.ctx, row, f"{head.label}.gain", row.bits)
            return self.weights.plus(self.ctx, scaled, f"{head.label}.bias")
        assert self._real is not None
        finer = sum_bits(x.shape[1])
        bits, shape = head.bits + finer, (x.shape[0], 1, x.shape[1])
        real = self.ctx.open(map_share(narrow(self._real, bits), shape, lambda v: v.reshape(shape)))
        row = self.ctx.open(narrow(self.ctx.run(MatMul(), real, x), bits))
        count = derived(real, (x.shape[0], 1, 1), _total)
        offset = self.weights.scaled(self.ctx, count, f"{head.label}.bias", bits)
        total = self.weights.scaled(self.ctx, row, f"{head.label}.gain", bits)
        whole = add(total, Share(offset.shape, offset.bits, total.scale, offset.data))
        return Share(whole.shape, bits, self.scales.linear + finer, whole.data)

    def answer(self, x: Share, head: Head) -> Share:
        """Cut to the client's scale on a fresh wire, so that its shares say nothing else; or the likeliest token."""
        finer = int(x.scale) - self.scales.linear
        drop = self.scales.linear - self.scales.result + finer
        wire = self.ctx.open(narrow(x, head.bits + finer), drop)
        if self._likeliest:
            watch(self.ctx, wire, wire.bits - SPARE)
            wire = self._likeliest_of(wire)
        if self.ctx.watched is not None:
            self.in_range = in_range(self.ctx, open_combinations(self.ctx))
        share: Share = self.ctx.run(ToShare(), wire)
        return share

    def _likeliest_of(self, scores: Wire) -> Wire:
        """The place of each row's largest, the first of equals."""
        return self.ctx.open(argmax(self.ctx, scores))


def _total(v: U64) -> U64:
    total: U64 = v.sum(axis=-1, keepdims=True, dtype=np.uint64)
    return total
