"""The only source of randomness: AES-128-CTR under a key and a first counter per (seed, name); and trees' public keys.

A tree's nodes are hashed under public AES keys. Those of one gate of one preparation serve nobody else, so that who
guesses a seed tries it against the trees of that gate alone. A stream begins at a counter that is as secret as its
key, so that a guess is tried against one stream.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import numpy.typing as npt

from privinf.protocols import ring
from privinf.protocols.kernels import Kernels, default
from privinf.protocols.kernels.prg import STREAM_KEY_BYTES, TREE_BYTES
from privinf.protocols.ring import U64, Shape

SEED_BYTES = 32
QUERY_ID_BYTES = 16


def fresh_seed() -> bytes:
    """A new 256-bit seed from the operating system."""
    return secrets.token_bytes(SEED_BYTES)


def fresh_query_id() -> bytes:
    """A new name of a query, which both parties are told, for the keys of the trees in it."""
    return fresh_seed()[:QUERY_ID_BYTES]


def stream_key(seed: bytes, name: str) -> bytes:
    """A 128-bit AES key and the first counter under it, bound to the seed and the whole name."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes")
    return hashlib.blake2b(
        name.encode(), key=seed, digest_size=STREAM_KEY_BYTES, person=b"privinf prf v2"
    ).digest()


def elements(seed: bytes, name: str, shape: Shape, bits: int, kernels: Kernels | None = None) -> U64:
    """Uniform elements of Z_2^bits; shape and width are part of the name, so no two rings share a mask."""
    size = ring.size_of(shape)
    label = f"{name}|{bits}|{'x'.join(map(str, shape))}"
    kernels = kernels or default()
    raw = kernels.stream(stream_key(seed, label), size * ring.element_bytes(bits))
    return kernels.spread(raw, bits, size).reshape(shape)


def roots(seed: bytes, name: str, count: int, kernels: Kernels | None = None) -> npt.NDArray[np.uint8]:
    """`count` root seeds of function-secret-sharing keys, 16 bytes each."""
    key = stream_key(seed, f"{name}|roots|{count}")
    return (kernels or default()).stream(key, 16 * count).reshape(count, 16)


def dealt_tree(preparation: bytes, name: str) -> bytes:
    """Public AES keys of the trees that the dealer makes for one gate of one preparation."""
    return _tree(b"dealt", preparation, name)


def sent_tree(query: bytes, name: str) -> bytes:
    """Public AES keys of the trees that a client makes for one field of one query, which `query` names."""
    return _tree(b"sent", query, name)


def _tree(maker: bytes, owner: bytes, name: str) -> bytes:
    if not owner:
        raise ValueError("the keys of a tree belong to a preparation or a query: its id is missing")
    parts = (b"privinf tree keys 2", maker, owner, name.encode())
    return hashlib.shake_256(b"".join(len(part).to_bytes(4, "little") + part for part in parts)).digest(
        TREE_BYTES
    )
