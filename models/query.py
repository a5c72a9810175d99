"""What a query and its answer look like on the wire: rings, scales, shares and decoding; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models import plan as p
from privinf.models.bert import TASKS
from privinf.models.fold import F64
from privinf.models.plan import Plan
from privinf.models.shared import SharedQuery
from privinf.models.spec import EncoderSpec
from privinf.protocols import prg, ring
from privinf.protocols.program import QueryShape
from privinf.protocols.ring import U64, Shape
from privinf.protocols.wires import Share

Ids = npt.NDArray[np.int32]
LOW_TOKENS, MAX_ROWS = 4, 1024


@dataclass(frozen=True)
class Field:
    """One tensor of a query."""

    name: str
    shape: Shape
    bits: int
    scale: int

    @property
    def nbytes(self) -> int:
        return ring.packed_bytes(ring.size_of(self.shape), self.bits)


@dataclass(frozen=True)
class Layout:
    """Public facts from which every role derives the form of a query; `public` when the weights are."""

    spec: EncoderSpec
    plan: Plan
    public: bool

    @property
    def max_tokens(self) -> int:
        """The longest bucket that the model takes and that its ranges were calibrated for."""
        return min(self.spec.longest, self.plan.max_tokens)

    def check(self, shape: QueryShape) -> None:
        """Raise InputError for a shape that this model cannot take."""
        self.check_task(shape.task)
        if not LOW_TOKENS <= shape.tokens <= self.max_tokens:
            raise InputError(
                f"{shape.tokens} tokens: this shared model takes {LOW_TOKENS} to {self.max_tokens}"
            )
        if not (shape.batch >= 1 and shape.batch * shape.tokens <= MAX_ROWS):
            raise InputError(
                f"{shape.batch} texts of {shape.tokens} tokens: a query holds 1 to {MAX_ROWS} rows"
            )

    def check_task(self, task: str) -> None:
        """Raise InputError for what this model does not do."""
        allowed = "embed" if self.spec.head == "none" else "classify"
        if task not in TASKS or task != allowed:
            raise InputError(f"this model does {allowed}, not {task!r}")

    def fields(self, shape: QueryShape) -> list[Field]:
        """The query's tensors, in order."""
        batch, tokens = shape.batch, shape.tokens
        norm = self.plan.embed_norm
        if self.public:
            rows = Field("rows", (batch, tokens, self.spec.width), norm.out_bits, p.X)
        else:
            rows = Field("rows", (batch, tokens, self.spec.vocab), norm.bits, 0)
        masks = [
            Field(
                f"mask{i}", (batch, 1, 1, tokens), a.score_bits + p.SCORE_PRODUCT - p.SCORES, p.SCORE_PRODUCT
            )
            for i, a in enumerate(layer.attention for layer in self.plan.layers)
        ]
        if shape.task != "embed":
            return [rows, *masks]
        return [rows, *masks, Field("pool", (batch, 1, tokens), self.plan.result_bits + p.WEIGHT, p.WEIGHT)]

    def result(self, shape: QueryShape) -> Field:
        """The answer's tensor."""
        last = self.spec.width if shape.task == "embed" else len(self.spec.labels)
        bits = self.plan.result_bits - (p.LINEAR - p.RESULT)
        return Field("result", (shape.batch, 1, last), bits, p.RESULT)

    def query_bytes(self, shape: QueryShape, party: int) -> int:
        """Party 0 is sent a seed, party 1 the difference."""
        return sum(f.nbytes for f in self.fields(shape)) if party else prg.SEED_BYTES


def arrange(fields: Sequence[Field], data: Sequence[U64 | None]) -> SharedQuery:
    """The query as the model's operations take it."""
    shares = [Share(f.shape, f.bits, f.scale, d) for f, d in zip(fields, data, strict=True)]
    pool = shares.pop() if fields[-1].name == "pool" else None
    return SharedQuery(shares[0], tuple(shares[1:]), pool)


