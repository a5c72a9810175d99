"""Ring products on one thread, in turn in one run: the kernels beside torch's integer products and 8-bit limbs."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness import machine
from privinf.protocols import kernels

Array = NDArray[Any]
Shape = tuple[int, int, int, int]  # batch, M, K, N
ROWS = (1, 8, 32, 128, 512)
WEIGHTS = ((768, 768), (768, 2304), (768, 3072), (3072, 768))
HEADS: tuple[Shape, ...] = ((12, 128, 64, 128), (12, 128, 128, 64))
LIMBS = {64: 8, 52: 7, 32: 4}  # balanced 8-bit limbs of a number; pairs beyond the modulus are left out
RINGS = {"ring_matmul_34": 34, "ring_matmul_52": 52, "ring_matmul32": 32} | {
    f"limbs_{bits}": bits for bits in LIMBS
}
LEAST_SECONDS = 0.02  # of the processor in one timing: short products are repeated


def shapes() -> Iterator[Shape]:
    """An encoder's products for every number of rows, then those of its twelve heads."""
    for m in ROWS:
        yield from ((1, m, k, n) for k, n in WEIGHTS)
    yield from HEADS


def limbs(x: Array, bits: int) -> list[torch.Tensor]:
    """Digits in [-128, 128) to the base 256: x is their sum modulo 2^bits."""
    bias = sum(128 << 8 * i for i in range(LIMBS[bits]))
    digits = (x.astype(np.uint64) + np.uint64(bias)).view(np.uint8).reshape(*x.shape, 8) - np.uint8(128)
    return [torch.from_numpy(digits[..., i].copy().view(np.int8)) for i in range(LIMBS[bits])]


def by_limbs(a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
    """The product from limbs that lie ready; a limb's product is exact in 32 bits up to K = 2^17 - 1."""
    total = torch.zeros((a[0].shape[0], b[0].shape[1]), dtype=torch.int64)
    for order in range(len(a)):
        for i in range(order + 1):
            total += torch._int_mm(a[i], b[order - i]).to(torch.int64) << (8 * order)
    return total


def candidates(shape: Shape) -> dict[str, Callable[[], Any]]:
    """What is timed on one shape; operands are made, and cut into limbs, outside of the time."""
    batch, m, k, n = shape
    rng = np.random.default_rng(sum(shape))
    a, b = (rng.integers(0, 2**64, s, dtype=np.uint64) for s in ((batch, m, k), (batch, k, n)))
    low_a, low_b = (x.astype(np.uint32) for x in (a, b))
    left, right = (torch.from_numpy(x.view(np.int64)) for x in (a, b))
    found: dict[str, Callable[[], Any]] = {
        "ring_matmul": lambda: kernels.default().ring_matmul(a, b, 64),
        "ring_matmul_34": lambda: kernels.default().ring_matmul(a, b, 34),
        "ring_matmul_52": lambda: kernels.default().ring_matmul(a, b, 52),
        "ring_matmul32": lambda: kernels.default().ring_matmul32(low_a, low_b),
        "torch_int64": lambda: torch.matmul(left, right),
    }
    if batch == 1:  # torch._int_mm takes no batch
        for bits in LIMBS:
            pair = limbs(a[0], bits), limbs(b[0], bits)
            found[f"limbs_{bits}"] = lambda pair=pair: by_limbs(*pair)  # type: ignore[misc]
    return found


def check(found: dict[str, Callable[[], Any]]) -> None:
    """Every way gives the same product in its ring."""
    exact = found["ring_matmul"]()
    for name, call in found.items():
        bits = RINGS.get(name, 64)
        mask = np.uint64(2**bits - 1)
        product = np.asarray(call())
        as_ring = product.astype(np.uint64) if bits == 32 else product.view(np.uint64)
        np.testing.assert_array_equal(as_ring.reshape(exact.shape) & mask, exact & mask, err_msg=name)


def _seconds(call: Callable[[], Any], times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - before) / times


def measure(shape: Shape, repeat: int) -> dict[str, float]:
    """Billions of multiply-and-adds a processor second: each way once, in turn, `repeat` times; the medians."""
    found = candidates(shape)
    check(found)  # and warms up
    times = {
        name: max(1, round(LEAST_SECONDS / max(_seconds(call, 1), 1e-7))) for name, call in found.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(repeat):
        for name, call in found.items():
            seconds[name].append(_seconds(call, times[name]))
    work = float(np.prod(shape)) / 1e9
    return {name: round(work / statistics.median(s), 2) for name, s in seconds.items()}


def run(repeat: int) -> dict[str, Any]:
    """The whole table, with what it was measured on."""
    torch.set_num_threads(1)
    about = machine.about()
    rows = []
    for shape in shapes():
        row = {"batch": shape[0], "m": shape[1], "k": shape[2], "n": shape[3], **measure(shape, repeat)}
        print(row, flush=True)
        rows.append(row)
    return {
        **about,
        "unit": "10^9 multiply-and-adds a processor second, one thread",
        "repeat": repeat,
        "products": rows,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the table to this file")
    options = parser.parse_args()
    result = run(options.repeat)
    if options.json:
        machine.write(options.json, result)
    print(json.dumps(result["machine"]))


if __name__ == "__main__":
    main()
