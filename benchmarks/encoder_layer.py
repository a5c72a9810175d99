"""One BERT-base encoder layer as a program of its own, and a process for each of its roles: ROLE FOLDER [ADDRESSES]."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privinf.config import DealerConfig, PartyConfig, Tls
from privinf.models import bert
from privinf.models.fold import F64
from privinf.models.plan import SCORE_PRODUCT, SCORES, Plan, X
from privinf.models.program import streamed
from privinf.models.query import Field
from privinf.models.shared import SharedOps, SharedQuery
from privinf.models.spec import EncoderSpec
from privinf.models.weights import DealerStore, PartyStore, ShapeStore, encode, mask_tensor
from privinf.parties.serve import serve_dealer, serve_party
from privinf.protocols import ring
from privinf.protocols.cost import Cost
from privinf.protocols.counting import Counting
from privinf.protocols.dealer import Dealer
from privinf.protocols.gates.linear import ToShare
from privinf.protocols.interpreter import Interpreter
from privinf.protocols.party import Party
from privinf.protocols.program import Channel, Dealt, Identity, QueryShape, Source
from privinf.protocols.wires import Share

SPEC = EncoderSpec(layers=1, width=768, heads=12, ffn=3072, vocab=2, max_tokens=512, type_vocab=1)
SHAPE = QueryShape("layer", 1, 128)
SHARING = "benchmark"


def layer_weights() -> dict[str, F64]:
    """Folded weights, spread so that scores and activations reach past GELU's window."""
    random = np.random.default_rng(7)
    d, f = SPEC.width, SPEC.ffn
    out: dict[str, F64] = {}
    sizes = {
        "attn.q": (d, d),
        "attn.k": (d, d),
        "attn.v": (d, d),
        "attn.out": (d, d),
        "ffn.up": (d, f),
        "ffn.down": (f, d),
    }
    for name, (rows, columns) in sizes.items():
        out[f"layer0.{name}.weight"] = random.normal(0.0, 1.2 / np.sqrt(rows), (rows, columns))
        out[f"layer0.{name}.bias"] = random.normal(0.0, 0.02, columns)
    out["layer0.attn.q.weight"] *= 1.4427 / np.sqrt(d // SPEC.heads)
    for block in ("attn", "ffn"):
        gain = 1.0 + random.normal(0.0, 0.1, d)
        out[f"layer0.{block}.skip.gain"], out[f"layer0.{block}.skip.mean"] = gain, (gain / d)[:, None]
    for name in ("attn.out", "ffn.down"):
        for part in ("weight", "bias"):
            tensor = out[f"layer0.{name}.{part}"]
            out[f"layer0.{name}.{part}"] = tensor - tensor.mean(axis=-1, keepdims=True)
    return out


def layer_input() -> F64:
    """Normalised rows (1, tokens, width)."""
    x = np.random.default_rng(8).normal(0.0, 1.0, (1, SHAPE.tokens, SPEC.width))
    centred = x - x.mean(axis=-1, keepdims=True)
    rows: F64 = centred / centred.std(axis=-1, keepdims=True)
    return rows


def fields(plan: Plan) -> tuple[Field, Field, Field]:
    """Rows and mask of a query, and the answer."""
    layer = plan.layers[0]
    rows = (1, SHAPE.tokens, SPEC.width)
    scores = layer.attention.score_bits + SCORE_PRODUCT - SCORES
    return (
        Field("rows", rows, plan.embed_norm.out_bits, X),
        Field("mask", (1, 1, 1, SHAPE.tokens), scores, SCORE_PRODUCT),
        Field("result", rows, layer.ffn_norm.out_bits, X),
    )


def run(ctx: Interpreter, plan: Plan, rows: Share, mask: Share) -> Share:
    """Open the input and run the layer."""
    ops = SharedOps(ctx, plan)
    x = ctx.open(rows)
    with ctx.scope("layer0"):
        y = bert.layer(ops, SPEC, x, SharedQuery(rows, (mask,), None))
    share: Share = ctx.run(ToShare(), y)
    ctx.flush()
    return share


def mask_seeds() -> tuple[bytes, bytes]:
    """Fixed seeds: the weights are made up, and every process derives them alike."""
    return hashlib.sha256(b"benchmark mask 0").digest(), hashlib.sha256(b"benchmark mask 1").digest()


@dataclass
class Layer:
    """Either role's program."""

    plan: Plan
    party: int = 0
    store: Any = None

    @property
    def identity(self) -> Identity:
        return Identity("benchmark", "bert-base-layer", self.plan.hash)

    def cost(self) -> Cost:
        ctx = Counting(ShapeStore({name: w.shape for name, w in layer_weights().items()}))
        run(ctx, self.plan, *self._blank())
        return ctx.tally.total()

    def _blank(self) -> tuple[Share, Share]:
        rows, mask, _ = fields(self.plan)
        return Share(rows.shape, rows.bits, rows.scale), Share(mask.shape, mask.bits, mask.scale)

    def check(self, shape: QueryShape) -> None:
        assert shape == SHAPE

    def query_bytes(self, shape: QueryShape) -> int:
        return sum(f.nbytes for f in fields(self.plan)[:2])

    def result_bytes(self, shape: QueryShape) -> int:
        return fields(self.plan)[2].nbytes

    def prep_bytes(self, shape: QueryShape) -> int:
        cost = self.cost()
        return cost.prep1 if self.party else cost.prep0

    def sizes(self, shape: QueryShape) -> tuple[int, int]:
        cost = self.cost()
        return cost.prep0, cost.prep1

    def deal(self, shape: QueryShape, seeds: tuple[bytes, bytes]) -> Iterator[Dealt]:
        return streamed(lambda write: run(Dealer(seeds, write, self.store), self.plan, *self._blank()))

    def evaluate(
        self, shape: QueryShape, query: memoryview, prep: Source, seed: bytes, channel: Channel
    ) -> bytes:
        rows, mask, result = fields(self.plan)
        parts = (query[: rows.nbytes], query[rows.nbytes :])
        shares = [
            Share(f.shape, f.bits, f.scale, ring.unpack(part, f.bits, f.shape))
            for f, part in zip((rows, mask), parts, strict=True)
        ]
        answer = run(Party(self.party, seed, prep, channel, self.store), self.plan, shares[0], shares[1])
        return ring.pack(answer.value, result.bits)


def main(role: str, folder: str, *addresses: str) -> None:
    """Serve a role; `addresses` are the dealer's and, for party 0, party 1's."""
    work = Path(folder)
    plan = Plan.from_json((work / "plan.json").read_text())
    keys = work / "keys"
    tls = Tls(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key")
    encoded, seeds = encode(layer_weights()), mask_seeds()
    if role == "dealer":
        dealer = DealerStore({n: a.shape for n, a in encoded.items()}, seeds, SHARING)
        dealer.warm()
        serve_dealer(DealerConfig(tls=tls), Layer(plan, store=dealer))
        return
    party = int(role[-1])
    masked = {name: mask_tensor(value, seeds, SHARING, name) for name, value in encoded.items()}
    store = PartyStore(masked, seeds[party], SHARING)
    store.warm(party)
    peer = addresses[1] if party == 0 else ""
    config = PartyConfig(party, addresses[0], work / f"{role}-store", peer=peer, tls=tls)
    serve_party(config, Layer(plan, party, store))


if __name__ == "__main__":
    main(*sys.argv[1:])