def encode(
    layout: Layout, shape: QueryShape, ids: Sequence[Ids], embeddings: Mapping[str, F64] | None
) -> list[U64]:
    """The query's ring elements: padded rows, one mask a layer, pooling weights."""
    layout.check(shape)
    table = np.full((shape.batch, shape.tokens), layout.spec.names.pad, dtype=np.int64)
    real = np.zeros((shape.batch, shape.tokens), dtype=bool)
    for row, tokens in enumerate(ids):
        table[row, : len(tokens)], real[row, : len(tokens)] = tokens, True
    fields = layout.fields(shape)
    values = [_rows(layout, table, embeddings)]
    values += [np.where(real, 0.0, layer.attention.pad_score)[:, None, None] for layer in layout.plan.layers]
    if fields[-1].name == "pool":
        values.append(_pool(real, layout.spec.pooling))
    return [ring.encode(v, f.scale, f.bits).reshape(f.shape) for v, f in zip(values, fields, strict=True)]


def _rows(layout: Layout, table: npt.NDArray[np.int64], embeddings: Mapping[str, F64] | None) -> F64:
    if not layout.public:
        onehot = np.zeros((*table.shape, layout.spec.vocab))
        np.put_along_axis(onehot, table[..., None], 1.0, axis=-1)
        return onehot
    assert embeddings is not None
    x = embeddings["embed.token"][table] + embeddings["embed.position"][: table.shape[1]]
    normal: F64 = x / np.sqrt((x * x).mean(-1, keepdims=True) + layout.spec.layer_norm_eps)
    return normal


def _pool(real: npt.NDArray[np.bool_], pooling: str | None) -> F64:
    weights = real.astype(np.float64)
    if pooling == "cls":
        weights[:, 1:] = 0.0
    return _whole(weights)[:, None]


def _whole(weights: F64) -> F64:
    """Equal weights in units of the pooling scale that add up to one exactly."""
    units = 1 << p.WEIGHT
    count = weights.sum(-1, keepdims=True)
    larger = (np.cumsum(weights, axis=-1) <= units % count) & (weights > 0)
    exact: F64 = (np.floor(units / count) * weights + larger) / units
    return exact


def split(layout: Layout, shape: QueryShape, values: Sequence[U64]) -> tuple[bytes, bytes]:
    """Both parties' shares of an encoded query, under a fresh seed."""
    seed = prg.fresh_seed()
    rest = [
        ring.pack(value - prg.elements(seed, f"query/{f.name}", f.shape, f.bits), f.bits)
        for value, f in zip(values, layout.fields(shape), strict=True)
    ]
    return seed, b"".join(rest)


def parse(layout: Layout, shape: QueryShape, party: int, query: memoryview) -> SharedQuery:
    """A party's share of a query; the caller has checked its length."""
    fields = layout.fields(shape)
    if party == 0:
        seed = bytes(query)
        return arrange(fields, [prg.elements(seed, f"query/{f.name}", f.shape, f.bits) for f in fields])
    data, at = [], 0
    for f in fields:
        data.append(ring.unpack(query[at : at + f.nbytes], f.bits, f.shape))
        at += f.nbytes
    return arrange(fields, data)


def decode(layout: Layout, shape: QueryShape, first: bytes, second: bytes) -> npt.NDArray[np.float32]:
    """Add up the answer: (batch, width) embeddings or (batch, labels) logits."""
    f = layout.result(shape)
    if any(len(part) != f.nbytes for part in (first, second)):
        raise ProtocolError(f"a share of the answer has another size than {f.nbytes} bytes")
    total = sum(ring.unpack(part, f.bits, f.shape) for part in (first, second))
    return finish(layout, ring.decode(np.asarray(total, dtype=np.uint64), f.scale, f.bits)[:, 0])


def finish(layout: Layout, rows: F64) -> npt.NDArray[np.float32]:
    """What depends on the answer alone: scaling and then cutting embeddings, where the model asks for it."""
    if layout.spec.head == "none" and layout.spec.normalize:
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows[..., : layout.spec.answer_width].astype(np.float32)
