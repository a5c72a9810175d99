"""What is checked: computations that a device and the CPU do on the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import device_ring
import host_ring
import numpy as np
import numpy.typing as npt
import torch
import two_parties

from privinf.protocols import ring
from privinf.protocols.ring import U64

RINGS = (64, 52, 48, 40, 32)
PACKED = (1, 8, 24, 33, 40, 48, 52, 64)
LOWEST_DIGITS = 0x7F7F7F7F7F7F7F80  # a word whose eight digits are all -128

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sizes:
    """Lengths: tokens, a linear layer's two widths, heads and their width, and K of the longest sums.

    Above 2^15 a sum of digit products that is not cut would overflow an int32, and show.
    """

    tokens: int
    width: int
    inner: int
    heads: int
    head: int
    longest: int


BERT_BASE = Sizes(128, 768, 3072, 12, 64, 40_000)
SMALL = Sizes(6, 40, 72, 3, 8, 40_000)


@dataclass(frozen=True)
class Case:
    """A function of tensors and the same function of arrays; `expected` where plain integers give it otherwise."""

    name: str
    inputs: tuple[Array, ...]
    device: Callable[..., torch.Tensor]
    cpu: Callable[..., Array]
    expected: U64 | None = None
    macs: int = 0  # of one matrix product

    def verdict(self, device: str) -> bool:
        """Whether the device's result has the right bits."""
        found = device_ring.to_host(self.device(*self.on(device)))
        wanted = self.cpu(*self.inputs) if self.expected is None else self.expected
        return found.dtype == wanted.dtype and np.array_equal(found, wanted)

    def on(self, device: str) -> list[torch.Tensor]:
        """The inputs there."""
        return [device_ring.to_device(x, device) for x in self.inputs]


def every_case(sizes: Sizes) -> Iterator[Case]:
    """All cases, on fixed random words."""
    rng = np.random.default_rng(20)
    yield from products(sizes, rng)
    yield from arithmetic(sizes, rng)
    yield from wires(sizes, rng)
    yield from openings(sizes, rng)
    yield from gates(sizes, rng)


def words(rng: np.random.Generator, *shape: int) -> U64:
    """Uniform words, with the ends of the signed range among them."""
    x = rng.integers(0, 1 << 64, shape, dtype=np.uint64)
    x.reshape(-1)[:5] = 0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1
    return x


def products(sizes: Sizes, rng: np.random.Generator) -> Iterator[Case]:
    """Ring products as the layers need them, and one whose sums are the largest that can arise."""
    shapes = {
        "linear": ((sizes.tokens, sizes.width), (sizes.width, sizes.inner)),
        "heads": ((sizes.heads, sizes.tokens, sizes.head), (sizes.heads, sizes.head, sizes.tokens)),
        "one row": ((1, sizes.width), (sizes.width, sizes.inner)),
    }
    for what, (left, right) in shapes.items():
        a, b = words(rng, *left), words(rng, *right)
        exact = np.matmul(a, b)
        for bits in RINGS:
            yield _product(f"product, {what}, mod 2^{bits}", a, b, bits, ring.low(exact, bits))
    a = np.full((3, sizes.longest), LOWEST_DIGITS, dtype=np.uint64)
    sums = np.full((3, 3), sizes.longest * LOWEST_DIGITS**2 % (1 << 64), dtype=np.uint64)
    yield _product("product, longest sums, mod 2^64", a, a.T.copy(), 64, sums)


def _product(name: str, a: U64, b: U64, bits: int, expected: U64) -> Case:
    device, cpu = partial(device_ring.matmul, bits=bits), partial(host_ring.matmul, bits=bits)
    return Case(name, (a, b), device, cpu, expected, a.size * b.shape[-1])


def arithmetic(sizes: Sizes, rng: np.random.Generator) -> Iterator[Case]:
    """Shares and public values, element by element and summed."""
    x, y, z = (words(rng, sizes.tokens, sizes.inner) for _ in range(3))
    row = words(rng, sizes.inner)
    yield _same("addition", lambda a, b: a + b, x, y)
    yield _same("subtraction", lambda a, b: a - b, x, y)
    yield _same("negation", lambda a: -a, x)
    yield _same("product mod 2^64", lambda a, b: a * b, x, y)
    yield _same("two products and a sum", lambda a, b, c: a * b * c + a, x, y, z)
    yield _same("product with a row", lambda a, r: a * r, x, row)
    yield _same("exclusive or", lambda a, b: a ^ b, x, y)
    yield Case("sum of each row", (x,), lambda a: a.sum(-1), lambda a: a.sum(-1, dtype=np.uint64))
    yield Case("sum of the rows", (x,), lambda a: a.sum(0), lambda a: a.sum(0, dtype=np.uint64))
    yield Case("running sums", (x,), lambda a: a.cumsum(-1), lambda a: a.cumsum(-1, dtype=np.uint64))
    for bits in (1, *RINGS):
        yield _pair(f"reduction mod 2^{bits}", "low", (x,), bits=bits)
        yield _pair(f"sign of {bits} bits extended", "signed", (x,), bits=bits)
    for count in (1, 12, 63):
        yield _same(f"left shift by {count}", partial(_left_shift, count=count), x)
        yield _pair(f"right shift by {count}", "shift_right", (x,), count=count)


