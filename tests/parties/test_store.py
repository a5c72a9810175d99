"""The preparation store: nothing is used twice, whatever happens in between."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from privinf.errors import ConfigError, MismatchError, Overloaded, ProtocolError
from privinf.parties import spool
from privinf.parties.spent import SpentLog
from privinf.parties.spool import Record
from privinf.parties.store import PreparationStore
from privinf.protocols.program import Identity, QueryShape

IDENTITY = Identity("1", "model", "plan")
SHAPE = QueryShape("echo", 1, 8)
SEED = bytes(range(32))
BODY = b"0123456789" * 50


def record(number: int, nbytes: int = len(BODY), epoch: bytes = b"") -> Record:
    """Return what is known of a preparation that is to come."""
    return Record(bytes([number]) * 16, SHAPE, IDENTITY, nbytes, epoch=epoch)


def opened(folder: Path, max_bytes: int = 10_000, max_count: int = 8) -> PreparationStore:
    """Return a store."""
    return PreparationStore(folder / "store", IDENTITY, max_bytes, max_count)


def stream(*parts: bytes) -> Iterator[bytes]:
    """Return what a dealer sends."""
    return iter(parts)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PreparationStore]:
    """Return a store with preparation 1."""
    made = opened(tmp_path)
    made.receive(record(1), stream(SEED, BODY[:123], BODY[123:]))
    yield made
    made.close()


def test_a_preparation_is_read_once_in_order(store: PreparationStore, tmp_path: Path) -> None:
    preparation = store.claim(bytes([1]) * 16, SHAPE)
    assert preparation.record.seed == SEED
    assert preparation.read(10) == BODY[:10]
    assert preparation.read(0).nbytes == 0
    assert preparation.read(len(BODY) - 10) == BODY[10:]
    with pytest.raises(ProtocolError, match="reads 1 bytes where the preparation has 0"):
        preparation.read(1)
    with pytest.raises(ProtocolError):
        preparation.read(-1)
    assert store.usage().nbytes == len(BODY)
    preparation.close()
    assert store.usage().count == 0


def test_files_are_private_and_gone_once_claimed(store: PreparationStore, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    (path,) = folder.glob("*.prep")
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert {oct(item.stat().st_mode)[-3:] for item in folder.iterdir()} == {"600"}
    preparation = store.claim(bytes([1]) * 16, SHAPE)
    assert not path.exists()
    preparation.close()


def test_a_claim_is_on_disk_before_the_preparation_is_opened(
    store: PreparationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append((tmp_path / "store/spent.log").read_text()))
    monkeypatch.setattr(mmap, "mmap", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
    with pytest.raises(OSError, match="no"):
        store.claim(bytes([1]) * 16, SHAPE)
    assert synced == ["01" * 16 + "\n"]
    with pytest.raises(ProtocolError, match="already spent"):
        store.claim(bytes([1]) * 16, SHAPE)


def test_nothing_is_claimed_or_received_twice(store: PreparationStore) -> None:
    store.claim(bytes([1]) * 16, SHAPE).close()
    with pytest.raises(ProtocolError, match="already spent"):
        store.claim(bytes([1]) * 16, SHAPE)
    with pytest.raises(ProtocolError, match="already spent"):
        store.receive(record(1), stream(SEED, BODY))
    with pytest.raises(MismatchError, match="not held here"):
        store.claim(bytes([2]) * 16, SHAPE)


def test_a_preparation_of_another_shape_is_burnt(store: PreparationStore) -> None:
    with pytest.raises(MismatchError, match="another shape"):
        store.claim(bytes([1]) * 16, replace(SHAPE, tokens=9))
    with pytest.raises(ProtocolError, match="already spent"):
        store.claim(bytes([1]) * 16, SHAPE)
    assert store.usage().count == 0


@pytest.mark.parametrize(
    "parts",
    [(), (SEED,), (SEED[:31], BODY), (SEED, BODY[:-1]), (SEED, BODY, b"x"), (BODY,)],
    ids=["nothing", "no bytes", "short seed", "too few", "too many", "no seed"],
)
def test_what_the_dealer_sends_must_be_exact(
    store: PreparationStore, tmp_path: Path, parts: tuple[bytes, ...]
) -> None:
    with pytest.raises(ProtocolError):
        store.receive(record(2), stream(*parts))
    assert [item.preparation_id for item in store.held()] == [bytes([1]) * 16]
    assert store.usage().nbytes == len(BODY)
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1


def test_a_restart_keeps_the_unspent_alone(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for number in (1, 2, 3, 4):
        first.receive(record(number, epoch=b"e" * 16), stream(SEED, BODY))
    first.claim(bytes([1]) * 16, SHAPE).close()
    first.burn([bytes([2]) * 16])
    first.close()
    folder = tmp_path / "store"
    (folder / ("03" * 16 + ".prep")).rename(folder / ("05" * 16 + ".prep"))  # another's name
    (folder / ("06" * 16 + ".prep.part")).write_bytes(b"half")
    (folder / ("07" * 16 + ".prep")).write_bytes(b"")
    second = opened(tmp_path)
    (held,) = second.held()
    assert (held.preparation_id, held.epoch, held.seed) == (bytes([4]) * 16, b"", SEED)
    assert len(list(folder.glob("*.prep*"))) == 1
    for number in (1, 2):
        with pytest.raises(ProtocolError, match="already spent"):
            second.receive(record(number), stream(SEED, BODY))
    preparation = second.claim(held.preparation_id, SHAPE)
    assert preparation.read(len(BODY)) == BODY
    preparation.close()
    second.close()


def test_another_program_or_another_boot_trusts_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def filled() -> None:
        made = opened(tmp_path)
        if not made.held():
            made.receive(record(len(list(tmp_path.rglob("*"))) + 1), stream(SEED, BODY))
        made.close()

    filled()
    other = PreparationStore(tmp_path / "store", replace(IDENTITY, plan_hash="other"), 10_000, 8)
    assert other.held() == []
    other.close()
    filled()
    monkeypatch.setattr(spool, "_boot", lambda: "another")
    again = opened(tmp_path)
    assert again.held() == []
    again.close()


def test_room_is_bounded_in_bytes_and_number(tmp_path: Path) -> None:
    small = opened(tmp_path / "a", max_bytes=2 * len(BODY))
    small.receive(record(1), stream(SEED, BODY))
    with pytest.raises(Overloaded, match="do not fit"):
        small.receive(record(2, nbytes=len(BODY) + 1), stream(SEED, BODY + b"x"))
    small.receive(record(3), stream(SEED, BODY))
    small.claim(bytes([1]) * 16, SHAPE).close()
    small.receive(record(4), stream(SEED, BODY))
    small.close()
    few = opened(tmp_path / "b", max_count=1)
    few.receive(record(1), stream(SEED, BODY))
    with pytest.raises(Overloaded, match="already holds 1"):
        few.receive(record(2), stream(SEED, BODY))
    few.close()


def test_a_full_disk_is_an_overload(store: PreparationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(Overloaded, match="disk"):
            store.receive(record(2), stream(SEED, BODY))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(Overloaded, match="disk"):
            store.claim(bytes([1]) * 16, SHAPE)
    assert store.usage().count == 0


def test_a_directory_serves_one_process(store: PreparationStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in use"):
        opened(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        opened(tmp_path / "file")


def test_a_torn_line_spends_what_it_may_have_meant(tmp_path: Path) -> None:
    path = tmp_path / "spent.log"
    path.write_text("aa" * 16 + "\n" + "bb" * 3)
    log = SpentLog(path)
    assert b"\xaa" * 16 in log
    assert b"\xbb" * 16 in log
    assert b"\xbc" * 16 not in log
    log.mark(b"\xcc" * 16)
    log.close()
    again = SpentLog(path)
    for byte in (0xAA, 0xBB, 0xCC):
        with pytest.raises(ProtocolError, match="already spent"):
            again.mark(bytes([byte]) * 16)
    again.close()


def test_a_damaged_log_is_no_empty_log(tmp_path: Path) -> None:
    (tmp_path / "spent.log").write_text("zz" * 16 + "\n")
    with pytest.raises(ConfigError, match="damaged"):
        SpentLog(tmp_path / "spent.log")


def test_secrets_do_not_print(store: PreparationStore) -> None:
    (held,) = store.held()
    assert "seed" not in repr(held)
