"""One preparation on its way into its file, and out of it again."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from privinf.errors import DamagedPreparation, InputError, ProtocolError
from privinf.parties.served import QUERIES, served
from privinf.parties.stock.digest import PRECOMPUTED, TAG, Checked, Tally, blocks
from privinf.parties.stock.mapped import BLOCK, Mapping
from privinf.parties.stock.record import SUFFIX, Record, describe, file_bytes, precomputed_span, spool_name
from privinf.protocols.contract import PartyQueries, Source, StockSizes

Prepare = Callable[[Source, bytes, memoryview], None]  # a program's stage: preparation, seed, what to fill


class SpoolWriter:
    """Takes room for a preparation under a provisional name, and gives it its own when it is complete."""

    def __init__(self, directory: Path, sizes: StockSizes) -> None:
        self._directory, self._nbytes, self._room = directory, sizes.preparation, file_bytes(sizes)
        self._precomputed = precomputed_span(sizes)
        self._part = directory / (secrets.token_hex(16) + SUFFIX + ".part")
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def take_room(self) -> None:
        """Ask for all of it at once, so that a full disk is known before the dealer begins."""
        os.posix_fallocate(self._descriptor, 0, self._room)
        os.lseek(self._descriptor, BLOCK, os.SEEK_SET)

    def close(self) -> None:
        """End the file, which is gone unless it was published."""
        os.close(self._descriptor)
        self._part.unlink(missing_ok=True)

    def fill(self, record: Record, messages: Iterator[bytes], prepare: Prepare) -> Record:
        """Write what the dealer sends, then let the program prepare, to its end; return what is known now."""
        began = time.monotonic()
        seed = next(messages, b"")
        tags = self._write(messages, Tally(seed))
        if self._precomputed[0] < self._precomputed[1]:
            tags += self._prepare(prepare, seed)
        return replace(record, seed=seed, tags=tags, prepare_seconds=time.monotonic() - began)

    def publish(self, record: Record) -> None:
        """Describe and name the file: from here on it is a preparation."""
        os.pwrite(self._descriptor, record.tags, self._precomputed[1])
        os.ftruncate(self._descriptor, self._precomputed[1] + len(record.tags))
        os.pwrite(self._descriptor, describe(record), 0)
        self._part.rename(self._directory / spool_name(record.preparation_id))

    def _prepare(self, prepare: Prepare, seed: bytes) -> bytes:
        """Have the program fill what was computed ahead; return the tags of that."""
        mapping = Mapping(self._descriptor, self._nbytes, self._precomputed, writable=True)
        try:
            prepare(mapping, seed, mapping.precomputed)
            tally = Tally(seed, PRECOMPUTED)
            tally.update(mapping.precomputed)
        except BaseException:
            mapping.erase(lambda: None)
            raise
        mapping.close()
        return tally.tags()

    def _write(self, messages: Iterator[bytes], tally: Tally) -> bytes:
        """Write exactly the bytes due, and compare them with the digest that ends them; return their tags."""
        left = self._nbytes
        while left:
            message = next(messages, None)
            if message is None:
                raise ProtocolError(f"the dealer sent {self._nbytes - left} of {self._nbytes} bytes")
            if not message:
                raise ProtocolError("the dealer sent an empty message")
            left -= len(message)
            if left < 0:
                raise ProtocolError(f"the dealer sent more than the {self._nbytes} bytes of this preparation")
            tally.update(message)
            view = memoryview(message)
            while view:
                view = view[os.write(self._descriptor, view) :]
        tally.compare(next(messages, b""))
        if next(messages, None) is not None:
            raise ProtocolError(f"the dealer sent more than the {self._nbytes} bytes of this preparation")
        return tally.tags()


class Preparation:
    """A claimed preparation, read once from front to back; it has no name on disk any more.

    What it hands out was compared with its tags: DamagedPreparation is raised in place of a byte that was changed.
    """

    def __init__(self, directory: Path, record: Record, release: Callable[[bytes], None]) -> None:
        self.record, self._release = record, release
        path = directory / spool_name(record.preparation_id)
        span = precomputed_span(record.sizes)
        try:
            # What is not writable could not be erased; the mapping is read alone.
            with path.open("r+b") as file:
                self._mapping = Mapping(file.fileno(), record.sizes.preparation, span)
        except (FileNotFoundError, ValueError) as error:  # gone, or cut short
            raise DamagedPreparation("a stored preparation cannot be read") from error
        path.unlink()  # the mapping lives on; a crash leaves nothing behind
        middle = TAG * blocks(record.sizes.preparation)
        self._precomputed_tags = record.tags[middle:]
        self._mapping.checked = Checked(self._mapping.stream, record.seed, record.tags[:middle])
        self.read = self._mapping.read

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._mapping.remaining

    @property
    def precomputed(self) -> memoryview:
        """What the program wrote beside it, to be read alone; compared as a whole, it is a small part."""
        whole = self._mapping.precomputed
        Checked(whole, self.record.seed, self._precomputed_tags, PRECOMPUTED).up_to(len(whole))
        return whole

    def close(self) -> None:
        """Give the room back, also if the program that failed is not yet forgotten."""
        self._mapping.erase(partial(self._release, self.record.preparation_id))


def sized(record: Record, queries: PartyQueries | None) -> bool:
    """Return whether the program takes just these sizes: they may change though its identity does not."""
    try:
        return record.sizes == served(queries, QUERIES).stock_sizes(record.shape)
    except InputError:
        return False
