"""What the store takes of the disk: none that is full, and what was used is given back at once."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from preparations import BODY, SEED, SHAPE, opened, receive, record, stream

from privinf.errors import ConfigError, MismatchError, Overloaded, ProtocolError
from privinf.parties.stock import mapped
from privinf.parties.stock.record import file_bytes
from privinf.parties.stock.spent import SpentLog
from privinf.parties.stock.spool import Preparation
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


def test_pages_that_were_read_are_let_go_and_stay_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = mmap.PAGESIZE
    monkeypatch.setattr(mapped, "_BEHIND", 4 * page)
    monkeypatch.setattr(mapped, "_STEP", 2 * page)
    body = os.urandom(512 * page)
    made = opened(tmp_path, max_bytes=file_bytes(StockSizes(len(body), 0)))
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
    assert store.usage() == 0


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
    assert store.usage() == ROOM
    assert len(list((tmp_path / "store").glob("*.prep*"))) == 1
    for number in (2, 3):
        with pytest.raises(MismatchError, match="given up"):
            store.claim(bytes([number]) * 16, SHAPE)
        with pytest.raises(ProtocolError, match="already spent"):
            receive(store, record(number), stream(SEED, BODY))


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
    assert refused.value.exit_code == 74
    again = opened(tmp_path)  # nothing is lost, and nobody holds the folder
    assert all(number.to_bytes(16, "big") in again._spent for number in range(3))
    again.close()


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
    made = opened(folder, max_bytes=file_bytes(StockSizes(LARGE, 0)))
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
    assert made.usage() == 0
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
    assert (made.usage(), made.fits(1)) == (file_bytes(StockSizes(LARGE, 0)), False)
    del view, preparation
    assert made.usage() == 0
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

    made = opened(tmp_path, max_bytes=file_bytes(StockSizes(LARGE, 40)))
    with pytest.raises(ValueError, match="in the program"):
        receive(made, record(1, LARGE, precomputed=40), stream(SEED, *[bytes(1 << 20)] * 4), failing)
    assert made.usage() == 0
    assert os.fstat(files[0]).st_blocks * 512 < LARGE // 16
    os.close(files[0])
    made.close()
