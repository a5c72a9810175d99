"""Function secret sharing and ring products: `default()` runs on the fastest backend of this machine."""

from __future__ import annotations

from privinf.protocols.kernels.interface import MAX_POINT_BITS, Kernels
from privinf.protocols.kernels.prg import STREAM_KEY_BYTES, TREE_BYTES
from privinf.protocols.kernels.registry import LEVELS, default, load, why_reference

__all__ = [
    "LEVELS",
    "MAX_POINT_BITS",
    "STREAM_KEY_BYTES",
    "TREE_BYTES",
    "Kernels",
    "default",
    "load",
    "why_reference",
]
