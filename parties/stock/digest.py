"""Digests of preparations: what was dealt is what is stored, and what is stored is what is used.

Each block has a tag of 16 bytes, XXH3 of 128 bits, seeded from the half's own seed, the part and the block's number, so
that a block in another's place is found as well; the digest of a half is BLAKE2b of its tags. This finds accidents, on
disk, on the way and in memory. It is no defence against somebody who can write the store: the seed lies there too.
"""

from __future__ import annotations

import hashlib
from typing import Final

from xxhash import xxh3_128, xxh3_128_digest

from privinf.errors import DamagedPreparation, ProtocolError
from privinf.protocols.contract import SEED_BYTES, Buffer

BLOCK: Final = 1 << 20
TAG: Final = 16
DIGEST: Final = 32
STREAM, PRECOMPUTED = 0, 1  # what a tag is of: no two blocks of a half share a seed


class Tally:
    """The tags of what comes after a seed, taken as it passes by."""

    def __init__(self, seed: bytes, part: int = STREAM) -> None:
        if len(seed) != SEED_BYTES:
            raise ProtocolError(f"the dealer's seed has {len(seed)} bytes, not {SEED_BYTES}")
        self._first = _first(seed, part)
        self._tags = bytearray()
        self._begin()

    def update(self, piece: Buffer) -> None:
        """Take in what comes next."""
        view = memoryview(piece)
        while view:
            taken, view = view[: self._left], view[self._left :]
            self._block.update(taken)
            self._left -= len(taken)
            if not self._left:
                self._tags += self._block.digest()
                self._begin()

    def tags(self) -> bytes:
        """Return the tags of all that came."""
        last = self._block.digest() if self._left < BLOCK else b""
        return bytes(self._tags) + last

    def digest(self) -> bytes:
        """Return the digest of all that came."""
        return digest_of(self.tags())

    def compare(self, stated: bytes) -> None:
        """Raise DamagedPreparation unless all that came has this digest, as its sender states."""
        if len(stated) != DIGEST:
            raise ProtocolError(f"{len(stated)} bytes where the dealer's digest was due")
        if stated != self.digest():
            raise DamagedPreparation("a preparation was changed on its way from the dealer")

    def _begin(self) -> None:
        """Begin a block; so many of its bytes are left to come."""
        self._left, self._block = BLOCK, xxh3_128(seed=self._first ^ len(self._tags) // TAG)


class Checked:
    """Bytes that are compared with their tags, block by block, before they are used."""

    def __init__(self, view: memoryview, seed: bytes, tags: bytes, part: int = STREAM) -> None:
        if len(tags) != TAG * blocks(len(view)):
            raise DamagedPreparation("a preparation lacks digests")
        self._view, self._tags = view, tags
        self._first, self._done = _first(seed, part), 0

    def up_to(self, end: int) -> None:
        """Compare what lies before `end` and was not compared yet; raise DamagedPreparation if it was changed."""
        while self._done < end:
            number = self._done // BLOCK
            block = self._view[self._done : self._done + BLOCK]
            tag = xxh3_128_digest(block, seed=self._first ^ number)
            if tag != self._tags[TAG * number : TAG * (number + 1)]:
                raise DamagedPreparation("a stored preparation was changed")
            self._done += len(block)


def blocks(nbytes: int) -> int:
    """Return how many blocks, and so tags, so many bytes have."""
    return -(-nbytes // BLOCK)


def digest_of(content: Buffer) -> bytes:
    """Return the digest of tags, or of whatever is short."""
    return hashlib.blake2b(content, digest_size=DIGEST).digest()


def _first(seed: bytes, part: int) -> int:
    """Return the seed of a part's first block; that of each further one is this with its number added bit by bit."""
    drawn = hashlib.blake2b(bytes([part]), key=seed, digest_size=8, person=b"privinf digest").digest()
    return int.from_bytes(drawn, "little")
