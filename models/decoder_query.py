"""How a pass's rows are shared and put together again, and its answer added up; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models.decoder_layout import ADVANCED, MOVED, ROOT, DecoderLayout, Rows, index_bits, levels
from privinf.models.decoder_step import DecoderQuery
from privinf.models.query import Field
from privinf.protocols import kernels, prg, ring
from privinf.protocols.kernels.prg import U8
from privinf.protocols.program import SessionShape
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share


def encode(layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows) -> tuple[bytes, bytes]:
    """Both parties' shares of a pass's query, under fresh seeds."""
    seed, query, roots, words = prg.fresh_seed(), prg.fresh_query_id(), [], []
    for name, (_, size) in layout.keys(shape, index).items():
        theirs, cw = _point(query, _places(layout, shape, index, name, rows), size, seed, name)
        roots.append(theirs.tobytes())
        words.append(cw.tobytes())
    packed = []
    for f in layout.fields(shape, index):
        bits = _bits(f, rows)
        packed.append(ring.pack(bits - prg.elements(seed, f"query/{f.name}", f.shape, f.bits), f.bits))
    return seed + b"".join((query, *words)), b"".join((query, *words, *roots, *packed))


def _bits(field: Field, rows: Rows) -> U64:
    """Which rows are padding, or which of the pass before are out."""
    given = rows.padding if field.name == "pads" else rows.rejected
    assert given is not None
    return given.astype(np.uint64).reshape(field.shape)


def _places(layout: DecoderLayout, shape: SessionShape, index: int, name: str, rows: Rows) -> U64:
    """Which place of its table each key of a name selects; InputError for what is not there."""
    count, size = layout.keys(shape, index)[name]
    if name == MOVED:
        places = np.array([rows.moved])
    elif name == ADVANCED:
        places = np.array([_advanced(layout, shape, index, rows)])
    else:
        places = rows.ids if name == "token" else rows.places
    if len(places) != count or not 0 <= int(places.min()) <= int(places.max()) < size:
        if name in layout.tables:
            raise InputError(f"a {name} is not in the model's table of {size}")
        raise InputError(f"pass {index}: its rows stand where no course of the session leads")
    return places.astype(np.uint64)


def _advanced(layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows) -> int:
    """How many drafts were right before this pass, which says where its rows stand."""
    without = len(layout.plan.prefix) + shape.prompt + index - layout.passes(shape)
    return int(rows.places[0]) + rows.moved - without


def _point(query: bytes, index: U64, size: int, seed: bytes, name: str) -> tuple[U8, U8]:
    """Party 1's roots and the correction words of keys whose bits differ at the index alone."""
    own = prg.roots(seed, f"query/{name}", len(index))
    theirs = prg.roots(prg.fresh_seed(), f"query/{name}", len(index))
    words, _ = kernels.dpf_gen(prg.sent_tree(query, name), index, index_bits(size), own, theirs)
    return theirs, words


def parse(
    layout: DecoderLayout, shape: SessionShape, index: int, party: int, query: memoryview
) -> DecoderQuery:
    """A party's share of a pass's query; the caller has checked its length."""
    cut, keys = _Cut(query), layout.keys(shape, index)
    seed = bytes(cut.take(prg.SEED_BYTES)) if party == 0 else b""
    named = bytes(cut.take(prg.QUERY_ID_BYTES))
    words = {name: cut.bytes((levels(size), count, ROOT)) for name, (count, size) in keys.items()}
    if party:
        roots = {name: cut.bytes((count, ROOT)) for name, (count, _) in keys.items()}
    else:
        roots = {name: prg.roots(seed, f"query/{name}", count) for name, (count, _) in keys.items()}
    data: dict[str, U64 | None] = {}
    for f in layout.fields(shape, index):
        if party:
            data[f.name] = ring.unpack(cut.take(f.nbytes), f.bits, f.shape)
        else:
            data[f.name] = prg.elements(seed, f"query/{f.name}", f.shape, f.bits)
    for name, (_, size) in keys.items():
        data[name] = _spread(prg.sent_tree(named, name), party, roots[name], words[name], size)
    return arrange(layout, shape, index, data)


class _Cut:
    """Takes a buffer apart from front to back."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer, self._at = buffer, 0

    def take(self, nbytes: int) -> memoryview:
        piece = self._buffer[self._at : self._at + nbytes]
        self._at += nbytes
        return piece

    def bytes(self, shape: tuple[int, ...]) -> U8:
        size = int(np.prod(shape))
        return np.frombuffer(self.take(size), dtype=np.uint8).reshape(shape).copy()


def _spread(tree: bytes, party: int, roots: U8, words: U8, size: int) -> U64:
    """This party's share of plus or minus the one-hot of each key: its bits, negated at party 1."""
    bits = kernels.dpf_whole(tree, party, roots, words, index_bits(size))[:, :size]
    share = bits.astype(np.uint64)[None]
    return np.uint64(0) - share if party else share


def plain(layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows) -> DecoderQuery:
    """The query itself in place of shares, for the fixed interpreter."""
    data: dict[str, U64 | None] = {f.name: _bits(f, rows) for f in layout.fields(shape, index)}
    for name, (count, size) in layout.keys(shape, index).items():
        onehot = np.zeros((1, count, size), dtype=np.uint64)
        onehot[0, np.arange(count), _places(layout, shape, index, name, rows)] = 1
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
        name: Share((1, count, size), ring.MAX_BITS, 0, data.get(name))
        for name, (count, size) in layout.keys(shape, index).items()
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
