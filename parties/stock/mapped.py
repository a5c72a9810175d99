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


class Mapping:
    """A preparation and what its program put beside it; the latter can be written while it is `writable`.

    The former is read once; a view stays right after its pages were let go, it is read again. With `checked`, what was
    changed since it was stored is found before any of it is handed out.
    """

    def __init__(
        self, descriptor: int, nbytes: int, precomputed: tuple[int, int], writable: bool = False
    ) -> None:
        start, end = precomputed
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(descriptor, end, access=access)
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        self._nbytes, self._read, self._kept = nbytes, 0, 0  # kept: where pages begin that were not let go
        self.stream = memoryview(self._map)[BLOCK : BLOCK + nbytes].toreadonly()
        self.precomputed = memoryview(self._map)[start:end]
        self.checked: Checked | None = None

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._nbytes - self._read

    def read(self, nbytes: int) -> memoryview:
        """Return the next `nbytes`, in place."""
        left = self.remaining
        if not 0 <= nbytes <= left:
            raise ProtocolError(f"the program reads {nbytes} bytes where the preparation has {left}")
        if BLOCK + self._read - self._kept > _BEHIND + _STEP:
            self._let_go()
        start, self._read = self._read, self._read + nbytes
        if self.checked is not None:
            self.checked.up_to(self._read)
        return self.stream[start : self._read]

    def close(self) -> bool:
        """Unmap; return whether that is done, or left to arrays of the program that still look at it."""
        with contextlib.suppress(BufferError):
            self.stream.release()
            self.precomputed.release()
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

    def _let_go(self) -> None:
        """Unmap pages that lie well behind: the file keeps them, the process does not."""
        nbytes = (BLOCK + self._read - self._kept - _BEHIND) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_DONTNEED, self._kept, nbytes)
        self._kept += nbytes
