"""One preparation in one file: a block that describes it, then its bytes, mapped into memory to be read."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from privinf.errors import ProtocolError
from privinf.protocols.program import SEED_BYTES, Identity, QueryShape

SUFFIX: Final = ".prep"
_PART: Final = ".part"
_BLOCK: Final = 4096  # before the bytes, so that these start on a page
_MAGIC: Final = "privinf preparation 1"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Record:
    """A preparation: what is known of it besides its bytes."""

    preparation_id: bytes
    shape: QueryShape
    identity: Identity
    nbytes: int
    prepare_seconds: float = 0.0
    seed: bytes = field(default=b"", repr=False)
    epoch: bytes = b""  # of the party 0 that asked for it; empty once a process has ended


class SpoolWriter:
    """Writes a preparation under a provisional name, and gives it its own when it is complete."""

    def __init__(self, directory: Path, record: Record) -> None:
        self._record, self._started, self._written = record, time.monotonic(), 0
        self._path = directory / spool_name(record.preparation_id)
        self._part = self._path.with_suffix(SUFFIX + _PART)
        self._descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def __enter__(self) -> SpoolWriter:
        # Asks for all the room at once, so that a full disk is known before the dealer begins.
        try:
            os.posix_fallocate(self._descriptor, 0, _BLOCK + self._record.nbytes)
            os.lseek(self._descriptor, _BLOCK, os.SEEK_SET)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self._part.unlink(missing_ok=True)

    def write(self, message: bytes) -> None:
        """Append what the dealer sent."""
        self._written += len(message)
        if self._written > self._record.nbytes:
            raise ProtocolError(
                f"the dealer sent more than the {self._record.nbytes} bytes of this preparation"
            )
        view = memoryview(message)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self, seed: bytes) -> Record:
        """Describe and name the file; raise ProtocolError if bytes are missing."""
        if self._written != self._record.nbytes:
            raise ProtocolError(f"the dealer sent {self._written} of {self._record.nbytes} bytes")
        seconds = time.monotonic() - self._started
        complete = replace(self._record, seed=seed, prepare_seconds=seconds)
        os.pwrite(self._descriptor, _describe(complete), 0)
        self._part.rename(self._path)
        return complete


class Preparation:
    """A claimed preparation, read once from front to back; it has no name on disk any more."""

    def __init__(self, directory: Path, record: Record, release: Callable[[bytes], None]) -> None:
        self.record, self._release = record, release
        path = directory / spool_name(record.preparation_id)
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), _BLOCK + record.nbytes, access=mmap.ACCESS_READ)
        path.unlink()  # the mapping lives on; a crash leaves nothing behind
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        self._view, self._next = memoryview(self._map)[_BLOCK:], 0

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self.record.nbytes - self._next

    def read(self, nbytes: int) -> memoryview:
        """Return the next `nbytes`, in place."""
        if not 0 <= nbytes <= self.remaining:
            raise ProtocolError(
                f"the program reads {nbytes} bytes where the preparation has {self.remaining}"
            )
        self._next += nbytes
        return self._view[self._next - nbytes : self._next]

    def close(self) -> None:
        """Give the room back."""
        self._view.release()
        with contextlib.suppress(BufferError):  # an array of the program still looks at it: freed with that
            self._map.close()
        self._release(self.record.preparation_id)


def spool_name(preparation_id: bytes) -> str:
    """Return the file name of a preparation."""
    return preparation_id.hex() + SUFFIX


def read_record(path: Path, identity: Identity) -> Record | None:
    """Return what a file of an earlier process holds, or None unless all of it can be trusted."""
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(_BLOCK).rstrip(b"\0"))
        record = Record(
            preparation_id=bytes.fromhex(fields["preparation_id"]),
            shape=QueryShape(**fields["shape"]),
            identity=Identity(**fields["identity"]),
            nbytes=int(fields["nbytes"]),
            prepare_seconds=float(fields["prepare_seconds"]),
            seed=bytes.fromhex(fields["seed"]),
        )
        boot, magic = fields["boot"], fields["magic"]
    except (ValueError, KeyError, TypeError):
        return None
    whole = path.stat().st_size == _BLOCK + record.nbytes and len(record.seed) == SEED_BYTES
    named = path.name == spool_name(record.preparation_id)
    trusted = (magic, record.identity) == (_MAGIC, identity) and boot == _boot()
    return record if whole and named and trusted else None


def _describe(record: Record) -> bytes:
    fields = {
        "magic": _MAGIC,
        "boot": _boot(),
        "preparation_id": record.preparation_id.hex(),
        "shape": asdict(record.shape),
        "identity": asdict(record.identity),
        "nbytes": record.nbytes,
        "prepare_seconds": record.prepare_seconds,
        "seed": record.seed.hex(),
    }
    block = json.dumps(fields).encode()
    if len(block) > _BLOCK:
        raise ProtocolError("the names of model, plan and task are too long to be stored")
    return block.ljust(_BLOCK, b"\0")


def _boot() -> str:
    """Name this start of the machine: files are not synced, so none is trusted after it went down."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return os.urandom(16).hex()
