"""How a pass's rows are shared and put together again, and its answer added up; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models.decoder_layout import ADVANCED, MOVED, DecoderLayout, Rows
from privinf.models.decoder_step import DecoderQuery
from privinf.models.query import Field
from privinf.models.row_keys import ROOT, Cut, KeyForm
from privinf.protocols import prg, ring
from privinf.protocols.contract import SessionShape
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import U64


def encode(layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows) -> tuple[bytes, bytes]:
    """Both parties' shares of a pass's query, under fresh seeds."""
    seed, query, roots, words = prg.fresh_seed(), prg.fresh_query_id(), [], []
    for key in layout.keys(shape, index).values():
        cw, theirs = key.make(_places(layout, shape, index, key, rows), query, seed)
        words.append(cw)
        roots.append(theirs)
    packed = []
    for f in layout.fields(shape, index):
        bits = _bits(f, rows)
        packed.append(ring.pack(bits - prg.elements(seed, f"query/{f.name}", f.shape, f.bits), f.bits))
    return seed + b"".join((query, *words)), b"".join((query, *words, *roots, *packed))


def _bits(field: Field, rows: Rows) -> U64:
    """Which rows are padding, or which drafts of the pass before are out."""
    if field.name == "pads":
        given = rows.padding
    else:
        assert rows.rejected is not None
        assert not rows.rejected[0]
        given = rows.rejected[1:]
    return given.astype(np.uint64).reshape(field.shape)


def _places(layout: DecoderLayout, shape: SessionShape, index: int, key: KeyForm, rows: Rows) -> U64:
    """Which place of its table each key selects; InputError for what is not there."""
    name = key.name
    if name == MOVED:
        places = np.array([rows.moved])
    elif name == ADVANCED:
        places = np.array([_advanced(layout, shape, index, rows)])
    else:
        places = rows.ids if name == "token" else rows.places
    if len(places) != key.count or not 0 <= int(places.min()) <= int(places.max()) < key.size:
        if name in layout.tables:
            raise InputError(f"a {name} is not in the model's table of {key.size}")
        raise InputError(f"pass {index}: its rows stand where no course of the session leads")
    return places.astype(np.uint64)


def _advanced(layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows) -> int:
    """How many drafts were right before this pass, which says where its rows stand."""
    without = len(layout.plan.prefix) + shape.prompt + index - layout.passes(shape)
    return int(rows.places[0]) + rows.moved - without


def parse(
    layout: DecoderLayout, shape: SessionShape, index: int, party: int, query: memoryview
) -> DecoderQuery:
    """A party's share of a pass's query; the caller has checked its length."""
    cut, keys = Cut(query), layout.keys(shape, index)
    seed = bytes(cut.take(prg.SEED_BYTES)) if party == 0 else b""
    named = bytes(cut.take(prg.QUERY_ID_BYTES))
    words = {name: cut.blocks(key.words_shape) for name, key in keys.items()}
    if party:
        roots = {name: cut.blocks((key.count, ROOT)) for name, key in keys.items()}
    else:
        roots = {name: key.own_roots(seed) for name, key in keys.items()}
    data: dict[str, U64 | None] = {}
    for f in layout.fields(shape, index):
        if party:
            data[f.name] = ring.unpack(cut.take(f.nbytes), f.bits, f.shape)
        else:
            data[f.name] = prg.elements(seed, f"query/{f.name}", f.shape, f.bits)
    for name, key in keys.items():
        data[name] = key.spread(named, party, roots[name], words[name])[None]
    return arrange(layout, shape, index, data)


def plain(layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows) -> DecoderQuery:
    """The query itself in place of shares, for the fixed interpreter."""
    data: dict[str, U64 | None] = {f.name: _bits(f, rows) for f in layout.fields(shape, index)}
    for name, key in layout.keys(shape, index).items():
        onehot = np.zeros((1, key.count, key.size), dtype=np.uint64)
        onehot[0, np.arange(key.count), _places(layout, shape, index, key, rows)] = 1
        data[name] = onehot
    return arrange(layout, shape, index, data)


def empty(layout: DecoderLayout, shape: SessionShape, index: int) -> DecoderQuery:
    """A pass's query for roles that follow shapes alone."""
    return arrange(layout, shape, index, {})


def arrange(
    layout: DecoderLayout, shape: SessionShape, index: int, data: Mapping[str, U64 | None]
) -> DecoderQuery:
    """The query as the model's operations take it."""
    bits = {f.name: Share(f.shape, f.bits, f.scale, data.get(f.name)) for f in layout.fields(shape, index)}
    lookups = {
        name: Share((1, key.count, key.size), ring.MAX_BITS, 0, data.get(name))
        for name, key in layout.keys(shape, index).items()
    }
    return DecoderQuery(lookups, bits.get("pads"), bits.get("rejected"))


def decode(
    layout: DecoderLayout, shape: SessionShape, index: int, shares: Sequence[bytes]
) -> npt.NDArray[np.float32] | npt.NDArray[np.int64]:
    """Add up an answer: logits (outputs, vocab), or tokens (outputs,)."""
    f = layout.result(shape, index)
    if any(len(part) != f.nbytes for part in shares):
        raise ProtocolError(f"pass {index}: a share of the answer has another size than {f.nbytes} bytes")
    total = np.asarray(sum(ring.unpack(part, f.bits, f.shape) for part in shares), dtype=np.uint64)
    if shape.task.startswith("argmax"):
        tokens: npt.NDArray[np.int64] = ring.low(total, f.bits)[0, :, 0].astype(np.int64)
        return tokens
    logits: npt.NDArray[np.float32] = ring.decode(total, f.scale, f.bits)[0].astype(np.float32)
    return logits
