"""Function secret sharing and ring products, from the fastest backend that this machine can run."""

from __future__ import annotations

import os

from privinf.protocols.kernels.checked import MAX_POINT_BITS
from privinf.protocols.kernels.choose import LEVELS, choose, load
from privinf.protocols.kernels.prg import STREAM_KEY_BYTES, TREE_BYTES

_active, _why = choose(os.environ.get("PRIVINF_KERNELS", ""))

dpf_gen = _active.dpf_gen
dpf_prefix = _active.dpf_prefix
dpf_bit = _active.dpf_bit
dpf_table = _active.dpf_table
dpf_whole = _active.dpf_whole
onehot_gen = _active.onehot_gen
onehot_sum = _active.onehot_sum
onehot_window = _active.onehot_window
onehot_point = _active.onehot_point
pack = _active.pack
unpack = _active.unpack
spread = _active.spread
separable_gen = _active.separable_gen
separable_eval = _active.separable_eval
ring_matmul = _active.ring_matmul
ring_matmul52 = _active.ring_matmul52
ring_matmul32 = _active.ring_matmul32
stream = _active.stream


def backend() -> str:
    """The backend in use: native/vaes512, native/aesni, native/portable or reference."""
    return _active.name


def why_reference() -> str | None:
    """Why the reference is in use; None where it is not."""
    return _why


__all__ = [
    "LEVELS",
    "MAX_POINT_BITS",
    "STREAM_KEY_BYTES",
    "TREE_BYTES",
    "backend",
    "dpf_bit",
    "dpf_gen",
    "dpf_prefix",
    "dpf_table",
    "dpf_whole",
    "load",
    "onehot_gen",
    "onehot_point",
    "onehot_sum",
    "onehot_window",
    "pack",
    "ring_matmul",
    "ring_matmul32",
    "ring_matmul52",
    "separable_eval",
    "separable_gen",
    "spread",
    "stream",
    "unpack",
    "why_reference",
]
