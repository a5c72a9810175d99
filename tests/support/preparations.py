"""What the tests of a store share: a preparation, the dealer's messages of it, and a store for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from privinf.parties.stock.arrival import Prepare
from privinf.parties.stock.digest import Tally
from privinf.parties.stock.record import Record
from privinf.parties.stock.room import Limits
from privinf.parties.stock.store import PreparationStore
from privinf.protocols.contract import Identity, QueryShape, Source, StockSizes

IDENTITY = Identity("1", "echo", "model", "plan")
SHAPE = QueryShape("echo", 1, 8)
SEED = bytes(range(32))
BODY = b"0123456789" * 50


def record(number: int, nbytes: int = len(BODY), epoch: bytes = b"", precomputed: int = 0) -> Record:
    """Return what is known of a preparation that is to come."""
    return Record(bytes([number]) * 16, SHAPE, IDENTITY, StockSizes(nbytes, precomputed), epoch=epoch)


def nothing(prep: Source, seed: bytes, precomputed: memoryview) -> None:
    """Compute nothing ahead; never called, because there is no room for it."""
    raise AssertionError


def receive(
    store: PreparationStore, coming: Record, messages: Iterator[bytes], prepare: Prepare = nothing
) -> Record:
    """Take room for a preparation and store it."""
    with store.place(coming.sizes) as place:
        return store.receive(place, coming, stated(messages), prepare)


def stated(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Let a dealer's messages pass, and end them with their digest."""
    for seed in messages:
        yield seed
        tally = Tally(seed.ljust(32))
        for message in messages:
            tally.update(message)
            yield message
        yield tally.digest()


def opened(
    folder: Path, max_bytes: int = 1 << 20, max_count: int = 8, in_memory: int = 0
) -> PreparationStore:
    """Return a store."""
    return PreparationStore(folder / "store", IDENTITY, Limits(max_bytes, max_count, in_memory, in_memory))


def stream(*parts: bytes) -> Iterator[bytes]:
    """Return what a dealer sends."""
    return iter(parts)


def copied(prep: Source, seed: bytes, precomputed: memoryview) -> None:
    """Put precomputed the seed and the end of the preparation."""
    with pytest.raises(TypeError):
        prep.read(3)[:] = b"xyz"
    precomputed[:] = seed + bytes(prep.read(len(BODY) - 3))[-8:]
