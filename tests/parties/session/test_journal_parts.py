"""A journal is kept in parts: what is put aside stays as it is, and the oldest goes when there are too many."""

from __future__ import annotations

from pathlib import Path

import pytest

from privinf.parties.session.journal import PARTS, Journal

ID = bytes(16)
LINE = len(f"{ID.hex()} 0 wire\n")


def _written(journal: Journal, count: int, first: int = 0) -> None:
    for index in range(first, first + count):
        journal.opened(ID, index, "wire")
        journal.flush()


def _read(folder: Path) -> list[int]:
    """Return the indices of all lines, in the order of the parts."""
    aside = sorted(folder.glob("opened.log.*"), key=lambda path: int(path.suffix[1:]))
    return [
        int(line.split()[1])
        for path in [*aside, folder / "opened.log"]
        for line in path.read_text().splitlines()
    ]


def test_no_line_is_lost_while_there_is_room(tmp_path: Path) -> None:
    for first in (0, 7):  # the second process goes on where the first ended
        journal = Journal(tmp_path / "opened.log", PARTS * 3 * LINE)
        _written(journal, 7, first)
        journal.close()
    assert _read(tmp_path) == list(range(14))
    assert len(list(tmp_path.iterdir())) > 3


def test_the_oldest_parts_go(tmp_path: Path) -> None:
    (tmp_path / "opened.log.other").touch()
    journal = Journal(tmp_path / "opened.log", PARTS * 2 * LINE)
    _written(journal, 100)
    journal.close()
    (tmp_path / "opened.log.other").unlink()
    kept = _read(tmp_path)
    assert kept == list(range(kept[0], 100))
    assert 2 * (PARTS - 2) <= len(kept) <= 2 * PARTS
    assert len(list(tmp_path.iterdir())) == PARTS


def test_a_part_that_cannot_be_put_aside_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "opened.log", PARTS * 2 * LINE)

    def refused(*_: object) -> None:
        raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        _written(journal, 5)
    _written(journal, 5, 5)
    journal.close()
    assert _read(tmp_path) == list(range(10))
