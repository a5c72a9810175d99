"""The preparation store: nothing is used twice, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from preparations import BODY, IDENTITY, SEED, SHAPE, copied, opened, receive, record, stream

from privinf.errors import ConfigError, MismatchError, Overloaded, ProtocolError
from privinf.parties.stock import mapped
from privinf.parties.stock import record as records
from privinf.parties.stock.record import Record, file_bytes
from privinf.parties.stock.spent import SpentLog
from privinf.parties.stock.spool import Preparation
from privinf.parties.stock.store import PreparationStore, Usage
from privinf.protocols.contract import Source

ROOM = file_bytes(len(BODY), 0)  # of such a preparation


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
    assert store.usage().nbytes == ROOM
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
        receive(store, record(1), stream(SEED, BODY))
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
        receive(store, record(2), stream(*parts))
    assert [item.preparation_id for item in store.held()] == [bytes([1]) * 16]
    assert store.usage().nbytes == ROOM
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
    other = PreparationStore(tmp_path / "store", replace(IDENTITY, plan_hash="other"), 1 << 20, 8)
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
    made = opened(tmp_path, max_bytes=file_bytes(1000, 500))
    with made.place(1000, 500) as place:
        assert made.usage().nbytes == file_bytes(1000, 500)
        assert not made.fits(1)
        with pytest.raises(Overloaded, match="do not fit"), made.place(1, 0):
            raise AssertionError("there was room")
        assert place.record is None
    assert made.usage().count == 0
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
    assert store.usage().nbytes == ROOM
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1
    with pytest.raises(ProtocolError, match="already spent"):
        store.claim(bytes([2]) * 16, SHAPE)


def test_what_is_burnt_while_the_program_prepares_is_dropped(store: PreparationStore) -> None:
    coming: list[list[Record]] = []

    def prepare(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        coming.append(store.coming())
        for _ in range(2):  # said again, it is no error
            store.burn([bytes([2]) * 16])

    with pytest.raises(ProtocolError, match="given up while it came"):
        receive(store, record(2, precomputed=8), stream(SEED, BODY), prepare)
    assert [item.preparation_id for (item,) in coming] == [bytes([2]) * 16]
    assert (len(store.held()), store.coming(), store.usage().count) == (1, [], 1)


def test_what_a_program_prepares_is_kept_with_the_preparation(tmp_path: Path) -> None:
    first = opened(tmp_path)
    kept = receive(first, record(1, precomputed=40), stream(SEED, BODY), copied)
    assert kept.precomputed == 40
    assert first.usage().nbytes == file_bytes(len(BODY), 40)
    first.close()
    again = opened(tmp_path)
    assert again.usage().nbytes == file_bytes(len(BODY), 40)
    with contextlib.closing(again.claim(bytes([1]) * 16, SHAPE)) as preparation:
        assert preparation.precomputed == SEED + BODY[-8:]
        assert preparation.read(len(BODY)) == BODY
        assert preparation.precomputed.readonly
    assert again.usage().count == 0
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
    assert (len(store.held()), store.usage().count) == (1, 1)
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1


def test_room_for_what_is_put_aside_counts(tmp_path: Path) -> None:
    made = opened(tmp_path, max_bytes=ROOM - 1)
    with pytest.raises(Overloaded, match="do not fit"):
        receive(made, record(1, precomputed=40), stream(SEED, BODY), copied)
    made.close()


def test_pages_that_were_read_are_let_go_and_stay_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = mmap.PAGESIZE
    monkeypatch.setattr(mapped, "_BEHIND", 4 * page)
    monkeypatch.setattr(mapped, "_STEP", 2 * page)
    body = os.urandom(512 * page)
    made = opened(tmp_path, max_bytes=file_bytes(len(body), 0))
    receive(made, record(1, len(body)), stream(SEED, body))
    with contextlib.closing(made.claim(bytes([1]) * 16, SHAPE)) as preparation:
        views = []
        for offset in range(0, len(body), page // 2):
            views.append(preparation.read(page // 2))
            assert views[-1] == body[offset : offset + page // 2]
        assert _resident_pages(preparation) < 64  # the kernel maps some around each that is touched
        assert b"".join(views) == body
        assert _resident_pages(preparation) > 448
    made.close()


def _resident_pages(preparation: Preparation) -> int:
    """Count the pages of a deleted preparation that this process has mapped."""
    pages, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            inside = preparation.record.preparation_id.hex() in line
        elif inside and line.startswith("Rss:"):
            pages += int(line.split()[1]) * 1024 // mmap.PAGESIZE
    return pages


def test_a_full_disk_is_an_overload(store: PreparationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(Overloaded, match="disk"):
            receive(store, record(2), stream(SEED, BODY))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(Overloaded, match="disk"):
            store.claim(bytes([1]) * 16, SHAPE)
    assert store.usage().count == 0


def test_what_is_burnt_on_a_full_disk_gives_its_room_back(
    store: PreparationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    for number in (2, 3):
        receive(store, record(number), stream(SEED, BODY))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(Overloaded, match="disk"):
            store.burn([bytes([2]) * 16, bytes([3]) * 16])
    assert [item.preparation_id for item in store.held()] == [bytes([1]) * 16]
    assert store.usage().nbytes == ROOM
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1
    for number in (2, 3):
        with pytest.raises(ProtocolError, match="already spent"):
            store.claim(bytes([number]) * 16, SHAPE)


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


@pytest.mark.parametrize("name", ["posix_fallocate", "pwrite", "replace"])
def test_a_disk_that_is_full_at_the_start_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The log has grown long and is folded into a table, for which there is no room."""
    monkeypatch.setattr("privinf.parties.stock.spent._LINES", 1)
    opened(tmp_path).close()
    lines = "".join(f"{number:032x}\n" for number in range(3))
    (tmp_path / "store" / "spent.log").write_text(lines)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, full)
        with pytest.raises(ConfigError, match="No space left on device: free space") as refused:
            opened(tmp_path)
    assert refused.value.exit_code == 78
    again = opened(tmp_path)  # nothing is lost, and nobody holds the folder
    assert all(number.to_bytes(16, "big") in again._spent for number in range(3))
    again.close()


