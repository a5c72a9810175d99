"""The file of a preparation in memory: read once from front to back, what was read let go again."""

from __future__ import annotations

import contextlib
import mmap
from types import TracebackType
from typing import Final, Self

from privinf.errors import ProtocolError

BLOCK: Final = 4096  # the description of a preparation, before its bytes: these start on a page
_BEHIND: Final = 64 << 20  # read but still mapped: views of it are likely to be looked at again
_STEP: Final = 16 << 20  # let go at a time


class Reader:
    """The dealer's bytes in a mapping; a view stays right after its pages were let go, it is read again."""

    def __init__(self, mapping: mmap.mmap, nbytes: int) -> None:
        self._map, self._left = mapping, nbytes
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
        return self._view[self._next - nbytes : self._next]

    def release(self) -> None:
        """Let the mapping be closed."""
        self._view.release()

    def _let_go(self) -> None:
        """Unmap pages that lie well behind: the file keeps them, the process does not."""
        nbytes = (self._next - self._kept - _BEHIND) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_DONTNEED, self._kept, nbytes)
        self._kept += nbytes


class Mapping:
    """A preparation and what its program put beside it; the latter can be written while it is `writable`."""

    def __init__(self, descriptor: int, nbytes: int, aside: tuple[int, int], writable: bool = False) -> None:
        start, end = aside
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(descriptor, end, access=access)
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        self.source = Reader(self._map, nbytes)
        self.aside = memoryview(self._map)[start:end]

    def close(self) -> None:
        """Unmap; what an array of the program still looks at is freed with that array."""
        with contextlib.suppress(BufferError):
            self.source.release()
            self.aside.release()
            self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
