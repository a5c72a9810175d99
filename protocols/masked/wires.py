"""What flows between gates: masked wires (a public value and a mask) and additive shares, with their ring and scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from privinf.protocols import ring
from privinf.protocols.masked.planes import Planes
from privinf.protocols.ring import U64, Shape

Lazy = U64 | Callable[[], U64] | None


class Secret:
    """Refuses the accidents through which secrets escape: printing, truth value, comparison, pickling."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __bool__(self) -> NoReturn:
        raise TypeError("a secret has no truth value; compare inside a protocol")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets cannot be compared; use a gate")

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


@dataclass(eq=False, repr=False)
class Share(Secret):
    """An additive share modulo 2^bits of a fixed-point tensor.

    `data` is the party's share, or the value itself in the ideal interpreter; the dealer and the cost
    interpreter hold none. It is reduced modulo 2^bits only when it is opened. `room`: the ring in which the data is
    right, where that is a larger one; what it has more than the share's is what a check of the range needs.
    """

    shape: Shape
    bits: int
    scale: float
    data: U64 | None = None
    room: int = 0

    def __post_init__(self) -> None:
        self.room = max(self.room, self.bits)

    @property
    def value(self) -> U64:
        assert self.data is not None
        return self.data


@dataclass(eq=False, repr=False)
class Known(Secret):
    """A secret that the dealer chose or knows from key generation, such as the sign of a table's one-hot vector."""

    shape: Shape
    mask: U64 | None = None

    @property
    def secret(self) -> U64:
        assert self.mask is not None
        return self.mask


@dataclass(eq=False, repr=False)
class Cut(Secret):
    """What an opening cut off, for a check of the range: it opened `bits` of `room`, and then dropped `drop`.

    high: the masked value, of which more bits than were opened count: party 0's own, and with what that sent party 1's.
    """

    bits: int
    drop: int
    room: int
    high: U64 | None = None


@dataclass(eq=False, repr=False)
class Wire(Secret):
    """x modulo 2^bits, known as public x + mask: parties hold the public part, the dealer the mask.

    `round` is the index of the opening that delivers the public part; `shared` says whether each party
    can derive its share of the mask by itself (an opening's mask is; one that the dealer dropped is not).
    `planes`: a static matrix as factor of products, by what of it they multiply; what is there is kept nowhere else.
    `widest`: bits of the largest ring of such a product, as the cost interpreter finds.
    `mask_share` is a party's own share of the mask, and party 0's where the dealer holds the wire. `cut` is what its
    opening cut off, as long as its range is not checked.
    """

    shape: Shape
    bits: int
    scale: float
    round: int = -1
    shared: bool = True
    source: Lazy = None
    mask: U64 | None = None
    mask_share: Lazy = None
    static: bool = False
    cache: dict[str, U64] = field(default_factory=dict)
    planes: dict[str, Planes] = field(default_factory=dict)
    widest: int = 0
    lifts: dict[int, tuple[U64, ...]] = field(default_factory=dict)
    cut: Cut | None = None

    @property
    def public(self) -> U64:
        """The opened value; reading it before its round was exchanged is a bug."""
        if callable(self.source):
            self.source = self.source()
        assert self.source is not None, "a wire was read before its round"
        return self.source

    @property
    def secret(self) -> U64:
        assert self.mask is not None
        return self.mask

    @property
    def own_mask(self) -> U64:
        if callable(self.mask_share):
            self.mask_share = self.mask_share()
        assert self.mask_share is not None
        return self.mask_share

    def kept(self, what: str, make: Callable[[], U64]) -> U64:
        """What is made of the wire: once, where it is static."""
        if not self.static:
            return make()
        if what not in self.cache:
            self.cache[what] = make()
        return self.cache[what]


def derive(
    parents: Sequence[Wire],
    shape: Shape,
    bits: int,
    scale: float,
    *,
    public: Callable[..., U64],
    mask: Callable[..., U64],
    linear: bool = True,
) -> Wire:
    """A wire computed locally: `public` acts on the opened values, `mask` on the masks.

    A linear `mask` acts on shares of the mask as well; otherwise the dealer must share the new mask when asked.
    """
    shared = linear and all(w.shared for w in parents)
    out = Wire(shape, bits, scale, max(w.round for w in parents), shared)
    if all(w.source is not None for w in parents) or any(w.mask_share is not None for w in parents):
        out.source = lambda: public(*[w.public for w in parents])
    if all(w.mask is not None for w in parents):
        out.mask = mask(*[w.secret for w in parents])
    if shared and all(w.mask_share is not None for w in parents):
        out.mask_share = lambda: mask(*[w.own_mask for w in parents])
    return out


def reduce(x: Wire, bits: int) -> Wire:
    """The wire modulo a smaller ring; local."""
    if bits == x.bits:
        return x

    def low(v: U64) -> U64:
        return ring.low(v, bits)

    return derive([x], x.shape, bits, x.scale, public=low, mask=low)


def map_wire(wire: Wire, shape: Shape, linear: Callable[[U64], U64]) -> Wire:
    """Apply a linear local map that stays in the ring (a part of it, a reshape, a permutation) to a wire."""
    return derive([wire], shape, wire.bits, wire.scale, public=linear, mask=linear)


def map_share(share: Share, shape: Shape, linear: Callable[[U64], U64]) -> Share:
    """Apply a linear local map (reshape, sum, permutation, integer factor) to a share."""
    return Share(
        shape, share.bits, share.scale, None if share.data is None else linear(share.data), share.room
    )


def narrow(share: Share, bits: int) -> Share:
    """The same share in a smaller ring; it keeps its room."""
    if bits > share.bits:
        raise ValueError(f"a share modulo 2^{share.bits} cannot be widened to {bits} bits")
    return Share(share.shape, bits, share.scale, share.data, share.room)


def add(a: Share, b: Share) -> Share:
    """The sum of two shares of one scale, in the smaller of their rings."""
    if a.scale != b.scale:
        raise ValueError(f"shares at scales {a.scale} and {b.scale} cannot be added")
    data = None if a.data is None or b.data is None else a.data + b.data
    shape = np.broadcast_shapes(a.shape, b.shape)
    return Share(shape, min(a.bits, b.bits), a.scale, data, min(a.room, b.room))


def subtract(a: Share, b: Share) -> Share:
    """The difference of two shares of one scale."""
    return add(a, map_share(b, b.shape, lambda x: -x))
