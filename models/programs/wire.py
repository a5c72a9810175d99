"""How a query is shared and sent, and how its answer is added up: keys that select rows, bits, and pixels; no torch.

A client chooses rows of tables, and bits, or pixels. The encoding leaves it nothing else: a row is a key that the
parties check, a bit is an element of Z_2, pixels are checked in a ring of their own, and what the answer is scaled by
is not in its hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor

import numpy as np

from privinf.errors import ProtocolError, RangeError
from privinf.models.programs.keys import Cut, KeyForm
from privinf.protocols import prg, ring
from privinf.protocols.kernels.prg import BLOCK
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import U64, Shape

RANGE_BYTES = 1  # of the shared bit behind an answer
OWN_BITS = (
    3  # an answer's ring, planned with four bits more than what was seen, keeps two that the client checks
)
OUT_OF_RANGE = (
    "a value left the ranges that the model was shared with, so there is no answer: its owner can look where with"
    " `privinf check MODEL --text FILE`, and share the model again with `--calibration` texts like this one"
)

Values = Mapping[str, U64]  # what each key selects, and what is shared as it is


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

    @property
    def answer_bytes(self) -> int:
        """Of a share of an answer, and of the bit that says whether all ranges were kept; nothing has no bit."""
        return self.nbytes + RANGE_BYTES if self.nbytes else 0

    def drawn(self, seed: bytes) -> U64:
        """Party 0's share."""
        return prg.elements(seed, f"query/{self.name}", self.shape, self.bits)

    def share(self, data: U64 | None) -> Share:
        return Share(self.shape, self.bits, self.scale, data)


@dataclass(frozen=True)
class Form:
    """What a query consists of, in order. shared: bits and pixels."""

    keys: tuple[KeyForm, ...]
    shared: tuple[Field, ...]

    def nbytes(self, party: int) -> int:
        """The query's id and correction words at both; a seed at party 0, roots and differences at party 1."""
        words = prg.QUERY_ID_BYTES + sum(key.words_bytes for key in self.keys)
        if party == 0:
            return prg.SEED_BYTES + words
        return words + sum(key.roots_bytes for key in self.keys) + sum(field.nbytes for field in self.shared)

    def asked(self, data: Mapping[str, U64 | None]) -> Asked:
        """The query as programs take it; without data for roles that follow shapes alone."""
        lookups = {
            key.name: Share((*key.rows, key.size), ring.MAX_BITS, 0, data.get(key.name)) for key in self.keys
        }
        return Asked(lookups, {field.name: field.share(data.get(field.name)) for field in self.shared})


@dataclass(frozen=True, eq=False, repr=False)
class Asked:
    """A query's shares.

    lookups: plus or minus the one-hot of each row (batch, rows, table) modulo 2^64, if the client follows the protocol.
    shared: bits modulo 2, or pixels.
    """

    lookups: Mapping[str, Share]
    shared: Mapping[str, Share]


def split(form: Form, values: Values) -> tuple[bytes, bytes]:
    """Both parties' shares of a query, under fresh seeds."""
    seed, named = prg.fresh_seed(), prg.fresh_query_id()
    keys = [key.make(values[key.name].reshape(-1), named, seed) for key in form.keys]
    words, roots = (b"".join(part) for part in zip(*keys, strict=True)) if keys else (b"", b"")
    shared = (ring.pack(values[field.name] - field.drawn(seed), field.bits) for field in form.shared)
    return seed + named + words, b"".join((named, words, roots, *shared))


def parse(form: Form, party: int, query: memoryview) -> Asked:
    """A party's share of a query; the caller has checked its length."""
    cut = Cut(query)
    seed = b"" if party else bytes(cut.take(prg.SEED_BYTES))
    named = bytes(cut.take(prg.QUERY_ID_BYTES))
    words = [cut.blocks(key.words_shape) for key in form.keys]
    roots = [cut.blocks((key.count, BLOCK)) if party else key.own_roots(seed) for key in form.keys]
    data = {
        f.name: ring.unpack(cut.take(f.nbytes), f.bits, f.shape) if party else f.drawn(seed)
        for f in form.shared
    }
    for key, own, both in zip(form.keys, roots, words, strict=True):
        data[key.name] = key.spread(named, party, own, both)
    return form.asked(data)


def plain(form: Form, values: Values) -> Asked:
    """The query itself in place of shares, for the fixed interpreter."""
    data = {field.name: values[field.name] for field in form.shared}
    for key in form.keys:
        onehot = np.zeros((*key.rows, key.size), dtype=np.uint64)
        places = values[key.name].astype(np.int64).reshape(key.rows)
        np.put_along_axis(onehot, places[..., None], np.uint64(1), axis=-1)
        data[key.name] = onehot
    return form.asked(data)


def add_up(field: Field, parts: Sequence[bytes]) -> U64:
    """The ring elements of an answer; RangeError where they are of no use."""
    if any(len(part) != field.answer_bytes for part in parts):
        raise ProtocolError(f"a share of the answer has another size than {field.answer_bytes} bytes")
    if not reduce(xor, (part[-1] for part in parts)) & 1:
        raise RangeError(OUT_OF_RANGE)
    shares = (ring.unpack(part[: field.nbytes], field.bits, field.shape) for part in parts)
    total = np.asarray(sum(shares), dtype=np.uint64)
    if not within(field, total):
        raise RangeError(OUT_OF_RANGE)
    return total


def within(field: Field, total: U64) -> bool:
    """Whether an answer keeps what its ring has beyond what was seen; a token is in range."""
    magnitudes = np.abs(ring.signed(total, field.bits))
    return not field.scale or int(magnitudes.max()) < 1 << (field.bits - OWN_BITS)


def answered(field: Field, share: Share, in_range: Share) -> bytes:
    """A party's share of an answer, and of the bit that says whether all ranges were kept."""
    return bytes(ring.pack(share.value, field.bits)) + bytes([int(in_range.value[0])])
