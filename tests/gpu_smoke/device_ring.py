"""Share arithmetic modulo 2^bits on torch tensors of int64, bit for bit what protocols/ does on NumPy's uint64.

Sums, differences and products of int64 wrap modulo 2^64 on every device, and a left shift drops what it moves out.
Only a right shift must be told that the top bit is no sign.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from limbs import ring_matmul_limbs

from privinf.protocols.ring import Shape, size_of

Tensor = torch.Tensor
Array = npt.NDArray[Any]


def to_device(x: Array, device: str) -> Tensor:
    """Ring elements as int64 with the same bits; bytes as they are."""
    host = np.ascontiguousarray(x)
    return torch.from_numpy(host.view(np.int64) if host.dtype == np.uint64 else host).to(device)


def to_host(x: Tensor) -> Array:
    """Inverse of `to_device`."""
    host = x.cpu().contiguous().numpy()
    return host.view(np.uint64) if host.dtype == np.int64 else host


def low(x: Tensor, bits: int) -> Tensor:
    """x modulo 2^bits."""
    return x if bits == 64 else x & ((1 << bits) - 1)


def shift_right(x: Tensor, count: int) -> Tensor:
    """x >> count of the unsigned x: what the arithmetic shift fills in is masked off."""
    return low(x >> count, 64 - count)


def signed(x: Tensor, bits: int) -> Tensor:
    """The representatives of x modulo 2^bits in [-2^(bits-1), 2^(bits-1))."""
    return (x << (64 - bits)) >> (64 - bits)


def lifted_terms(public: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """A and 2^n*c of a wire modulo 2^n, as in protocols/masked/gates/product.py."""
    quarter = 1 << (bits - 2)
    moved = low(public + quarter, bits)
    carry = 1 - shift_right(moved, bits - 1)
    return moved - quarter, carry << bits


def dropped(public: Tensor, mask: Tensor, bits: int, count: int) -> Tensor:
    """Both halves of a wire modulo 2^bits after its low bits were cut off."""
    return torch.stack([shift_right(public, count), shift_right(mask, count)])


def opened(mine: Tensor, theirs: Tensor, bits: int) -> Tensor:
    """The public part of a wire from both parties' masked shares."""
    return low(mine + theirs, bits)


def pack(x: Tensor, bits: int) -> Tensor:
    """x modulo 2^bits, bit after bit from the lowest of the first byte up."""
    each = (x.reshape(-1, 1) >> torch.arange(bits, device=x.device)) & 1
    flat = each.to(torch.uint8).reshape(-1)
    eights = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).view(-1, 8)
    return (eights << torch.arange(8, dtype=torch.uint8, device=x.device)).sum(dim=1, dtype=torch.uint8)


def unpack(raw: Tensor, bits: int, shape: Shape) -> Tensor:
    """Inverse of `pack`."""
    size = size_of(shape)
    each = (raw[:, None] >> torch.arange(8, dtype=torch.uint8, device=raw.device)) & 1
    bit = each.view(-1)[: size * bits].view(size, bits).to(torch.int64)
    return (bit << torch.arange(bits, device=raw.device)).sum(dim=1).view(shape)


def matmul(a: Tensor, b: Tensor, bits: int) -> Tensor:
    """a @ b modulo 2^bits over leading batch dimensions; a two-dimensional b serves all of a's batch."""
    left = a.reshape(1, -1, a.shape[-1]) if b.ndim == 2 else a.reshape(-1, *a.shape[-2:])
    right = b.reshape(-1, *b.shape[-2:])
    return ring_matmul_limbs(left, right, bits).view(*a.shape[:-1], b.shape[-1])
