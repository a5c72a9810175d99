"""The rows of a session's passes as a client chooses them, and the answers of passes; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.models.engines.positions import Places
from privinf.models.programs import wire
from privinf.models.programs.keys import KeyForm
from privinf.models.programs.layout import ADVANCED, MOVED, SessionLayout
from privinf.protocols import ring
from privinf.protocols.contract import SessionShape
from privinf.protocols.ring import U64


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """What the client knows of a pass's rows: tokens, true positions, which are padding; of one prompt, or of several.

    ids, places, padding: (rows,), or (batch, rows). moved: how far a prompt's padding moves all its positions.
    rejected: which rows of the pass before are out, where the servers are not to know; never the first.
    """

    ids: npt.NDArray[np.int64]
    places: Places
    padding: npt.NDArray[np.bool_]
    moved: int | Places = 0
    rejected: npt.NDArray[np.bool_] | None = None


def together(rows: Sequence[Rows]) -> Rows:
    """Those of several prompts in one pass."""
    rejected = [row.rejected for row in rows if row.rejected is not None]
    return Rows(
        np.stack([row.ids for row in rows]),
        np.stack([row.places for row in rows]),
        np.stack([row.padding for row in rows]),
        np.array([row.moved for row in rows], dtype=np.int64),
        np.stack(rejected) if rejected else None,
    )


def values(layout: SessionLayout, shape: SessionShape, index: int, rows: Rows) -> wire.Values:
    """A pass's query as it is shared; InputError for rows that it cannot have."""
    return dict(_values(layout, shape, index, rows))


def plain(layout: SessionLayout, shape: SessionShape, index: int, rows: Rows) -> wire.Asked:
    """The query itself in place of shares, for the fixed interpreter."""
    return wire.plain(layout.form(shape, index), values(layout, shape, index, rows))


def _values(layout: SessionLayout, shape: SessionShape, index: int, rows: Rows) -> Iterator[tuple[str, U64]]:
    form = layout.form(shape, index)
    for key in form.keys:
        yield key.name, _places(layout, shape, index, key, rows)
    for field in form.shared:
        given = rows.padding
        if field.name == "rejected":
            assert rows.rejected is not None
            assert not rows.rejected[..., 0].any()
            given = rows.rejected[..., 1:]
        yield field.name, given.astype(np.uint64).reshape(field.shape)


def _places(layout: SessionLayout, shape: SessionShape, index: int, key: KeyForm, rows: Rows) -> U64:
    """Which place of its table each key selects; InputError for what is not there."""
    name = key.name
    if name == MOVED:
        places = np.asarray(rows.moved)
    elif name == ADVANCED:
        places = _advanced(layout, shape, index, rows)
    else:
        places = rows.ids if name == "token" else rows.places
    if places.size != key.count or not 0 <= int(places.min()) <= int(places.max()) < key.size:
        if name in layout.tables:
            raise InputError(f"a {name} is not in the model's table of {key.size}")
        raise InputError(f"pass {index}: its rows stand where no course of the session leads")
    return np.atleast_1d(places).astype(np.uint64)


def _advanced(layout: SessionLayout, shape: SessionShape, index: int, rows: Rows) -> Places:
    """How many drafts of each prompt were right before this pass, which says where its rows stand."""
    without = len(layout.plan.prefix) + shape.prompt + index - layout.passes(shape)
    advanced: Places = np.asarray(rows.places[..., 0] + rows.moved - without)
    return advanced


def decode(
    layout: SessionLayout, shape: SessionShape, index: int, total: U64
) -> npt.NDArray[np.float32] | npt.NDArray[np.int64]:
    """What a sum of shares says: logits (batch, outputs, vocab), or tokens (batch, outputs)."""
    field = layout.result(shape, index)
    if shape.task.startswith("argmax"):
        tokens: npt.NDArray[np.int64] = ring.low(total, field.bits)[..., 0].astype(np.int64)
        return tokens
    logits: npt.NDArray[np.float32] = ring.decode(total, field.scale, field.bits).astype(np.float32)
    return logits
