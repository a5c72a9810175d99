"""What a query and its answer look like on the wire: keys, row bits, shares and decoding; no torch.

A client chooses which tokens, and which rows are real. The encoding leaves it nothing else: a token is a key that the
parties check, a row bit is an element of Z_2, and what the answer is scaled by is not in its hands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models.encoder_inputs import SharedQuery
from privinf.models.fold import F64
from privinf.models.parts import Model, build
from privinf.models.plan.ranges import sum_bits
from privinf.models.plan.rings import Plan
from privinf.models.row_keys import Cut, KeyForm, cut_shares
from privinf.models.spec import ModelSpec, Pool
from privinf.models.tasks import TASKS
from privinf.protocols import prg, ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import U64, Shape

Ids = npt.NDArray[np.int32]
LOW_TOKENS, MAX_ROWS = 4, 1024


@dataclass(frozen=True)
class Field:
    """One tensor of a query or an answer."""

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

    spec: ModelSpec
    plan: Plan
    public: bool

    @cached_property
    def model(self) -> Model:
        """The parts that programs run."""
        return build(self.spec, self.plan)

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
        if task not in TASKS or task != self.spec.task:
            raise InputError(f"this model does {self.spec.task}, not {task!r}")

    def keys(self, shape: QueryShape) -> KeyForm:
        """The keys of a query's tokens."""
        return KeyForm("token", shape.batch * shape.tokens, self.spec.vocab)

    def real(self, shape: QueryShape) -> Field:
        """Which rows are real: the rest is padding."""
        return Field("real", (shape.batch, shape.tokens), 1, 0)

    def result(self, shape: QueryShape) -> Field:
        """The answer's tensor."""
        last = self.spec.width if shape.task == "embed" else len(self.spec.labels)
        bits = self.plan.answer_bits
        return Field("result", (shape.batch, 1, last), bits, self.plan.scales.result)

    def query_bytes(self, shape: QueryShape, party: int) -> int:
        """An id and correction words at both; a seed at party 0; roots and the difference of the bits at party 1."""
        keys = self.keys(shape)
        rest = keys.roots_bytes + self.real(shape).nbytes if party else prg.SEED_BYTES
        return prg.QUERY_ID_BYTES + keys.words_bytes + rest


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """What the client asks: the token of each row (batch, tokens), and which rows are real."""

    tokens: U64
    real: npt.NDArray[np.bool_]


def lay_out(layout: Layout, shape: QueryShape, ids: Sequence[Ids]) -> Rows:
    """Texts padded to the rows of a query; InputError for a token that the model does not have."""
    layout.check(shape)
    tokens = np.full((shape.batch, shape.tokens), layout.spec.tokens.pad, dtype=np.int64)
    real = np.zeros((shape.batch, shape.tokens), dtype=bool)
    for row, text in enumerate(ids):
        tokens[row, : len(text)], real[row, : len(text)] = text, True
    if not 0 <= int(tokens.min()) <= int(tokens.max()) < layout.spec.vocab:
        raise InputError(f"a token is not in the model's table of {layout.spec.vocab}")
    return Rows(tokens.astype(np.uint64), real)


def split(layout: Layout, shape: QueryShape, rows: Rows) -> tuple[bytes, bytes]:
    """Both parties' shares of a query, under fresh seeds."""
    seed, named, real = prg.fresh_seed(), prg.fresh_query_id(), layout.real(shape)
    words, roots = layout.keys(shape).make(rows.tokens.reshape(-1), named, seed)
    bits = rows.real.astype(np.uint64) - _drawn(seed, real)
    return seed + named + words, named + words + roots + ring.pack(bits, real.bits)


def _drawn(seed: bytes, f: Field) -> U64:
    return prg.elements(seed, f"query/{f.name}", f.shape, f.bits)


def parse(layout: Layout, shape: QueryShape, party: int, query: memoryview) -> SharedQuery:
    """A party's share of a query; the caller has checked its length."""
    cut, real = Cut(query), layout.real(shape)
    seed = b"" if party else bytes(cut.take(prg.SEED_BYTES))
    named = bytes(cut.take(prg.QUERY_ID_BYTES))
    vectors = cut_shares(named, party, seed, cut, layout.keys(shape))
    bits = ring.unpack(cut.take(real.nbytes), real.bits, real.shape) if party else _drawn(seed, real)
    return arrange(layout, shape, vectors, bits)


def plain(layout: Layout, shape: QueryShape, rows: Rows) -> SharedQuery:
    """The query itself in place of shares, for the fixed interpreter."""
    vectors = np.zeros((*rows.tokens.shape, layout.spec.vocab), dtype=np.uint64)
    np.put_along_axis(vectors, rows.tokens.astype(np.int64)[..., None], np.uint64(1), axis=-1)
    return arrange(layout, shape, vectors, rows.real.astype(np.uint64))


def arrange(layout: Layout, shape: QueryShape, vectors: U64 | None, real: U64 | None) -> SharedQuery:
    """The query as the model's operations take it; without data for roles that follow shapes alone."""
    size = (shape.batch, shape.tokens, layout.spec.vocab)
    data = None if vectors is None else vectors.reshape(size)
    f = layout.real(shape)
    return SharedQuery(Share(size, ring.MAX_BITS, 0, data), Share(f.shape, f.bits, f.scale, real))


def decode(
    layout: Layout, shape: QueryShape, rows: Rows, first: bytes, second: bytes
) -> npt.NDArray[np.float32]:
    """Add up the answer: (batch, width) embeddings or (batch, labels) logits."""
    f = layout.result(shape)
    if any(len(part) != f.nbytes for part in (first, second)):
        raise ProtocolError(f"a share of the answer has another size than {f.nbytes} bytes")
    total = sum(ring.unpack(part, f.bits, f.shape) for part in (first, second))
    values = ring.decode(np.asarray(total, dtype=np.uint64), f.scale, f.bits)[:, 0]
    return finish(layout, rows, values)


def finish(layout: Layout, rows: Rows, values: F64) -> npt.NDArray[np.float32]:
    """What depends on the answer and the client's own rows: the mean of a sum, scaling, then cutting embeddings."""
    spec = layout.spec
    if isinstance(spec.head, Pool):
        if spec.sums:
            values = values * (2.0 ** sum_bits(rows.real.shape[1]) / rows.real.sum(axis=1, keepdims=True))
        if spec.head.unit:
            values = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return values[..., : spec.answer_width].astype(np.float32)
