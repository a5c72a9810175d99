"""Choice of a kernel backend: the fastest that is built and that the processor supports, or a forced one."""

from __future__ import annotations

from privinf.errors import ConfigError
from privinf.protocols.kernels import reference
from privinf.protocols.kernels.checked import Kernels
from privinf.protocols.kernels.native import Native, NotAvailable, library

# The names that PRIVINF_KERNELS accepts, and what the backends call themselves; native ones in the library's order.
LEVELS = {
    "portable": "native/portable",
    "aesni": "native/aesni",
    "vaes": "native/vaes512",
    "reference": "reference",
}


def load(level: str) -> Kernels:
    """The named backend; ConfigError where it is unknown, not built, or not for this processor."""
    if level not in LEVELS:
        raise ConfigError(f"PRIVINF_KERNELS must be one of {', '.join(LEVELS)}")
    if level == "reference":
        return Kernels(reference, LEVELS[level])
    try:
        return Kernels(Native(list(LEVELS).index(level)), LEVELS[level])
    except NotAvailable as error:
        raise ConfigError(f"kernels {level}: {error}") from None


def choose(forced: str) -> tuple[Kernels, str | None]:
    """The backend to use, and why it is the reference if it is."""
    if forced:
        return load(forced), "PRIVINF_KERNELS=reference" if forced == "reference" else None
    try:
        _, best = library()
    except NotAvailable as error:
        return load("reference"), str(error)
    return load(list(LEVELS)[best]), None
