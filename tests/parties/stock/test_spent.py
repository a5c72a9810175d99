"""What was spent is refused for ever: through folding, crashes, power cuts and full disks at any moment of them."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privinf.errors import ConfigError, ProtocolError
from privinf.parties.stock import spent
from privinf.parties.stock.idtable import IdTable
from privinf.parties.stock.spent import SpentLog

STEPS = ("write", "pwrite", "fsync", "fdatasync", "replace", "posix_fallocate", "ftruncate")
IDS = [bytes(16), *(bytes([number]) * 16 for number in range(1, 24))]


class Killed(BaseException):
    """The end of the process."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have logs folded after four ids, into tables that begin with four slots, and no real disk waited for."""
    for name in (
        "fsync",
        "fdatasync",
    ):  # processes live on: of what they sync, the descriptor alone is looked at
        monkeypatch.setattr(os, name, os.fstat)
    monkeypatch.setattr(spent, "_LINES", 4)
    monkeypatch.setattr(spent, "_RETRY", 1)
    monkeypatch.setattr(spent, "_SLOTS", 4)


class Steps:
    """Counts what goes to the disk, and has one step fail: before it is done, or after."""

    def __init__(self, fail_at: int, error: Callable[[], BaseException], done: bool = False) -> None:
        self.count, self._fail_at, self._error, self._done = 0, fail_at, error, done

    def over(self, patch: pytest.MonkeyPatch) -> None:
        """Stand between the log and the system."""
        for name in STEPS:
            patch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.count += 1
            fails = self.count == self._fail_at
            if fails and not self._done:
                raise self._error()
            result = real(*arguments)
            if fails:
                raise self._error()
            return result

        return call


def marked(folder: Path, ids: list[bytes], returned: list[bytes]) -> None:
    """Mark ids, and note each one whose mark has returned."""
    log = SpentLog(folder / "spent.log")
    try:
        for preparation_id in ids:
            log.mark(preparation_id)
            returned.append(preparation_id)
    finally:
        log.close()


def refuses(folder: Path, returned: list[bytes]) -> None:
    """See that all that was spent is, that nothing else is, and that the log goes on."""
    log = SpentLog(folder / "spent.log")
    for preparation_id in returned:
        with pytest.raises(ProtocolError, match="already spent"):
            log.mark(preparation_id)
    fresh = [os.urandom(16) for _ in range(60)]
    assert not any(preparation_id in log for preparation_id in fresh)
    for preparation_id in fresh[:6]:
        log.mark(preparation_id)
    assert all(preparation_id in log for preparation_id in returned + fresh[:6])
    log.close()


def test_a_mark_after_the_end_fails_and_writes_to_no_other_file(tmp_path: Path) -> None:
    log = SpentLog(tmp_path / "spent.log")
    log.close()
    others = [(tmp_path / str(number)).open("wb") for number in range(8)]  # one has the log's number now
    with pytest.raises(OSError, match="Bad file descriptor"):
        log.mark(IDS[0])
    for other in others:
        other.close()
    assert not any((tmp_path / str(number)).read_bytes() for number in range(8))


@pytest.mark.usefixtures("small")
def test_ids_stay_spent_while_the_log_stays_short(tmp_path: Path) -> None:
    returned: list[bytes] = []
    for number, preparation_id in enumerate(IDS):
        marked(tmp_path, [preparation_id], returned)
        if number % 5 == 0:
            refuses(tmp_path, returned)
        assert (tmp_path / "spent.log").stat().st_size <= 33 * 4
    assert len(list(tmp_path.glob("spent-*.ids"))) > 2


@pytest.mark.fast_cases(1)
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("done", [False, True])
def test_a_process_that_is_killed_at_any_step_forgets_nothing(tmp_path: Path, done: bool) -> None:
    for step in range(1, 1000):
        folder, returned = tmp_path / str(step), list[bytes]()
        folder.mkdir()
        steps = Steps(step, Killed, done)
        try:
            with pytest.MonkeyPatch.context() as patch:
                steps.over(patch)
                marked(folder, IDS[:10], returned)
        except Killed:
            refuses(folder, returned)
        else:
            break
    assert steps.count > 40


