"""Encoder layers of BERT's form with made-up weights as a workload, and the program of a workload's roles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from benchmarks.harness.workload import Workload
from privinf.errors import ConfigError, InputError
from privinf.models.engines.masked import MaskedOps, Sight
from privinf.models.engines.observers import Ranges
from privinf.models.engines.weights import MaskedWeights
from privinf.models.fold import F64
from privinf.models.inputs.texts import padding
from privinf.models.orders import Limits, post
from privinf.models.parts import build, planned
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import POST
from privinf.models.programs.stream import Write, streamed
from privinf.models.programs.wire import Field
from privinf.models.spec import ModelSpec
from privinf.protocols import masked, ring
from privinf.protocols.contract import (
    Channel,
    Dealt,
    Identity,
    QueryShape,
    QuerySizes,
    Source,
    Stock,
    StockSizes,
)
from privinf.protocols.masked.ahead import Ahead, Precomputed
from privinf.protocols.masked.dealer import Dealer
from privinf.protocols.masked.gates.alarm import begin, in_range, open_combinations
from privinf.protocols.masked.gates.bits import from_bits
from privinf.protocols.masked.gates.linear import ToShare
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.party import Party
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import Shape
from privinf.speed import made_up

HEAD_WIDTH, BERT_BASE = 64, 768
BOUND = 0.1  # of an answer's error, 0.02 for one layer and for twelve; a wrong layer is off by more than one
LEAVES_OUT = (
    "masking the weights, done once when a model is shared; embedding and pooling; splitting the input; the client's "
    "link, which is not shaped"
)
NAME = re.compile(r"layers-(\d+)-w(\d+)-t(\d+)-b(\d+)")


@dataclass(frozen=True)
class Size:
    """How many layers of which shape; heads are 64 wide and the hidden layer four times the width, as in BERT."""

    layers: int
    width: int
    tokens: int
    batch: int = 1

    @classmethod
    def of(cls, name: str) -> Self:
        """From `bert-base-layer-TOKENS`, `bert-base-TOKENS` (12 layers), or `layers-L-wWIDTH-tTOKENS-bBATCH`."""
        if found := re.fullmatch(r"bert-base-(layer-)?(\d+)", name):
            return cls(1 if found[1] else 12, BERT_BASE, int(found[2]))
        if found := NAME.fullmatch(name):
            return cls(*map(int, found.groups()))
        raise ConfigError(f"no workload {name!r}: see privinf bench --list")

    @property
    def name(self) -> str:
        return f"layers-{self.layers}-w{self.width}-t{self.tokens}-b{self.batch}"

    @property
    def spec(self) -> ModelSpec:
        return made_up(self.layers, self.width, max(self.width // HEAD_WIDTH, 1), self.tokens, vocab=2)

    @property
    def rows(self) -> Shape:
        """Shape of input and answer."""
        return (self.batch, self.tokens, self.width)


def weight_shapes(size: Size) -> dict[str, Shape]:
    """Folded tensors of all layers."""
    d, f = size.width, 4 * size.width
    out: dict[str, Shape] = {}
    linear = {"attn.q": d, "attn.k": d, "attn.v": d, "attn.out": d, "ffn.up": f, "ffn.down": d}
    for i in range(size.layers):
        for name, columns in linear.items():
            rows = f if name == "ffn.down" else d
            out[f"layer{i}.{name}.weight"], out[f"layer{i}.{name}.bias"] = (rows, columns), (columns,)
        for block in ("attn", "ffn"):
            out[f"layer{i}.{block}.skip.gain"], out[f"layer{i}.{block}.skip.mean"] = (d,), (d, 1)
    return out


def weights(size: Size) -> dict[str, F64]:
    """Made up, and spread so that scores and activations reach past GELU's window."""
    random, out = np.random.default_rng(7), dict[str, F64]()
    for name, shape in weight_shapes(size).items():
        if name.endswith("weight"):
            out[name] = random.normal(0.0, 1.2 / np.sqrt(shape[0]), shape)
        elif name.endswith("bias"):
            out[name] = random.normal(0.0, 0.02, shape)
        elif name.endswith("gain"):
            out[name] = 1.0 + random.normal(0.0, 0.1, shape)
        else:
            out[name] = (out[name.replace("mean", "gain")] / size.width)[:, None]
    for name in out:
        if ".attn.q." in name:  # scores in base two, divided by the root of the head's width
            out[name] *= 1.4427 / np.sqrt(size.width // size.spec.heads)
        if ".attn.out." in name or ".ffn.down." in name:
            out[name] -= out[name].mean(axis=-1, keepdims=True)
    return out


def source(size: Size) -> F64:
    """Normalised rows (batch, tokens, width)."""
    x = np.random.default_rng(8).normal(0.0, 1.0, size.rows)
    centred = x - x.mean(axis=-1, keepdims=True)
    rows: F64 = centred / centred.std(axis=-1, keepdims=True)
    return rows


def in_clear(size: Size, folded: dict[str, F64]) -> tuple[Plan, F64]:
    """The plan from the layers' own ranges, and their float32 answer."""
    import torch

    from privinf.models.engines.clear import ClearOps

    ranges = Ranges({"embed.square": 0.5}, {"embed.square": 2.0, "embed.residual": 8.0, "pool.result": 8.0})
    tensors = {name: torch.as_tensor(w, dtype=torch.float32) for name, w in folded.items()}
    x = torch.as_tensor(source(size), dtype=torch.float32)
    with torch.inference_mode():
        x = post.layers(ClearOps(tensors, x, observer=ranges), build(size.spec).layers, x)
    return post.make_plan(size.spec, ranges, Limits(size.tokens)), x.numpy()


def run(size: Size, plan: Plan, ctx: Interpreter, rows: Share, real: Share) -> Share:
    """Open the input and run the layers, whose ranges are checked as a query's are."""
    begin(ctx)
    x, bits, model = ctx.open(rows), ctx.open(real), build(size.spec, plan)
    sight = Sight(padding(ctx, from_bits(ctx, bits, ring.MAX_BITS)))
    x = post.layers(MaskedOps(ctx, MaskedWeights(), model.scales, x, sight), model.layers, x)
    in_range(ctx, open_combinations(ctx))
    ctx.flush()
    share: Share = ctx.run(ToShare(), x)
    ctx.flush()
    return share


def inputs(size: Size, plan: Plan) -> tuple[Field, ...]:
    """Rows, and which of them are real."""
    return (
        Field("rows", size.rows, planned(plan.embed_norm).out_bits, POST.rows),
        Field("real", (size.batch, size.tokens), 1, 0),
    )


def workload(name: str, size: Size, plan: Plan) -> Workload:
    """The layers as planned; the clear answer is computed when it is asked for."""
    given = inputs(size, plan)
    return Workload(
        name,
        QueryShape("layers", size.batch, size.tokens),
        given,
        Field("result", size.rows, plan.layers[-1].ffn_norm.out_bits, POST.rows),
        partial(run, size, plan),
        lambda: [source(size), np.ones(given[1].shape)],
        lambda: in_clear(size, weights(size))[1],
        BOUND,
        LEAVES_OUT,
        lambda: weights(size),
        weight_shapes(size),
        plan.hash,
    )


@dataclass
class LayerDealer:
    """What the dealer deals for a workload: these layers, or a gate."""

    work: Workload
    store: Any = None

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        cost = self.work.cost
        return cost.prep0, cost.prep1

    def deal(self, shape: QueryShape, preparation: bytes, seeds: tuple[bytes, ...]) -> Iterator[Dealt]:
        def produce(write: Write) -> None:
            self.work.run(Dealer(preparation, (seeds[0], seeds[1]), write, self.store), *self.work.blank())

        return streamed(produce)


@dataclass
class LayerParty:
    """How a party answers a workload."""

    work: Workload
    party: int
    store: Any = None

    def sizes(self, shape: QueryShape) -> QuerySizes:
        if shape != self.work.shape:
            raise InputError(f"this benchmark answers one shape, {self.work.shape}")
        return QuerySizes(sum(f.nbytes for f in self.work.inputs), self.work.result.nbytes)

    def stock_sizes(self, shape: QueryShape) -> StockSizes:
        cost = self.work.cost
        return StockSizes((cost.prep0, cost.prep1)[self.party], cost.precomputed)

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, room: memoryview) -> None:
        self.work.run(Ahead(self.party, seed, prep, Precomputed(room), self.store), *self.work.blank())

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        assert stock is not None
        link, room = channel.to(1 - self.party), Precomputed(stock.precomputed)
        ctx = Party(self.party, stock.preparation, stock.seed, stock.source, link, self.store, room)
        answer = self.work.run(ctx, *self.work.parse(query))
        return bytes(ring.pack(answer.value, self.work.result.bits))


def identity(work: Workload, role: str) -> Identity:
    """What the roles of a workload attest."""
    return Identity("benchmark", masked.NAME, work.name, work.plan, role)
