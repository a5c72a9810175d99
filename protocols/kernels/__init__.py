"""Function secret sharing and ring products: `default()` runs on the fastest backend of this machine."""

from __future__ import annotations

from privinf.protocols.kernels.interface import Kernels
from privinf.protocols.kernels.registry import LEVELS, default, load, use_threads, why_reference

__all__ = ["LEVELS", "Kernels", "default", "load", "use_threads", "why_reference"]