class Disk:
    """Knows what the disk has for certain; a power cut leaves that, and of the rest what chance will."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._names: dict[str, int] = {}
        self._files: dict[
            int, tuple[int, bytes]
        ] = {}  # by inode: a descriptor that keeps it, and what is synced
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._synced(getattr(os, name)))

    def _synced(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            real(descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                self._names = self._now()
            else:
                kept, _ = self._files.get(status.st_ino, (os.dup(descriptor), b""))
                self._files[status.st_ino] = (kept, os.pread(kept, status.st_size, 0))

        return call

    def lose_power(self, out: Path, draw: random.Random) -> None:
        """Write what is left after it to another folder."""
        names = draw.choice([self._names, self._now()])
        for name, inode in names.items():
            if inode in self._files:
                kept, synced = self._files[inode]
                (out / name).write_bytes(_mixed(synced, os.pread(kept, os.fstat(kept).st_size, 0), draw))
            else:
                (out / name).touch()
        for kept, _ in self._files.values():
            os.close(kept)

    def _now(self) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(self._folder)}


def _mixed(synced: bytes, now: bytes, draw: random.Random, sector: int = 64) -> bytes:
    """Sectors of either, up to the length of either."""
    size = draw.choice([len(synced), len(now)])
    choices = (synced.ljust(size, b"\0"), now.ljust(size, b"\0"))
    return b"".join(draw.choice(choices)[at : at + sector] for at in range(0, size, sector))[:size]


@pytest.mark.usefixtures("small")
def test_a_power_cut_at_any_step_forgets_nothing(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for step in range(1, 1000):
        folder, left, returned = tmp_path / f"{step}", tmp_path / f"{step}-left", list[bytes]()
        folder.mkdir()
        left.mkdir()
        try:
            with pytest.MonkeyPatch.context() as patch:
                disk = Disk(folder, patch)
                Steps(step, Killed, bool(step % 2)).over(patch)
                marked(folder, IDS[:10], returned)
        except Killed:
            disk.lose_power(left, draw)
            refuses(left, returned)
        else:
            break
    assert step > 40


@pytest.mark.usefixtures("small")
def test_a_full_disk_at_any_step_costs_no_more_than_that_mark(tmp_path: Path) -> None:
    for step in range(4, 1000):  # a log that cannot be opened at all is another matter
        folder, returned = tmp_path / str(step), list[bytes]()
        folder.mkdir()
        steps, refused = Steps(step, lambda: OSError(errno.ENOSPC, "full")), 0
        with pytest.MonkeyPatch.context() as patch:
            log = SpentLog(folder / "spent.log")
            steps.over(patch)
            for preparation_id in IDS[:10]:
                try:
                    log.mark(preparation_id)
                    returned.append(preparation_id)
                except OSError:
                    refused += 1
                assert preparation_id in log
            log.close()
        assert refused <= 1
        refuses(folder, returned)
        if steps.count < step:
            break
    assert step > 40


@pytest.mark.usefixtures("small")
def test_a_long_log_of_an_earlier_version_is_taken_over_without_its_torn_lines(tmp_path: Path) -> None:
    lines = [preparation_id.hex() for preparation_id in IDS]
    torn = "ff" * 3
    (tmp_path / "spent.log").write_text("\n".join([*lines[:9], torn, *lines[9:], "ee" * 5]))
    for _ in range(2):
        refuses(tmp_path, IDS)
        log = SpentLog(tmp_path / "spent.log")
        assert b"\xff" * 16 not in log
        assert b"\xee" * 16 not in log
        log.close()
        assert (tmp_path / "spent.log").stat().st_size < 33 * 8


@pytest.mark.parametrize("name", ["spent.log", "spent-00.ids"])
def test_what_is_damaged_is_not_taken_for_empty(tmp_path: Path, name: str) -> None:
    IdTable.make(tmp_path / "spent-00.ids", 8).close()
    (tmp_path / name).write_bytes(b"zz" * 16 + b"\n")
    with pytest.raises(ConfigError, match="damaged"):
        SpentLog(tmp_path / "spent.log")


def test_a_table_that_is_missing_is_not_forgotten(tmp_path: Path) -> None:
    for number in (0, 1):
        IdTable.make(tmp_path / f"spent-0{number}.ids", 8).close()
    SpentLog(tmp_path / "spent.log").close()
    (tmp_path / "spent-00.ids").unlink()
    with pytest.raises(ConfigError, match="damaged"):
        SpentLog(tmp_path / "spent.log")


@settings(deadline=None)
@given(ids=st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=40))
def test_a_table_has_what_was_added_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, ids: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("table") / "spent-00.ids"
    table = IdTable.make(path, 80)
    for identity in ids + ids:
        table.add(identity)
    table.sync()
    table.close()
    again = IdTable(path)
    assert all(identity in again for identity in ids)
    assert not any(os.urandom(16) in again for _ in range(20))
    assert again.full is (len(ids) >= 40)
    again.close()


_MARKING = """
import os, sys
from pathlib import Path
from privinf.parties.stock import spent
spent._LINES, spent._SLOTS = 4, 4
log = spent.SpentLog(Path(sys.argv[1]) / "spent.log")
while True:
    preparation_id = os.urandom(16)
    log.mark(preparation_id)
    print(preparation_id.hex(), flush=True)
"""


@pytest.mark.processes
@pytest.mark.usefixtures("small")
def test_a_process_that_is_killed_for_real_forgets_nothing(tmp_path: Path) -> None:
    returned: list[bytes] = []
    for lines in (1, 20, 50):
        returned += list(_killed_after(lines, tmp_path))
        refuses(tmp_path, returned)


def _killed_after(lines: int, folder: Path) -> Iterator[bytes]:
    command = [sys.executable, "-c", _MARKING, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            yield bytes.fromhex(process.stdout.readline())
        process.kill()
        for line in process.stdout:
            if len(line) == 33:
                yield bytes.fromhex(line)
