"""How a query is shared and sent, and how its answer is added up: keys that select rows, and bits; no torch.

A client chooses rows of tables, and bits. The encoding leaves it nothing else: a row is a key that the parties check,
a bit is an element of Z_2, and what the answer is scaled by is not in its hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from privinf.errors import ProtocolError
from privinf.models.programs.keys import Cut, KeyForm
from privinf.protocols import prg, ring
from privinf.protocols.kernels.prg import BLOCK
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import U64, Shape

Values = Mapping[str, U64]  # what each key selects, and bits


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

    def drawn(self, seed: bytes) -> U64:
        """Party 0's share."""
        return prg.elements(seed, f"query/{self.name}", self.shape, self.bits)

    def share(self, data: U64 | None) -> Share:
        return Share(self.shape, self.bits, self.scale, data)


@dataclass(frozen=True)
class Form:
    """What a query consists of, in order."""

    keys: tuple[KeyForm, ...]
    bits: tuple[Field, ...]

    def nbytes(self, party: int) -> int:
        """The query's id and correction words at both; a seed at party 0, roots and differences of bits at party 1."""
        words = prg.QUERY_ID_BYTES + sum(key.words_bytes for key in self.keys)
        if party == 0:
            return prg.SEED_BYTES + words
        return words + sum(key.roots_bytes for key in self.keys) + sum(field.nbytes for field in self.bits)

    def asked(self, data: Mapping[str, U64 | None]) -> Asked:
        """The query as programs take it; without data for roles that follow shapes alone."""
        lookups = {
            key.name: Share((*key.rows, key.size), ring.MAX_BITS, 0, data.get(key.name)) for key in self.keys
        }
        return Asked(lookups, {field.name: field.share(data.get(field.name)) for field in self.bits})


@dataclass(frozen=True, eq=False, repr=False)
class Asked:
    """A query's shares.

    lookups: plus or minus the one-hot of each row (batch, rows, table) modulo 2^64, if the client follows the protocol.
    bits: modulo 2.
    """

    lookups: Mapping[str, Share]
    bits: Mapping[str, Share]


def split(form: Form, values: Values) -> tuple[bytes, bytes]:
    """Both parties' shares of a query, under fresh seeds."""
    seed, named = prg.fresh_seed(), prg.fresh_query_id()
    keys = [key.make(values[key.name].reshape(-1), named, seed) for key in form.keys]
    words, roots = (b"".join(part) for part in zip(*keys, strict=True)) if keys else (b"", b"")
    bits = (ring.pack(values[field.name] - field.drawn(seed), field.bits) for field in form.bits)
    return seed + named + words, b"".join((named, words, roots, *bits))


def parse(form: Form, party: int, query: memoryview) -> Asked:
    """A party's share of a query; the caller has checked its length."""
    cut = Cut(query)
    seed = b"" if party else bytes(cut.take(prg.SEED_BYTES))
    named = bytes(cut.take(prg.QUERY_ID_BYTES))
    words = [cut.blocks(key.words_shape) for key in form.keys]
    roots = [cut.blocks((key.count, BLOCK)) if party else key.own_roots(seed) for key in form.keys]
    data = {
        f.name: ring.unpack(cut.take(f.nbytes), f.bits, f.shape) if party else f.drawn(seed)
        for f in form.bits
    }
    for key, own, both in zip(form.keys, roots, words, strict=True):
        data[key.name] = key.spread(named, party, own, both)
    return form.asked(data)


def plain(form: Form, values: Values) -> Asked:
    """The query itself in place of shares, for the fixed interpreter."""
    data = {field.name: values[field.name] for field in form.bits}
    for key in form.keys:
        onehot = np.zeros((*key.rows, key.size), dtype=np.uint64)
        places = values[key.name].astype(np.int64).reshape(key.rows)
        np.put_along_axis(onehot, places[..., None], np.uint64(1), axis=-1)
        data[key.name] = onehot
    return form.asked(data)


def add_up(field: Field, parts: Sequence[bytes]) -> U64:
    """The ring elements of an answer."""
    if any(len(part) != field.nbytes for part in parts):
        raise ProtocolError(f"a share of the answer has another size than {field.nbytes} bytes")
    return np.asarray(sum(ring.unpack(part, field.bits, field.shape) for part in parts), dtype=np.uint64)
