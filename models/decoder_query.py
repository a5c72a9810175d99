"""How a pass's rows are shared and put together again, and its answer added up; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models.decoder_layout import ROOT, DecoderLayout, Rows, index_bits, levels
from privinf.models.decoder_step import DecoderQuery, Lookup
from privinf.models.fold import F64
from privinf.models.rotary import turns
from privinf.protocols import kernels, prg, ring
from privinf.protocols.kernels.prg import U8
from privinf.protocols.program import SessionShape
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share


def encode(
    layout: DecoderLayout,
    shape: SessionShape,
    index: int,
    rows: Rows,
    embeddings: Mapping[str, F64] | None = None,
) -> tuple[bytes, bytes]:
    """Both parties' shares of a pass's query, under fresh seeds."""
    seed, query, roots, words = prg.fresh_seed(), prg.fresh_query_id(), [], []
    values = _own_values(layout, rows)
    for name, size in layout.tables.items():
        theirs, cw, sign = _point(query, _index(name, rows, size), size, seed, name)
        roots.append(theirs.tobytes())
        words.append(cw.tobytes())
        values[f"sign.{name}"] = sign
    if layout.embedded:
        assert embeddings is not None
        values["rows"] = _embedded(layout, rows, embeddings)
    packed = []
    for f in layout.fields(shape, index):
        value = ring.encode(values[f.name], f.scale, f.bits).reshape(f.shape)
        packed.append(ring.pack(value - prg.elements(seed, f"query/{f.name}", f.shape, f.bits), f.bits))
    return seed + b"".join((query, *words)), b"".join((query, *words, *roots, *packed))


def _own_values(layout: DecoderLayout, rows: Rows) -> dict[str, F64]:
    """Values of the fields that do not depend on tables: the client's alone."""
    spec = layout.spec
    values: dict[str, F64] = {"pads": rows.padding.astype(np.float64)}
    if rows.rejected is not None:
        values["rejected"] = rows.rejected.astype(np.float64)
    if spec.rope_theta:
        values["turn"] = np.stack(turns(np.array([rows.moved]), spec.head_width, spec.rope_theta))
        values["turned"] = np.stack(turns(rows.places + rows.moved, spec.head_width, spec.rope_theta))
    return values


def _index(name: str, rows: Rows, size: int) -> U64:
    """Where in a table each row is looked up; InputError for what is not there."""
    index = rows.ids if name == "token" else rows.places
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < size:
        raise InputError(f"a {name} is not in the model's table of {size}")
    return index.astype(np.uint64)


def _point(query: bytes, index: U64, size: int, seed: bytes, name: str) -> tuple[U8, U8, F64]:
    """Party 1's roots, correction words, and 1 where the difference of the parties' bits is minus one at the index."""
    own = prg.roots(seed, f"query/{name}", len(index))
    theirs = prg.roots(prg.fresh_seed(), f"query/{name}", len(index))
    words, leaf = kernels.dpf_gen(prg.sent_tree(query, name), index, index_bits(size), own, theirs)
    return theirs, words, 1.0 - leaf.astype(np.float64)


def _embedded(layout: DecoderLayout, rows: Rows, embeddings: Mapping[str, F64]) -> F64:
    x = embeddings["embed.token"][_index("token", rows, layout.spec.vocab)]
    if "embed.position" not in embeddings:
        return x
    return x + embeddings["embed.position"][_index("position", rows, layout.spec.max_tokens)]


def parse(
    layout: DecoderLayout, shape: SessionShape, index: int, party: int, query: memoryview
) -> DecoderQuery:
    """A party's share of a pass's query; the caller has checked its length."""
    rows, cut = layout.rows(shape, index), _Cut(query)
    seed = bytes(cut.take(prg.SEED_BYTES)) if party == 0 else b""
    named = bytes(cut.take(prg.QUERY_ID_BYTES))
    words = {name: cut.bytes((levels(size), rows, ROOT)) for name, size in layout.tables.items()}
    if party:
        roots = {name: cut.bytes((rows, ROOT)) for name in layout.tables}
    else:
        roots = {name: prg.roots(seed, f"query/{name}", rows) for name in layout.tables}
    data: dict[str, U64 | None] = {}
    for f in layout.fields(shape, index):
        if party:
            data[f.name] = ring.unpack(cut.take(f.nbytes), f.bits, f.shape)
        else:
            data[f.name] = prg.elements(seed, f"query/{f.name}", f.shape, f.bits)
    onehots: dict[str, U64 | None] = {
        name: _spread(prg.sent_tree(named, name), party, roots[name], words[name], size)
        for name, size in layout.tables.items()
    }
    return arrange(layout, shape, index, data, onehots)


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
    """This party's share of plus or minus the one-hot of each row: its bits, negated at party 1."""
    points = np.repeat(np.arange(size, dtype=np.uint64)[:, None], len(roots), axis=1)
    bits = kernels.dpf_bit(tree, party, roots, words, index_bits(size), points)
    share = np.ascontiguousarray(bits.T).astype(np.uint64)[None]
    return np.uint64(0) - share if party else share


def plain(
    layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows, embeddings: Mapping[str, F64] | None
) -> DecoderQuery:
    """The query itself in place of shares, for the fixed interpreter."""
    values = _own_values(layout, rows)
    values |= {f"sign.{name}": np.zeros(len(rows.ids)) for name in layout.tables}
    if layout.embedded:
        assert embeddings is not None
        values["rows"] = _embedded(layout, rows, embeddings)
    data: dict[str, U64 | None] = {
        f.name: ring.encode(values[f.name], f.scale, f.bits).reshape(f.shape)
        for f in layout.fields(shape, index)
    }
    onehots: dict[str, U64 | None] = {}
    for name, size in layout.tables.items():
        onehot = np.zeros((1, len(rows.ids), size), dtype=np.uint64)
        onehot[0, np.arange(len(rows.ids)), _index(name, rows, size)] = 1
        onehots[name] = onehot
    return arrange(layout, shape, index, data, onehots)


def empty(layout: DecoderLayout, shape: SessionShape, index: int) -> DecoderQuery:
    """A pass's query for roles that follow shapes alone."""
    data: dict[str, U64 | None] = {f.name: None for f in layout.fields(shape, index)}
    return arrange(layout, shape, index, data, dict.fromkeys(layout.tables))


def arrange(
    layout: DecoderLayout,
    shape: SessionShape,
    index: int,
    data: Mapping[str, U64 | None],
    onehots: Mapping[str, U64 | None],
) -> DecoderQuery:
    """The query as the model's operations take it."""
    rows = layout.rows(shape, index)
    shares = {f.name: Share(f.shape, f.bits, f.scale, data[f.name]) for f in layout.fields(shape, index)}
    lookups = {
        name: Lookup(Share((1, rows, size), layout.plan.embed_bits, 0, onehots[name]), shares[f"sign.{name}"])
        for name, size in layout.tables.items()
    }
    names = ("rows", "pads", "turn", "turned", "rejected")
    given = {name: shares.get(name) for name in names}
    return DecoderQuery(lookups=lookups, **given)


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
