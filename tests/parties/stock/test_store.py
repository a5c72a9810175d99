"""The preparation store: nothing is used twice, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from preparations import BODY, IDENTITY, SEED, SHAPE, copied, opened, receive, record, stream

from privinf.errors import ConfigError, MismatchError, Overloaded, ProtocolError
from privinf.parties.stock import record as records
from privinf.parties.stock.record import Record, file_bytes
from privinf.parties.stock.room import Limits
from privinf.parties.stock.spent import SpentLog
from privinf.parties.stock.store import PreparationStore
from privinf.protocols.contract import Source, StockSizes

ROOM = file_bytes(StockSizes(len(BODY), 0))  # of such a preparation


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PreparationStore]:
    """Return a store with preparation 1."""
    made = opened(tmp_path)
    receive(made, record(1), stream(SEED, BODY[:123], BODY[123:]))
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
    assert store.usage() == ROOM
    preparation.close()
    assert store.usage() == 0


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
        receive(store, record(1), stream(SEED, BODY))
    with pytest.raises(MismatchError, match="not held here"):
        store.claim(bytes([2]) * 16, SHAPE)


def test_a_preparation_of_another_shape_is_burnt(store: PreparationStore) -> None:
    with pytest.raises(MismatchError, match="another shape"):
        store.claim(bytes([1]) * 16, replace(SHAPE, tokens=9))
    with pytest.raises(ProtocolError, match="already spent"):
        store.claim(bytes([1]) * 16, SHAPE)
    assert store.usage() == 0


@pytest.mark.parametrize(
    "parts",
    [(), (SEED,), (SEED[:31], BODY), (SEED, BODY[:-1]), (SEED, BODY, b"x"), (BODY,)],
    ids=["nothing", "no bytes", "short seed", "too few", "too many", "no seed"],
)
def test_what_the_dealer_sends_must_be_exact(
    store: PreparationStore, tmp_path: Path, parts: tuple[bytes, ...]
) -> None:
    with pytest.raises(ProtocolError):
        receive(store, record(2), stream(*parts))
    assert [item.preparation_id for item in store.held()] == [bytes([1]) * 16]
    assert store.usage() == ROOM
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1


def test_a_restart_keeps_the_unspent_alone(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for number in (1, 2, 3, 4):
        receive(first, record(number, epoch=b"e" * 16), stream(SEED, BODY))
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
            receive(second, record(number), stream(SEED, BODY))
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
            receive(made, record(len(list(tmp_path.rglob("*"))) + 1), stream(SEED, BODY))
        made.close()

    filled()
    other = PreparationStore(tmp_path / "store", replace(IDENTITY, plan_hash="other"), Limits(1 << 20, 8))
    assert other.held() == []
    other.close()
    filled()
    monkeypatch.setattr(records, "_boot", lambda: "another")
    again = opened(tmp_path)
    assert again.held() == []
    again.close()


def test_room_is_bounded_in_bytes_and_number(tmp_path: Path) -> None:
    small = opened(tmp_path / "a", max_bytes=2 * ROOM)
    receive(small, record(1), stream(SEED, BODY))
    with pytest.raises(Overloaded, match="do not fit"):
        receive(small, record(2, nbytes=4097), stream(SEED, bytes(4097)))
    receive(small, record(3), stream(SEED, BODY))
    small.claim(bytes([1]) * 16, SHAPE).close()
    receive(small, record(4), stream(SEED, BODY))
    small.close()
    few = opened(tmp_path / "b", max_count=1)
    receive(few, record(1), stream(SEED, BODY))
    with pytest.raises(Overloaded, match="already holds 1"):
        receive(few, record(2), stream(SEED, BODY))
    few.close()


def test_room_is_taken_before_anybody_is_asked(tmp_path: Path) -> None:
    made = opened(tmp_path, max_bytes=file_bytes(StockSizes(1000, 500)))
    with made.place(StockSizes(1000, 500)) as place:
        assert made.usage() == file_bytes(StockSizes(1000, 500))
        assert not made.fits(1)
        with pytest.raises(Overloaded, match="do not fit"), made.place(StockSizes(1)):
            raise AssertionError("there was room")
        assert place.record is None
    assert made.usage() == 0
    assert not list((tmp_path / "store").glob("*.prep*"))
    made.close()


def test_what_is_burnt_while_it_comes_is_dropped(store: PreparationStore, tmp_path: Path) -> None:
    asked: list[int] = []

    def messages() -> Iterator[bytes]:
        yield SEED
        yield BODY[:10]
        store.burn([bytes([2]) * 16])
        for index in range(10, len(BODY)):
            asked.append(index)
            yield BODY[index : index + 1]

    with pytest.raises(ProtocolError, match="given up while it came"):
        receive(store, record(2), messages())
    assert len(asked) == 1  # the rest was not waited for
    assert [item.preparation_id for item in store.held()] == [bytes([1]) * 16]
    assert store.usage() == ROOM
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1
    with pytest.raises(MismatchError, match="given up"):
        store.claim(bytes([2]) * 16, SHAPE)
    with pytest.raises(ProtocolError, match="already spent"):
        receive(store, record(2), stream(SEED, BODY))


def test_what_is_burnt_while_the_program_prepares_is_dropped(store: PreparationStore) -> None:
    coming: list[list[Record]] = []

    def prepare(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        coming.append(store.coming())
        for _ in range(2):  # said again, it is no error
            store.burn([bytes([2]) * 16])

    with pytest.raises(ProtocolError, match="given up while it came"):
        receive(store, record(2, precomputed=8), stream(SEED, BODY), prepare)
    assert [item.preparation_id for (item,) in coming] == [bytes([2]) * 16]
    assert (len(store.held()), store.coming(), store.usage()) == (1, [], ROOM)


def test_what_a_program_prepares_is_kept_with_the_preparation(tmp_path: Path) -> None:
    first = opened(tmp_path)
    kept = receive(first, record(1, precomputed=40), stream(SEED, BODY), copied)
    assert kept.sizes.precomputed == 40
    assert first.usage() == file_bytes(StockSizes(len(BODY), 40))
    first.close()
    again = opened(tmp_path)
    assert again.usage() == file_bytes(StockSizes(len(BODY), 40))
    with contextlib.closing(again.claim(bytes([1]) * 16, SHAPE)) as preparation:
        assert preparation.precomputed == SEED + BODY[-8:]
        assert preparation.read(len(BODY)) == BODY
        assert preparation.precomputed.readonly
    assert again.usage() == 0
    again.close()


def test_what_was_put_aside_must_be_whole_after_a_restart(tmp_path: Path) -> None:
    first = opened(tmp_path)
    receive(first, record(1, precomputed=40), stream(SEED, BODY), copied)
    first.close()
    (path,) = (tmp_path / "store").glob("*.prep")
    os.truncate(path, path.stat().st_size - 1)
    again = opened(tmp_path)
    assert again.held() == []
    again.close()


def test_nothing_is_left_of_a_preparation_that_the_program_fails_on(
    store: PreparationStore, tmp_path: Path
) -> None:
    def failing(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        precomputed[:] = bytes(len(precomputed))
        raise ValueError("in the program")

    with pytest.raises(ValueError, match="in the program"):
        receive(store, record(2, precomputed=40), stream(SEED, BODY), failing)
    assert (len(store.held()), store.usage()) == (1, ROOM)
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1


def test_room_for_what_is_put_aside_counts(tmp_path: Path) -> None:
    made = opened(tmp_path, max_bytes=ROOM - 1)
    with pytest.raises(Overloaded, match="do not fit"):
        receive(made, record(1, precomputed=40), stream(SEED, BODY), copied)
    made.close()


def test_a_directory_serves_one_process(store: PreparationStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in use"):
        opened(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        opened(tmp_path / "file")


@pytest.mark.parametrize("torn", ["b", "bb" * 3, "b" * 31, "\0", "bbb\0\0", "\0\0bbb"])
def test_a_torn_line_is_cut_and_spends_nothing(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "spent.log"
    path.write_text("aa" * 16 + "\n" + torn)
    log = SpentLog(path)
    assert path.read_text() == "aa" * 16 + "\n"
    log.mark(b"\xbb" * 16)
    log.mark(b"\xcc" * 16)
    log.close()
    assert path.read_text().split() == ["aa" * 16, "bb" * 16, "cc" * 16]
    again = SpentLog(path)
    for byte in (0xAA, 0xBB, 0xCC):
        with pytest.raises(ProtocolError, match="already spent"):
            again.mark(bytes([byte]) * 16)
    again.close()


def test_a_whole_id_whose_line_has_no_end_stays_spent(tmp_path: Path) -> None:
    path = tmp_path / "spent.log"
    path.write_text("aa" * 16)
    for _ in range(2):
        log = SpentLog(path)
        assert b"\xaa" * 16 in log
        log.close()
    assert path.read_text() == "aa" * 16 + "\n"


def test_a_damaged_log_is_no_empty_log(tmp_path: Path) -> None:
    (tmp_path / "spent.log").write_text("zz" * 16 + "\n")
    with pytest.raises(ConfigError, match="damaged"):
        SpentLog(tmp_path / "spent.log")


def test_secrets_do_not_print(store: PreparationStore) -> None:
    (held,) = store.held()
    assert "seed" not in repr(held)