def test_a_damaged_log_is_no_empty_log(tmp_path: Path) -> None:
    (tmp_path / "spent.log").write_text("zz" * 16 + "\n")
    with pytest.raises(ConfigError, match="damaged"):
        SpentLog(tmp_path / "spent.log")


def test_secrets_do_not_print(store: PreparationStore) -> None:
    (held,) = store.held()
    assert "seed" not in repr(held)


def test_a_line_torn_by_a_full_disk_is_written_out_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for a while, in the middle of an id; the log is read again after a restart."""
    log, write, room = SpentLog(tmp_path / "spent.log"), os.write, [5]

    def short(descriptor: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[: room.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(OSError, match="full"):
            log.mark(bytes([7]) * 16)
    log.mark(bytes([8]) * 16)
    log.close()
    assert (tmp_path / "spent.log").read_text() == "07" * 16 + "\n" + "08" * 16 + "\n"
    again = SpentLog(tmp_path / "spent.log")
    assert bytes([7]) * 16 in again
    assert bytes([8]) * 16 in again
    assert bytes([9]) * 16 not in again
    again.close()


LARGE = 1 << 22


def _claimed_large(folder: Path) -> tuple[PreparationStore, Preparation, int]:
    """Return a store, a large preparation of it that is claimed, and a descriptor of its file."""
    made = opened(folder, max_bytes=file_bytes(LARGE, 0))
    receive(made, record(1, LARGE), stream(SEED, *[bytes(1 << 20)] * 4))
    (path,) = (folder / "store").glob("*.prep")
    descriptor = os.open(path, os.O_RDONLY)
    return made, made.claim(bytes([1]) * 16, SHAPE), descriptor


def test_a_used_file_gives_its_disk_back_though_arrays_still_look_at_it(tmp_path: Path) -> None:
    made, preparation, descriptor = _claimed_large(tmp_path)
    view = np.frombuffer(preparation.read(LARGE), dtype=np.uint64)
    assert os.fstat(descriptor).st_blocks * 512 >= LARGE
    preparation.close()
    assert os.fstat(descriptor).st_blocks * 512 < LARGE // 16
    assert made.usage() == Usage(0, 0)
    assert not view.any()  # no mask any more, and no fault
    os.close(descriptor)
    made.close()


def test_where_the_disk_takes_nothing_back_a_used_file_counts_until_the_last_view_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "REMOVE", 1 << 20)  # no advice that the system knows
    made, preparation, descriptor = _claimed_large(tmp_path)
    view = preparation.read(LARGE)
    preparation.close()
    assert (made.usage().nbytes, made.fits(1)) == (file_bytes(LARGE, 0), False)
    del view, preparation
    assert made.usage() == Usage(0, 0)
    os.close(descriptor)
    made.close()


def test_a_failed_program_that_holds_on_to_a_preparation_keeps_no_disk(tmp_path: Path) -> None:
    held: list[memoryview] = []
    files: list[int] = []

    def failing(prep: Source, seed: bytes, precomputed: memoryview) -> None:
        held.append(prep.read(LARGE))
        (path,) = (tmp_path / "store").glob("*.part")
        files.append(os.open(path, os.O_RDONLY))
        raise ValueError("in the program")

    made = opened(tmp_path, max_bytes=file_bytes(LARGE, 40))
    with pytest.raises(ValueError, match="in the program"):
        receive(made, record(1, LARGE, precomputed=40), stream(SEED, *[bytes(1 << 20)] * 4), failing)
    assert made.usage() == Usage(0, 0)
    assert os.fstat(files[0]).st_blocks * 512 < LARGE // 16
    os.close(files[0])
    made.close()
