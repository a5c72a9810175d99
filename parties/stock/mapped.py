"""A preparation as it lies in memory: read once from front to back, what was read let go again."""

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
    changed since it was stored is found before any of it is handed out. What is `anonymous` lies in no file: its pages
    cannot be read again, so that none is let go before all are erased, which `erased` does.
    """

    def __init__(
        self,
        whole: mmap.mmap,
        nbytes: int,
        precomputed: tuple[int, int],
        writable: bool = False,
        anonymous: bool = False,
        erased: Callable[[], None] | None = None,
    ) -> None:
        self._map, self._anonymous, self._erased = whole, anonymous, erased
        self._nbytes, self._read, self._kept = nbytes, 0, 0  # kept: where pages begin that were not let go
        self.stream = memoryview(whole)[BLOCK : BLOCK + nbytes].toreadonly()
        beside = memoryview(whole)[slice(*precomputed)]
        self.precomputed = beside if writable else beside.toreadonly()
        self.checked: Checked | None = None

    @classmethod
    def of_file(
        cls, descriptor: int, nbytes: int, precomputed: tuple[int, int], writable: bool = False
    ) -> Mapping:
        """Map a file."""
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        whole = mmap.mmap(descriptor, precomputed[1], access=access)
        whole.madvise(mmap.MADV_SEQUENTIAL)
        return cls(whole, nbytes, precomputed, writable)

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._nbytes - self._read

    def read(self, nbytes: int) -> memoryview:
        """Return the next `nbytes`, in place."""
        left = self.remaining
        if not 0 <= nbytes <= left:
            raise ProtocolError(f"the program reads {nbytes} bytes where the preparation has {left}")
        if not self._anonymous and BLOCK + self._read - self._kept > _BEHIND + _STEP:
            self._let_go()
        start, self._read = self._read, self._read + nbytes
        if self.checked is not None:
            self.checked.up_to(self._read)
        return self.stream[start : self._read]

    def close(self) -> bool:
        """Look at it no more; return whether a file is unmapped, or that left to arrays that still look at it."""
        with contextlib.suppress(BufferError):
            self.stream.release()
            self.precomputed.release()
            if not self._anonymous:
                self._map.close()
        return self._map.closed

    def erase(self, released: Callable[[], Any]) -> None:
        """Take back the room of what nobody will read again; `released` is told when that is done.

        That is now: what a failed program still holds is left with zeros, and nothing computes with it any more. On a
        file system that cannot do this, it is when the last array that looks at it is gone.
        """
        if self._erased is not None:
            self.close()
            self._erased()
            released()
            return
        try:
            self._map.madvise(mmap.MADV_DONTNEED if self._anonymous else REMOVE)
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