def _same(name: str, function: Callable[..., Any], *inputs: U64) -> Case:
    return Case(name, inputs, function, function)


def _pair(name: str, function: str, inputs: tuple[Array, ...], **options: Any) -> Case:
    on_device, on_cpu = (partial(getattr(on, function), **options) for on in (device_ring, host_ring))
    return Case(name, inputs, on_device, on_cpu)


def _left_shift(x: Any, count: int) -> Any:
    return x << count


def wires(sizes: Sizes, rng: np.random.Generator) -> Iterator[Case]:
    """What the parties derive from an opened value alone."""
    for bits in (20, 40, 62):
        public, mask = (ring.low(words(rng, sizes.tokens, sizes.inner), bits) for _ in range(2))
        yield _pair(f"7 bits of {bits} dropped", "dropped", (public, mask), bits=bits, count=7)
        on_cpu, on_device = (partial(_lifted, on, bits=bits) for on in (host_ring, device_ring))
        yield Case(f"terms of a lift from {bits} bits", (public,), on_device, on_cpu)
        yield Case(
            f"below a half of {bits} bits",
            (public,),
            lambda a, half=1 << (bits - 1): (a < half).long(),
            lambda a, half=1 << (bits - 1): (a < half).astype(np.uint64),
        )


def _lifted(on: Any, public: Any, bits: int) -> Any:
    start, carry = on.lifted_terms(public, bits)
    return start * 3 + carry  # one word that depends on both


def openings(sizes: Sizes, rng: np.random.Generator) -> Iterator[Case]:
    """Bytes on the wire, there and back, and the sum of both parties' halves."""
    x, y = words(rng, sizes.tokens, sizes.inner + 1), words(rng, sizes.tokens, sizes.inner + 1)
    for bits in PACKED:
        raw = host_ring.pack(x, bits).copy()
        yield _pair(f"elements of {bits} bits packed", "pack", (x,), bits=bits)
        yield _pair(f"elements of {bits} bits unpacked", "unpack", (raw,), bits=bits, shape=x.shape)
        yield _pair(f"opening of {bits} bits", "opened", (x, y), bits=bits)


def gates(sizes: Sizes, rng: np.random.Generator) -> Iterator[Case]:
    """Gates of two parties from shares to the sum of their results."""
    linear = ((sizes.tokens, sizes.width), (sizes.width, sizes.inner))
    heads = ((sizes.heads, sizes.tokens, sizes.head), (sizes.heads, sizes.head, sizes.tokens))
    for what, (left, right), bits in (("linear", linear, 64), ("linear", linear, 48), ("heads", heads, 52)):
        x, y = words(rng, *left), words(rng, *right)
        exact = ring.low(np.matmul(x, y), bits)
        random = (words(rng, 3, *left), words(rng, 3, *right), words(rng, *exact.shape))
        yield _gate(f"two parties: {what} mod 2^{bits}", "matmul", (x, y, *random), exact, bits)
    shape = (sizes.tokens, sizes.inner)
    for bits in (20, 40):
        x, y = _inside(rng, bits, shape), words(rng, *shape)
        yield _gate(
            f"two parties: lift from {bits} bits and product",
            "lifted_product",
            (x, y, words(rng, 7, *shape)),
            x * y,
            bits,
        )
    for bits, count in ((40, 12), (60, 30)):
        x, r = _inside(rng, bits, shape), words(rng, 4, *shape)
        exact = _truncated(x, r[0], bits, count)
        yield _gate(f"two parties: {count} bits of {bits} truncated", "truncate", (x, r), exact, bits, count)


def _gate(name: str, function: str, inputs: tuple[U64, ...], expected: U64, *options: int) -> Case:
    gate = getattr(two_parties, function)
    return Case(
        name, inputs, partial(gate, device_ring, *options), partial(gate, host_ring, *options), expected
    )


def _inside(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> U64:
    """Signed values of bits - 1 bits, |x| < 2^(bits-2), as words."""
    edge = (1 << (bits - 2)) - 1
    x = rng.integers(-edge, edge, shape, endpoint=True)
    x.reshape(-1)[:3] = -edge, 0, edge
    return x.view(np.uint64)


def _truncated(x: U64, first: U64, bits: int, count: int) -> U64:
    """x >> count, and one more where cutting the two parts loses no carry."""
    second = ring.low(x - first + np.uint64(1 << (bits - 2)), bits)
    carries = ring.low(first, count) + ring.low(second, count) >= 1 << count
    shifted = (x.view(np.int64) >> count) + 1 - carries.astype(np.int64)
    return ring.low(shifted.view(np.uint64), bits)
