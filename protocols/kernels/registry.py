"""The backends of the kernels by name: one that is asked for, or the fastest that this machine can run."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from privinf.errors import ConfigError
from privinf.protocols.kernels import reference
from privinf.protocols.kernels.checked import Run, kernels
from privinf.protocols.kernels.interface import Kernels
from privinf.protocols.kernels.native import NotAvailable, library, native
from privinf.protocols.kernels.native import use_threads as native_threads
from privinf.protocols.kernels.signature import Signature

FORCED = "PRIVINF_KERNELS"
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time, and in how many
# The names that it accepts, and what the backends call themselves; native ones in the library's order.
LEVELS = {
    "portable": "native/portable",
    "aesni": "native/aesni",
    "vaes": "native/vaes512",
    "amx": "native/vaes512+amx",
    "reference": "reference",
}

_REFERENCE: Kernels = reference


def _plain(signature: Signature) -> Run:
    function = getattr(_REFERENCE, signature.name)
    return lambda arguments, sizes: function(*arguments)


@cache
def load(level: str) -> Kernels:
    """The named backend; ConfigError where it is unknown, not built, or not for this processor."""
    if level not in LEVELS:
        raise ConfigError(f"{FORCED} must be one of {', '.join(LEVELS)}")
    if level == "reference":
        return kernels(LEVELS[level], _plain)
    try:
        return kernels(LEVELS[level], native(list(LEVELS).index(level)))
    except NotAvailable as error:
        raise ConfigError(f"kernels {level}: {error}") from None


@cache
def default() -> Kernels:
    """The backend of who is given none: PRIVINF_KERNELS is read on first use."""
    forced = os.environ.get(FORCED, "")
    if forced:
        return load(forced)
    return load("reference") if _missing() else load(list(LEVELS)[library()[1]])


def use_threads(most: int = 0) -> None:
    """Let one call of a native kernel take up to so many threads; 0: one for each processor that this process may use.

    What it computes does not depend on it. The reference path has none; without this, neither has the native one.
    """
    if not _missing():
        native_threads(most or processors())


def processors() -> int:
    """How many processors this process may use: those that it may run on, and as many as a container's quota pays."""
    may = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text("ascii").split()
        return max(1, min(may, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or no quota: "max"
        return may


def why_reference() -> str | None:
    """Why the default is the reference; None where it is not."""
    if default().name != LEVELS["reference"]:
        return None
    return _missing() or f"{FORCED}=reference"


def _missing() -> str:
    try:
        library()
    except NotAvailable as error:
        return str(error)
    return ""
