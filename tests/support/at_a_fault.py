"""How a program of its own has arrays end where a page does that nobody may read."""

from __future__ import annotations

BEGINNING = """
import ctypes, mmap, sys
import numpy as np
from privinf.protocols.kernels import load

libc, page = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE
kept = []
TREE = bytes(range(96))


def at_the_end(array):
    size = -(-array.nbytes // page) * page
    area = mmap.mmap(-1, size + page)
    kept.append(area)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert libc.mprotect(ctypes.c_void_p(begin + size), ctypes.c_size_t(page), 0) == 0
    copy = np.frombuffer(area, array.dtype, array.size, size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


kernels, rng = load(sys.argv[1]), np.random.default_rng(1)
"""
