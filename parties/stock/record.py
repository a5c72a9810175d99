"""The file of one preparation: a block that describes it, the dealer's bytes, what the program prepared, their tags."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from privinf.errors import ProtocolError
from privinf.parties.stock.digest import DIGEST, TAG, blocks, digest_of
from privinf.parties.stock.mapped import BLOCK
from privinf.protocols.contract import SEED_BYTES, Identity, QueryShape, StockSizes

SUFFIX: Final = ".prep"
_MAGIC: Final = "privinf preparation 5"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Record:
    """A preparation: what is known of it besides its bytes."""

    preparation_id: bytes
    shape: QueryShape
    identity: Identity
    sizes: StockSizes
    prepare_seconds: float = 0.0
    seed: bytes = field(default=b"", repr=False)
    epoch: bytes = b""  # of the party 0 that asked for it; empty once a process has ended
    tags: bytes = field(default=b"", repr=False)  # of the dealer's bytes, then of what was computed ahead

    @property
    def room(self) -> int:
        """The bytes that it takes from the disk."""
        return file_bytes(self.sizes)


def precomputed_span(sizes: StockSizes) -> tuple[int, int]:
    """Return where in a file what lies beside the preparation begins, on a page, and where it ends."""
    start = BLOCK + _whole_blocks(sizes.preparation)
    return start, start + sizes.precomputed


def file_bytes(sizes: StockSizes) -> int:
    """Return what a preparation of so many bytes takes from the disk."""
    return _whole_blocks(precomputed_span(sizes)[1] + _tags_bytes(sizes))


def spool_name(preparation_id: bytes) -> str:
    """Return the file name of a preparation."""
    return preparation_id.hex() + SUFFIX


def describe(record: Record) -> bytes:
    """Return the first block of a preparation's file: its own digest, then what is known of the rest."""
    fields = {
        "magic": _MAGIC,
        "boot": _boot(),
        "preparation_id": record.preparation_id.hex(),
        "shape": asdict(record.shape),
        "identity": asdict(record.identity),
        "nbytes": record.sizes.preparation,
        "precomputed": record.sizes.precomputed,
        "prepare_seconds": record.prepare_seconds,
        "seed": record.seed.hex(),
        "tags": digest_of(record.tags).hex(),
    }
    content = json.dumps(fields).encode().ljust(BLOCK - DIGEST, b"\0")
    if len(content) > BLOCK - DIGEST:
        raise ProtocolError("the names of model, plan and task are too long to be stored")
    return digest_of(content) + content


def read_record(path: Path, identity: Identity) -> Record | None:
    """Return what a file of an earlier process holds, or None unless all that is said of it can be trusted."""
    try:
        with path.open("rb") as file:
            fields = _described(file.read(BLOCK))
            sizes = StockSizes(int(fields["nbytes"]), int(fields["precomputed"]))
            file.seek(precomputed_span(sizes)[1])
            tags = file.read()
        record = Record(
            preparation_id=bytes.fromhex(fields["preparation_id"]),
            shape=QueryShape(**fields["shape"]),
            identity=Identity(**fields["identity"]),
            sizes=sizes,
            prepare_seconds=float(fields["prepare_seconds"]),
            seed=bytes.fromhex(fields["seed"]),
            tags=tags,
        )
        boot, magic, digest = fields["boot"], fields["magic"], bytes.fromhex(fields["tags"])
    except (ValueError, KeyError, TypeError):
        return None
    whole = len(tags) == _tags_bytes(sizes) and len(record.seed) == SEED_BYTES
    named = path.name == spool_name(record.preparation_id) and digest == digest_of(tags)
    trusted = (magic, record.identity) == (_MAGIC, identity) and boot == _boot()
    return record if whole and named and trusted else None


def _described(block: bytes) -> dict[str, Any]:
    if block[:DIGEST] != digest_of(block[DIGEST:]):
        raise ValueError("not what was written")
    fields: dict[str, Any] = json.loads(block[DIGEST:].rstrip(b"\0"))
    return fields


def _tags_bytes(sizes: StockSizes) -> int:
    return TAG * (blocks(sizes.preparation) + blocks(sizes.precomputed))


def _whole_blocks(nbytes: int) -> int:
    return -(-nbytes // BLOCK) * BLOCK


def _boot() -> str:
    """Name this start of the machine: files are not synced, so none is trusted after it went down."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return os.urandom(16).hex()
