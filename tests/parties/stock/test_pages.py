"""Memory for preparations: bounded, wiped before anybody has it again, and let go when nobody wants it."""

from __future__ import annotations

import mmap
import threading

import pytest
from harness import wait_until

from privinf.parties.stock import pages as pages_
from privinf.parties.stock.pages import Pages

PAGE = mmap.PAGESIZE


def taken(pages: Pages, nbytes: int = PAGE) -> mmap.mmap:
    """Take memory that there must be."""
    whole = pages.take(nbytes)
    assert whole is not None
    assert whole[:] == bytes(nbytes)
    return whole


def test_what_is_given_back_is_wiped_and_used_again() -> None:
    pages = Pages(2 * PAGE)
    first = taken(pages)
    first[:] = b"x" * PAGE
    pages.give(first)
    assert pages.spare == PAGE
    assert taken(pages) is first
    assert pages.spare == 0


def test_what_somebody_looks_at_is_wiped_and_never_used_again() -> None:
    pages = Pages(2 * PAGE)
    first = taken(pages)
    first[:] = b"x" * PAGE
    view = memoryview(first)[10:20]
    pages.give(first)
    assert view == bytes(10)
    assert pages.spare == 0
    second = taken(pages)
    assert second is not first
    second[:] = b"y" * PAGE
    assert view == bytes(10)


def test_there_is_no_more_than_the_budget() -> None:
    pages = Pages(3 * PAGE)
    first, second = taken(pages), taken(pages, 2 * PAGE)
    assert pages.take(PAGE) is None
    pages.give(second)
    third = taken(pages)  # of another size: what is spare makes room for it
    assert first is not third
    assert pages.spare == 0
    assert pages.take(2 * PAGE) is None
    assert Pages(0).take(PAGE) is None


def test_what_is_being_wiped_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    go, memset = threading.Event(), pages_.ctypes.memset

    def slow(*given: int) -> int:
        assert go.wait(30)
        return int(memset(*given))

    monkeypatch.setattr(pages_.ctypes, "memset", slow)
    pages = Pages(PAGE)
    first = taken(pages)
    first[:] = b"x" * PAGE
    pages.give(first)
    threading.Timer(0.05, go.set).start()
    assert taken(pages) is first


def test_what_nobody_wants_is_let_go() -> None:
    pages = Pages(4 * PAGE, keep_seconds=0.05)
    for whole in [taken(pages) for _ in range(3)]:
        pages.give(whole)
    wait_until(lambda: pages.spare == 0)
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "pages"])
    pages.give(taken(pages))  # and it goes on
    wait_until(lambda: pages.spare == 0)
