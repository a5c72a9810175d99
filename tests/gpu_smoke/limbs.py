"""Ring products of torch tensors on any device, by balanced base-256 digits and integer tensor cores.

Domain: every int64 or uint64 and every modulus 2^bits, 8 <= bits <= 64; exact. The digits of x in [-128, 128)
are the bytes of x + h less 128, h = 128 + 128*256 + ... + 128*256^7, so the lowest ceil(bits/8) of them stand for
x modulo 2^bits whatever lies above. The digits' products of one total order lie side by side along K: one call of
torch._int_mm adds up all of them, ceil(bits/8) calls give the product.

The sums are exact in int32: a digit's product is 2^14 at most, an order has at most ceil(bits/8) products for each
of K terms, and K is cut so that K * ceil(bits/8) <= 2^17 - 1; at 2^17 a sum of 2^31 can arise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # its tests are skipped where there is no torch
    import torch

MIN_BITS, MAX_BITS = 8, 64
HALVES = 0x8080808080808080 - (1 << 64)  # h, as an int64
DEEPEST = ((1 << 31) - 1) >> 14  # terms of 2^14 that an int32 holds
ROWS = 32  # torch._int_mm on CUDA: more than 16 rows
UNIT = 16  # and sides of whole units of 8; 16 bytes keep every slice aligned


def ring_matmul_limbs(a: torch.Tensor, b: torch.Tensor, bits: int) -> torch.Tensor:
    """a (B, M, K) times b (B or 1, K, N) modulo 2^bits: (B, M, N) of a's dtype, on a's device."""
    import torch

    _require(a, b, bits)
    batch, m, k = a.shape
    n, limbs = b.shape[2], (bits + 7) // 8
    left, right = a.view(torch.int64), b.view(torch.int64).transpose(1, 2)
    if len(b) == 1:  # then all rows of a meet the same b
        left = left.reshape(1, batch * m, k)
    total = left.new_zeros((len(left), _whole(left.shape[1], ROWS), _whole(n, UNIT)))
    for at in range(0, k if total.numel() else 0, depth(limbs)):
        part = slice(at, at + depth(limbs))
        total += _product(left[..., part], right[..., part], limbs)
    out = total[:, : left.shape[1], :n].reshape(batch, m, n)
    return (out if bits == MAX_BITS else out & ((1 << bits) - 1)).view(a.dtype)


def depth(limbs: int) -> int:
    """The longest K, in whole units, whose sums of `limbs` digit products an int32 holds."""
    return DEEPEST // limbs // UNIT * UNIT


def _product(left: torch.Tensor, right: torch.Tensor, limbs: int) -> torch.Tensor:
    """(B, M, K) times the transpose of (B, N, K) modulo 2^(8 * limbs), padded; K <= depth(limbs)."""
    import torch

    k = _whole(left.shape[2], UNIT)
    left = _digits(left, range(limbs), _whole(left.shape[1], ROWS), k)
    right = _digits(right, range(limbs)[::-1], _whole(right.shape[1], UNIT), k)
    sums = left.new_empty((len(left), left.shape[1], right.shape[1]), dtype=torch.int32)
    total = torch.zeros_like(sums, dtype=torch.int64)
    for order in reversed(range(limbs)):  # digits 0 .. order of the left against order .. 0 of the right
        for x, y, out in zip(left, right, sums, strict=True):
            _int8_product(x[:, : (order + 1) * k], y[:, (limbs - 1 - order) * k :], out)
        total.bitwise_left_shift_(8).add_(sums)
    return total


def _digits(x: torch.Tensor, places: Sequence[int], rows: int, k: int) -> torch.Tensor:
    """Digits of (B, R, K) as (B, rows, len(places) * k), a block of columns for each place; zeros beyond R and K."""
    import torch

    digits = ((x + HALVES) ^ HALVES).contiguous().view(torch.int8).view(*x.shape, 8)
    out = digits.new_zeros((len(x), rows, len(places), k))
    for column, place in enumerate(places):
        out[:, : x.shape[1], column, : x.shape[2]] = digits[..., place]
    return out.flatten(2)


def _int8_product(x: torch.Tensor, y: torch.Tensor, out: torch.Tensor) -> None:
    """x (M, K) times the transpose of y (N, K): the one layout for which every CUDA version has a kernel."""
    import torch

    if x.device.type == "cpu" and _saturates():
        out.copy_(x.double() @ y.double().T)  # exact below 2^53
    else:
        torch._int_mm(x, y.T, out=out)


@cache
def _saturates() -> bool:
    """Whether torch._int_mm is wrong on this processor: without VNNI, pairs of products are added in 16 bits."""
    import torch

    x = torch.full((ROWS, 256), 127, dtype=torch.int8)
    return bool((torch._int_mm(x, x.T) != 256 * 127 * 127).any())


def _whole(length: int, unit: int) -> int:
    """`length` rounded up to whole units, one at least."""
    return max(-(-length // unit), 1) * unit


def _require(a: torch.Tensor, b: torch.Tensor, bits: int) -> None:
    import torch

    if not MIN_BITS <= bits <= MAX_BITS:
        raise ValueError(f"bits must be in [{MIN_BITS}, {MAX_BITS}]")
    if a.dtype not in (torch.int64, torch.uint64) or b.dtype != a.dtype:
        raise ValueError(f"a and b must both be int64 or uint64, not {a.dtype} and {b.dtype}")
    if a.ndim != 3 or b.ndim != 3 or a.shape[2] != b.shape[1] or len(b) not in (1, len(a)):
        raise ValueError(
            f"shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit (B, M, K) and (B or 1, K, N)"
        )
