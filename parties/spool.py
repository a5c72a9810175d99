"""One preparation in one file: a block that describes it, the dealer's bytes, then what the program prepared."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from privinf.errors import InputError, ProtocolError
from privinf.parties.mapped import BLOCK, Mapping
from privinf.protocols.program import SEED_BYTES, Identity, PartyProgram, QueryShape, Source

SUFFIX: Final = ".prep"
_PART: Final = ".part"
_MAGIC: Final = "privinf preparation 2"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Record:
    """A preparation: what is known of it besides its bytes."""

    preparation_id: bytes
    shape: QueryShape
    identity: Identity
    nbytes: int
    aside: int = 0  # bytes that the program writes beside those of the dealer
    prepare_seconds: float = 0.0
    seed: bytes = field(default=b"", repr=False)
    epoch: bytes = b""  # of the party 0 that asked for it; empty once a process has ended

    @property
    def room(self) -> int:
        """The bytes that it takes from the store."""
        return self.nbytes + self.aside


Prepare = Callable[[Source, bytes, memoryview], None]  # a program's stage: preparation, seed, what to fill


class SpoolWriter:
    """Takes room for a preparation under a provisional name, and gives it its own when it is complete."""

    def __init__(self, directory: Path, nbytes: int, aside: int) -> None:
        self._directory, self._nbytes = directory, nbytes
        self._aside = aside_span(nbytes, aside)
        self._part = directory / (secrets.token_hex(16) + SUFFIX + _PART)
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def __enter__(self) -> Self:
        # Asks for all the room at once, so that a full disk is known before the dealer begins.
        try:
            os.posix_fallocate(self._descriptor, 0, self._aside[1])
            os.lseek(self._descriptor, BLOCK, os.SEEK_SET)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self._part.unlink(missing_ok=True)

    def fill(self, record: Record, messages: Iterator[bytes], prepare: Prepare) -> Record:
        """Write what the dealer sends, then let the program prepare, to its end; return what is known now."""
        began = time.monotonic()
        seed = next(messages, b"")
        if len(seed) != SEED_BYTES:
            raise ProtocolError(f"the dealer's seed has {len(seed)} bytes, not {SEED_BYTES}")
        self._write(messages)
        if self._aside[0] < self._aside[1]:
            with Mapping(self._descriptor, self._nbytes, self._aside, writable=True) as mapping:
                prepare(mapping.source, seed, mapping.aside)
        return replace(record, seed=seed, prepare_seconds=time.monotonic() - began)

    def publish(self, record: Record) -> None:
        """Describe and name the file: from here on it is a preparation."""
        os.pwrite(self._descriptor, _describe(record), 0)
        self._part.rename(self._directory / spool_name(record.preparation_id))

    def _write(self, messages: Iterator[bytes]) -> None:
        left = self._nbytes
        for message in messages:
            left -= len(message)
            if left < 0:
                raise ProtocolError(f"the dealer sent more than the {self._nbytes} bytes of this preparation")
            view = memoryview(message)
            while view:
                view = view[os.write(self._descriptor, view) :]
        if left:
            raise ProtocolError(f"the dealer sent {self._nbytes - left} of {self._nbytes} bytes")


class Preparation:
    """A claimed preparation, read once from front to back; it has no name on disk any more."""

    def __init__(self, directory: Path, record: Record, release: Callable[[bytes], None]) -> None:
        self.record, self._release = record, release
        path = directory / spool_name(record.preparation_id)
        with path.open("rb") as file:
            self._mapping = Mapping(file.fileno(), record.nbytes, aside_span(record.nbytes, record.aside))
        path.unlink()  # the mapping lives on; a crash leaves nothing behind
        self.read = self._mapping.source.read

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._mapping.source.remaining

    @property
    def aside(self) -> memoryview:
        """What the program wrote beside it, to be read alone."""
        return self._mapping.aside

    def close(self) -> None:
        """Give the room back."""
        self._mapping.close()
        self._release(self.record.preparation_id)


def aside_span(nbytes: int, aside: int) -> tuple[int, int]:
    """Return where in a file what lies beside `nbytes` of preparation begins, on a page, and where it ends."""
    start = BLOCK + -(-nbytes // BLOCK) * BLOCK
    return start, start + aside


def spool_name(preparation_id: bytes) -> str:
    """Return the file name of a preparation."""
    return preparation_id.hex() + SUFFIX


def read_record(path: Path, identity: Identity) -> Record | None:
    """Return what a file of an earlier process holds, or None unless all of it can be trusted."""
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(BLOCK).rstrip(b"\0"))
        record = Record(
            preparation_id=bytes.fromhex(fields["preparation_id"]),
            shape=QueryShape(**fields["shape"]),
            identity=Identity(**fields["identity"]),
            nbytes=int(fields["nbytes"]),
            aside=int(fields["aside"]),
            prepare_seconds=float(fields["prepare_seconds"]),
            seed=bytes.fromhex(fields["seed"]),
        )
        boot, magic = fields["boot"], fields["magic"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = (
        path.stat().st_size == aside_span(record.nbytes, record.aside)[1] and len(record.seed) == SEED_BYTES
    )
    named = path.name == spool_name(record.preparation_id)
    trusted = (magic, record.identity) == (_MAGIC, identity) and boot == _boot()
    return record if whole and named and trusted else None


def sized(record: Record, program: PartyProgram) -> bool:
    """Return whether the program takes just these sizes: they may change though its identity does not."""
    try:
        program.check(record.shape)
    except InputError:
        return False
    shape = record.shape
    return (record.nbytes, record.aside) == (program.prep_bytes(shape), program.aside_bytes(shape))


def _describe(record: Record) -> bytes:
    fields = {
        "magic": _MAGIC,
        "boot": _boot(),
        "preparation_id": record.preparation_id.hex(),
        "shape": asdict(record.shape),
        "identity": asdict(record.identity),
        "nbytes": record.nbytes,
        "aside": record.aside,
        "prepare_seconds": record.prepare_seconds,
        "seed": record.seed.hex(),
    }
    block = json.dumps(fields).encode()
    if len(block) > BLOCK:
        raise ProtocolError("the names of model, plan and task are too long to be stored")
    return block.ljust(BLOCK, b"\0")


def _boot() -> str:
    """Name this start of the machine: files are not synced, so none is trusted after it went down."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return os.urandom(16).hex()
