"""Whole texts as a client asks about them: rows of tokens, and what becomes of the numbers that come back; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.models.fold import F64
from privinf.models.plan.ranges import sum_bits
from privinf.models.programs import wire
from privinf.models.programs.layout import QueryLayout
from privinf.models.spec import Pool
from privinf.protocols import ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.ring import U64

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """What the client asks: the token of each row (batch, tokens), and which rows are real."""

    tokens: U64
    real: npt.NDArray[np.bool_]

    @property
    def values(self) -> wire.Values:
        """As they are shared."""
        return {"token": self.tokens, "real": self.real.astype(np.uint64)}


def lay_out(layout: QueryLayout, shape: QueryShape, ids: Sequence[Ids]) -> Rows:
    """Texts padded to the rows of a query; InputError for a token that the model does not have."""
    layout.check(shape)
    tokens = np.full((shape.batch, shape.tokens), layout.spec.tokens.pad, dtype=np.int64)
    real = np.zeros((shape.batch, shape.tokens), dtype=bool)
    for row, text in enumerate(ids):
        tokens[row, : len(text)], real[row, : len(text)] = text, True
    if not 0 <= int(tokens.min()) <= int(tokens.max()) < layout.spec.vocab:
        raise InputError(f"a token is not in the model's table of {layout.spec.vocab}")
    return Rows(tokens.astype(np.uint64), real)


def plain(layout: QueryLayout, shape: QueryShape, rows: Rows) -> wire.Asked:
    """The query itself in place of shares, for the fixed interpreter."""
    return wire.plain(layout.form(shape), rows.values)


def decode(layout: QueryLayout, shape: QueryShape, rows: Rows, total: U64) -> npt.NDArray[np.float32]:
    """What a sum of shares says: (batch, width) embeddings or (batch, labels) logits."""
    field = layout.result(shape)
    return finish(layout, rows, ring.decode(total, field.scale, field.bits)[:, 0])


def finish(layout: QueryLayout, rows: Rows, values: F64) -> npt.NDArray[np.float32]:
    """What depends on the answer and the client's own rows: the mean of a sum, scaling, then cutting embeddings."""
    spec = layout.spec
    if spec.sums:
        values = values * (2.0 ** sum_bits(rows.real.shape[1]) / rows.real.sum(axis=1, keepdims=True))
    if isinstance(spec.head, Pool) and spec.head.unit:
        values = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return values[..., : spec.answer_width].astype(np.float32)
