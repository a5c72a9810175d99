"""Static weights as ring elements: encoded, masked once per sharing, and seen by each role as wires."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from privinf.models.fold import F64
from privinf.protocols import prg, ring
from privinf.protocols.masked.planes import MOST, Planes
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import U64, Shape

BITS = 64
Scale = Callable[[str], int]  # fraction bits of a folded tensor, by its name
NOWHERE: Mapping[str, int] = {}


def encode(weights: Mapping[str, F64], scale: Scale) -> dict[str, U64]:
    """Ring elements of all folded tensors."""
    return {name: ring.encode(w, scale(name)) for name, w in weights.items()}


def mask_share(seed: bytes, sharing: str, name: str, shape: Shape) -> U64:
    """One party's share of a tensor's mask; the name is bound to the random id of this sharing."""
    return prg.elements(seed, f"weights/{sharing}/{name}", shape, BITS)


def mask_tensor(value: U64, seeds: tuple[bytes, bytes], sharing: str, name: str) -> U64:
    """The tensor under both parties' masks: what every party holds."""
    first, second = (mask_share(seed, sharing, name, value.shape) for seed in seeds)
    return value + first + second


def _static(scale: int, shape: Shape, source: U64 | None = None, mask: U64 | None = None) -> Wire:
    return Wire(shape, BITS, scale, source=source, mask=mask, static=True)


class PartyStore:
    """A party's weights: opened tensors and its share of their masks."""

    def __init__(self, opened: Mapping[str, U64], seed: bytes, sharing: str, scale: Scale) -> None:
        self._wires = {
            name: _static(scale(name), value.shape, source=value) for name, value in opened.items()
        }
        self._seed, self._sharing = seed, sharing
        for name in self._wires:
            self._forget(name)

    def wire(self, name: str) -> Wire:
        return self._wires[name]

    def _forget(self, name: str) -> None:
        """Have the share of a mask derived when it is asked for."""
        wire = self._wires[name]
        wire.mask_share = lambda: mask_share(self._seed, self._sharing, name, wire.shape)

    def warm(self, party: int, widths: Mapping[str, int] = NOWHERE) -> None:
        """Derive mask shares and product operands before the first query; of a factor the operand alone is kept.

        widths: bits of the products of those that are nothing but factors; they are kept in that ring alone.
        """
        for name, wire in self._wires.items():
            own = wire.own_mask
            if name.endswith((".weight", ".token", ".position", ".mean")):
                operand = wire.public - own if party else np.uint64(0) - own
                self._forget(name)
                if name not in widths:
                    wire.cache["operand"] = operand
                    continue
                bits = widths[name]
                wire.planes = {"operand": Planes.of(operand, bits), "public": Planes.of(wire.public, bits)}
                wire.source = None


class DealerStore:
    """The dealer's side: masks alone, rederived from both seeds."""

    def __init__(
        self, shapes: Mapping[str, Shape], seeds: tuple[bytes, bytes], sharing: str, scale: Scale
    ) -> None:
        self._shapes, self._seeds, self._sharing, self._scale = shapes, seeds, sharing, scale
        self._wires: dict[str, Wire] = {}

    def wire(self, name: str) -> Wire:
        if name not in self._wires:
            shape = self._shapes[name]
            first, second = (mask_share(seed, self._sharing, name, shape) for seed in self._seeds)
            self._wires[name] = _static(self._scale(name), shape, mask=first + second)
        return self._wires[name]

    def warm(self, widths: Mapping[str, int] = NOWHERE) -> None:
        """Derive all masks before the first preparation; `widths` as the parties have them."""
        for name in self._shapes:
            wire = self.wire(name)
            if name in widths:
                wire.planes, wire.mask = {"mask": Planes.of(wire.secret, widths[name])}, None


class IdealStore:
    """Encoded weights in the clear, for the ideal interpreter."""

    def __init__(self, encoded: Mapping[str, U64], scale: Scale) -> None:
        self._wires = {
            name: _static(scale(name), value.shape, source=value, mask=np.zeros(value.shape, dtype=np.uint64))
            for name, value in encoded.items()
        }

    def wire(self, name: str) -> Wire:
        return self._wires[name]


class ShapeStore:
    """Shapes alone, for the cost interpreter."""

    def __init__(self, shapes: Mapping[str, Shape], scale: Scale) -> None:
        self._shapes, self._scale = shapes, scale

    def wire(self, name: str) -> Wire:
        return _static(self._scale(name), self._shapes[name])


class WidthStore(ShapeStore):
    """Shapes, and in which rings the cost interpreter multiplies by them."""

    def __init__(self, shapes: Mapping[str, Shape], scale: Scale) -> None:
        super().__init__(shapes, scale)
        self._wires: dict[str, Wire] = {}

    def wire(self, name: str) -> Wire:
        if name not in self._wires:
            self._wires[name] = super().wire(name)
        return self._wires[name]

    def widths(self) -> dict[str, int]:
        """Bits of the widest product with each matrix that was a factor, where planes hold it."""
        found = {name: wire.widest for name, wire in self._wires.items()}
        return {name: bits for name, bits in found.items() if 0 < bits <= MOST}
