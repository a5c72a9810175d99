"""The file of a preparation in memory: read once from front to back, what was read let go again."""

from __future__ import annotations

import contextlib
import mmap
import weakref
from collections.abc import Callable
from typing import Any, Final

from privinf.errors import ProtocolError
from privinf.parties.stock.digest import Checked

BLOCK: Final = 4096  # the description of a preparation, before its bytes: these start on a page
_BEHIND: Final = 64 << 20  # read but still mapped: views of it are likely to be looked at again
_STEP: Final = 16 << 20  # let go at a time

REMOVE: Final = mmap.MADV_REMOVE  # take the pages' room on the disk back


class Reader:
    """The dealer's bytes in a mapping; a view stays right after its pages were let go, it is read again.

    With `checked`, what was changed since it was stored is found before any of it is handed out.
    """

    def __init__(self, mapping: mmap.mmap, nbytes: int, checked: Checked | None = None) -> None:
        self._map, self._left, self._nbytes, self._checked = mapping, nbytes, nbytes, checked
        self._view, self._next, self._kept = memoryview(mapping).toreadonly(), BLOCK, 0

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._left

    def read(self, nbytes: int) -> memoryview:
        """Return the next `nbytes`, in place."""
        if not 0 <= nbytes <= self._left:
            raise ProtocolError(f"the program reads {nbytes} bytes where the preparation has {self._left}")
        if self._next - self._kept > _BEHIND + _STEP:
            self._let_go()
        self._left -= nbytes
        self._next += nbytes
        if self._checked is not None:
            self._checked.up_to(self._nbytes - self._left)
        return self._view[self._next - nbytes : self._next]

    def release(self) -> None:
        """Let the mapping be closed."""
        self._checked = None
        self._view.release()

    def _let_go(self) -> None:
        """Unmap pages that lie well behind: the file keeps them, the process does not."""
        nbytes = (self._next - self._kept - _BEHIND) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_DONTNEED, self._kept, nbytes)
        self._kept += nbytes


class Mapping:
    """A preparation and what its program put beside it; the latter can be written while it is `writable`."""

    def __init__(
        self, descriptor: int, nbytes: int, precomputed: tuple[int, int], writable: bool = False
    ) -> None:
        start, end = precomputed
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(descriptor, end, access=access)
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        self._nbytes = nbytes
        self._views: list[memoryview] = []
        self.source = Reader(self._map, nbytes)
        self.stream, self.precomputed = self._view(BLOCK, BLOCK + nbytes), self._view(start, end)

    def check(self, stream: Checked) -> None:
        """Have the dealer's bytes compared with their tags as they are read."""
        self.source.release()
        self.source = Reader(self._map, self._nbytes, stream)

    def close(self) -> bool:
        """Unmap; return whether that is done, or left to arrays of the program that still look at it."""
        with contextlib.suppress(BufferError):
            self.source.release()
            for view in self._views:
                view.release()
            self._map.close()
        return self._map.closed

    def erase(self, released: Callable[[], Any]) -> None:
        """Take back the disk of what nobody will read again, and unmap it; `released` is told when that is done.

        That is now: what a failed program still holds is left with zeros, and nothing computes with it any more. On a
        file system that cannot do this, it is when the last array that looks at it is gone.
        """
        try:
            self._map.madvise(REMOVE)
        except OSError:
            if not self.close():
                weakref.finalize(self._map, released)
                return
        self.close()
        released()

    def _view(self, start: int, end: int) -> memoryview:
        self._views += [memoryview(self._map), memoryview(self._map)[start:end]]
        return self._views[-1]
