"""What a pass of a generation looks like on the wire: its rows, how they are shared, what comes back; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError
from privinf.models import plan as p
from privinf.models.decoder_plan import LINEAR, RESIDUAL, ROTARY, DecoderPlan
from privinf.models.decoder_shared import DecoderQuery, Lookup
from privinf.models.decoder_spec import DecoderSpec
from privinf.models.fold import F64
from privinf.models.query import Field
from privinf.models.rotary import Places, turns
from privinf.protocols import kernels, prg, ring
from privinf.protocols.kernels.prg import U8
from privinf.protocols.program import SessionShape
from privinf.protocols.ring import U64
from privinf.protocols.wires import Share

TASKS = ("generate", "argmax")  # all logits to the client, or the likeliest token alone
PADDED = "-padded"  # after a task: nobody but the client learns how many drafts were right
CHUNK = 64  # rows of a prompt that go through the model in one pass: preparations are held in memory
MOST_ROWS = 32  # of a later pass
LEAF, ROOT = 7, 16  # index bits within a leaf of a point function, bytes of a root


@dataclass(frozen=True)
class Rows:
    """What the client knows of a pass's rows: tokens, true positions, which are padding.

    moved: how far the prompt's padding moves all positions. rejected: which rows of the pass before are out, where
    the servers are not to know.
    """

    ids: npt.NDArray[np.int64]
    places: Places
    padding: npt.NDArray[np.bool_]
    moved: int = 0
    rejected: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class DecoderLayout:
    """Public facts from which every role derives the form of a session.

    public: everybody knows the weights. embedded: the client embeds tokens, as it knows that table at least.
    """

    spec: DecoderSpec
    plan: DecoderPlan
    public: bool
    embedded: bool

    @property
    def room(self) -> int:
        """Slots that a session may fill beside the prefix."""
        return self.plan.max_tokens - len(self.plan.prefix)

    def check(self, shape: SessionShape) -> None:
        """Raise InputError for a session that this model cannot take."""
        if shape.task.removesuffix(PADDED) not in TASKS:
            raise InputError(f"this model does {', '.join(TASKS)}, not {shape.task!r}")
        if not 1 <= shape.rows <= MOST_ROWS:
            raise InputError(f"a pass has 1 to {MOST_ROWS} rows, not {shape.rows}")
        if not 1 <= shape.prompt <= self.room - shape.rows:
            raise InputError(
                f"a prompt of {shape.prompt} rows: this shared model takes 1 to {self.room - shape.rows}"
            )

    def passes(self, shape: SessionShape) -> int:
        """Passes that read the prompt."""
        return -(-shape.prompt // CHUNK)

    def rows(self, shape: SessionShape, index: int) -> int:
        """Rows of a pass."""
        left = shape.prompt - index * CHUNK
        return min(left, CHUNK) if left > 0 else shape.rows

    def outputs(self, shape: SessionShape, index: int) -> int:
        """How many of a pass's last rows are answered."""
        last = self.passes(shape) - 1
        return 0 if index < last else 1 if index == last else shape.rows

    def padded(self, shape: SessionShape) -> bool:
        """Whether the servers are not to know which drafts were right: no slot is ever dropped then."""
        return shape.task.endswith(PADDED)

    @property
    def tables(self) -> dict[str, int]:
        """Tables that rows are looked up in, and their sizes."""
        if self.embedded:
            return {}
        sizes = {"token": self.spec.vocab}
        return sizes if self.spec.rope_theta else sizes | {"position": self.spec.max_tokens}

    def fields(self, shape: SessionShape, index: int) -> list[Field]:
        """The tensors of a pass's query that are shared additively, in order."""
        rows, plan = self.rows(shape, index), self.plan
        fields = [Field(f"sign.{name}", (1, rows, 1), 1, 0) for name in self.tables]
        if self.embedded:
            fields.append(Field("rows", (1, rows, self.spec.width), plan.residual_bits, RESIDUAL))
        if index < self.passes(shape):
            fields.append(Field("pads", (1, 1, 1, rows), ring.MAX_BITS, 0))
        if index == 0 and self.spec.rope_theta and plan.prefix:
            fields.append(Field("turn", (2, 1, 1, self.spec.head_width // 2), ring.MAX_BITS, ROTARY))
        if self.padded(shape) and index >= self.passes(shape):
            if index > self.passes(shape):
                fields.append(Field("rejected", (1, 1, 1, rows), ring.MAX_BITS, 0))
            if self.spec.rope_theta:
                half = self.spec.head_width // 2
                fields.append(Field("turned", (2, 1, rows, half), ring.MAX_BITS, ROTARY))
        return fields

    def result(self, shape: SessionShape, index: int) -> Field:
        """The answer's tensor; empty for a part of the prompt."""
        outputs = self.outputs(shape, index)
        if shape.task.startswith("argmax"):
            return Field("token", (1, outputs, 1), index_bits(self.spec.vocab), 0)
        bits = self.plan.result_bits - (LINEAR - p.RESULT)
        return Field("logits", (1, outputs, self.spec.vocab), bits, p.RESULT)

    def query_bytes(self, shape: SessionShape, index: int, party: int) -> int:
        """A seed at party 0, differences and roots at party 1, correction words at both."""
        rows = self.rows(shape, index)
        words = sum(rows * ROOT * levels(size) for size in self.tables.values())
        if party == 0:
            return prg.SEED_BYTES + words
        return words + rows * ROOT * len(self.tables) + sum(f.nbytes for f in self.fields(shape, index))


def index_bits(size: int) -> int:
    """Bits of an index into a table."""
    return max((size - 1).bit_length(), 1)


def levels(size: int) -> int:
    """Correction words of a point function over a table."""
    return max(index_bits(size) - LEAF, 0) + 1


def encode(
    layout: DecoderLayout,
    shape: SessionShape,
    index: int,
    rows: Rows,
    embeddings: Mapping[str, F64] | None = None,
) -> tuple[bytes, bytes]:
    """Both parties' shares of a pass's query, under fresh seeds."""
    seed, roots, words = prg.fresh_seed(), [], []
    values = _public_form(layout, rows)
    for name, size in layout.tables.items():
        theirs, cw, sign = _point(_index(name, rows, size), size, seed, name)
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
    return seed + b"".join(words), b"".join((*words, *roots, *packed))


def _public_form(layout: DecoderLayout, rows: Rows) -> dict[str, F64]:
    """Values of the fields that do not depend on tables."""
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


def _point(index: U64, size: int, seed: bytes, name: str) -> tuple[U8, U8, F64]:
    """Party 1's roots, correction words, and 1 where the difference of the parties' bits is minus one at the index."""
    own = prg.roots(seed, f"query/{name}", len(index))
    theirs = prg.roots(prg.fresh_seed(), f"query/{name}", len(index))
    words, leaf = kernels.dpf_gen(index, index_bits(size), own, theirs)
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
        name: _spread(party, roots[name], words[name], size) for name, size in layout.tables.items()
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


def _spread(party: int, roots: U8, words: U8, size: int) -> U64:
    """This party's share of plus or minus the one-hot of each row: its bits, negated at party 1."""
    points = np.repeat(np.arange(size, dtype=np.uint64)[:, None], len(roots), axis=1)
    bits = kernels.dpf_bit(party, roots, words, index_bits(size), points)
    share = np.ascontiguousarray(bits.T).astype(np.uint64)[None]
    return np.uint64(0) - share if party else share


def plain(
    layout: DecoderLayout, shape: SessionShape, index: int, rows: Rows, embeddings: Mapping[str, F64] | None
) -> DecoderQuery:
    """The query itself in place of shares, for the fixed interpreter."""
    values = _public_form(layout, rows)
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
    total = np.asarray(sum(ring.unpack(part, f.bits, f.shape) for part in shares), dtype=np.uint64)
    if shape.task.startswith("argmax"):
        tokens: npt.NDArray[np.int64] = ring.low(total, f.bits)[0, :, 0].astype(np.int64)
        return tokens
    logits: npt.NDArray[np.float32] = ring.decode(total, f.scale, f.bits)[0].astype(np.float32)
    return logits
