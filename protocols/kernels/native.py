"""The native kernels through ctypes, which lets other threads run meanwhile.

A function takes the level, the arguments, the free lengths of the signature, and where its results go.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from privinf.protocols.kernels.checked import SIGNATURES, Run, Sizes
from privinf.protocols.kernels.signature import Array, Between, Signature, maker

ABI = 13


class NotAvailable(Exception):
    """The library is not built, or was built from other sources."""


def _path() -> Path:
    found = [Path(__file__).with_name("_native" + suffix) for suffix in EXTENSION_SUFFIXES]
    for path in found:
        if path.exists():
            return path
    raise NotAvailable("the native kernels are not built")


@cache
def library() -> tuple[ctypes.CDLL, int]:
    """The loaded library with its types set, and the fastest level that the processor runs."""
    try:
        loaded = ctypes.CDLL(str(_path()))
        if loaded.privinf_abi() != ABI:
            raise NotAvailable("the native kernels were built from other sources")
        for signature in SIGNATURES.values():
            getattr(loaded, "privinf_" + signature.name).argtypes = _types(signature)
    except (OSError, AttributeError) as error:
        raise NotAvailable(f"the native kernels do not load: {error}") from None
    return loaded, int(loaded.privinf_level())


def use_threads(most: int) -> None:
    """Let one call take so many threads where it is long enough; all calls of this process, from the next one on."""
    loaded, _ = library()
    loaded.privinf_threads(ctypes.c_int64(most))


def _types(signature: Signature) -> list[type[ctypes.c_int] | type[ctypes.c_int64] | type[ctypes.c_void_p]]:
    given = [ctypes.c_int64 if isinstance(p.kind, Between) else ctypes.c_void_p for p in signature.parameters]
    lengths = [ctypes.c_int64] * len(signature.free)
    return [ctypes.c_int, *given, *lengths, *[ctypes.c_void_p] * len(signature.results)]


def native(level: int) -> Callable[[Signature], Run]:
    """What runs a kernel at a level of the library: 0 portable, 1 AES-NI and AVX2, 2 VAES and AVX-512, 3 AMX too."""
    loaded, best = library()
    if level > best:
        raise NotAvailable("this processor lacks the instructions")

    def runs(signature: Signature) -> Run:
        function, free = getattr(loaded, "privinf_" + signature.name), signature.free
        results = [maker(array) for array in signature.results]
        places = [place for place, p in enumerate(signature.parameters) if isinstance(p.kind, Array)]

        def run(arguments: Sequence[Any], sizes: Sizes) -> object:
            given: list[object] = [level, *arguments]
            for place in places:
                given[place + 1] = arguments[place].__array_interface__["data"][0]
            for name in free:
                given.append(sizes[name])
            made = []
            for result in results:
                made.append(array := result(sizes))
                given.append(array.__array_interface__["data"][0])
            if function(*given):
                raise MemoryError("no memory for the kernel's buffers")
            return made[0] if len(made) == 1 else tuple(made)

        return run

    return runs
