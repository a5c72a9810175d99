"""Memory for preparations, within a budget: wiped as soon as one is used up, and used again for the next.

Pages that are fresh of the system cost three times what is written into them. What is given back is kept for a
moment, for a preparation of the same size; then the system has it.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading
from collections import deque
from typing import Final

KEEP_SECONDS: Final = 10.0
# Faults pages in at once, which costs a third less than one after the other. Linux 5.14; not yet in Python's mmap.
POPULATE_WRITE: Final = 23


class Pages:
    """So many bytes at most: in use, being wiped, and spare."""

    def __init__(self, limit: int, keep_seconds: float = KEEP_SECONDS) -> None:
        self._limit, self._keep = limit, keep_seconds
        self._changed = threading.Condition()
        self._taken = 0
        self._given: deque[mmap.mmap] = deque()  # to be wiped, the first of them at this moment
        self._spare: list[mmap.mmap] = []
        self._wiping = False  # whether the thread runs

    @property
    def spare(self) -> int:
        """Bytes that are kept and not in use."""
        with self._changed:
            return sum(map(len, (*self._given, *self._spare)))

    def take(self, nbytes: int) -> mmap.mmap | None:
        """Return zeroed memory; None where the budget or the system has no more."""
        with self._changed:
            if self._taken + nbytes > self._limit:
                return None
            self._changed.wait_for(lambda: self._found(nbytes) is not None or not self._given)
            whole = self._found(nbytes)
            if whole is not None:
                self._spare.remove(whole)
            while self._spare and self._taken + nbytes + sum(map(len, self._spare)) > self._limit:
                self._spare.pop(0).close()
            if whole is None:
                whole = _fresh(nbytes)
            self._taken += nbytes if whole is not None else 0
            return whole

    def give(self, whole: mmap.mmap) -> None:
        """Take memory back; what somebody still looks at is zeros from here on, and never used again."""
        with self._changed:
            self._taken -= len(whole)
            try:
                whole.resize(len(whole))  # changes nothing, and is refused while a view is left
            except BufferError:
                whole.madvise(mmap.MADV_DONTNEED)
                return
            self._given.append(whole)
            self._changed.notify_all()
            if not self._wiping:
                self._wiping = True
                threading.Thread(target=self._wipe, name="pages", daemon=True).start()

    def _found(self, nbytes: int) -> mmap.mmap | None:
        return next((whole for whole in self._spare if len(whole) == nbytes), None)

    def _wipe(self) -> None:
        """Wipe what is given back; let all go once nothing has been for a while."""
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: bool(self._given), self._keep):
                    self._wiping = False
                    while self._spare:
                        self._spare.pop().close()
                    return
                whole = self._given[0]
            place = (ctypes.c_char * len(whole)).from_buffer(whole)
            ctypes.memset(ctypes.addressof(place), 0, len(whole))
            del place
            with self._changed:
                self._spare.append(self._given.popleft())
                self._changed.notify_all()


def _fresh(nbytes: int) -> mmap.mmap | None:
    try:
        whole = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        return None
    with contextlib.suppress(OSError, AttributeError):  # a system without large pages
        whole.madvise(mmap.MADV_HUGEPAGE)
    return whole
