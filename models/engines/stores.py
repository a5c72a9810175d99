"""Static weights as ring elements: encoded, masked once per sharing, and seen by each role as wires."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from privinf.models.fold import F64
from privinf.protocols import prg, ring
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import U64, Shape

BITS = 64
Scale = Callable[[str], int]  # fraction bits of a folded tensor, by its name


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


def _static(scale: int, shape: Shape) -> Wire:
    return Wire(shape, BITS, scale, static=True)


class PartyStore:
    """A party's weights: opened tensors and its share of their masks."""

    def __init__(self, opened: Mapping[str, U64], seed: bytes, sharing: str, scale: Scale) -> None:
        self._opened, self._seed, self._sharing, self._scale = opened, seed, sharing, scale
        self._wires: dict[str, Wire] = {}

    def wire(self, name: str) -> Wire:
        if name not in self._wires:
            wire = _static(self._scale(name), self._opened[name].shape)
            wire.source = self._opened[name]
            wire.mask_share = self._later(name, wire.shape)
            self._wires[name] = wire
        return self._wires[name]

    def _later(self, name: str, shape: Shape) -> Callable[[], U64]:
        return lambda: mask_share(self._seed, self._sharing, name, shape)

    def warm(self, party: int) -> None:
        """Derive mask shares and product operands before the first query; of a factor the operand alone is kept."""
        for name in self._opened:
            wire = self.wire(name)
            own = wire.own_mask
            if name.endswith((".weight", ".token", ".position", ".mean")):
                wire.cache["operand"] = wire.public - own if party else np.uint64(0) - own
                wire.mask_share = self._later(name, wire.shape)


class DealerStore:
    """The dealer's side: masks alone, rederived from both seeds."""

    def __init__(
        self, shapes: Mapping[str, Shape], seeds: tuple[bytes, bytes], sharing: str, scale: Scale
    ) -> None:
        self._shapes, self._seeds, self._sharing, self._scale = shapes, seeds, sharing, scale
        self._wires: dict[str, Wire] = {}

    def wire(self, name: str) -> Wire:
        if name not in self._wires:
            wire = _static(self._scale(name), self._shapes[name])
            first, second = (mask_share(s, self._sharing, name, wire.shape) for s in self._seeds)
            wire.mask = first + second
            self._wires[name] = wire
        return self._wires[name]

    def warm(self) -> None:
        """Derive all masks before the first preparation."""
        for name in self._shapes:
            self.wire(name)


class IdealStore:
    """Encoded weights in the clear, for the ideal interpreter."""

    def __init__(self, encoded: Mapping[str, U64], scale: Scale) -> None:
        self._encoded, self._scale = encoded, scale
        self._wires: dict[str, Wire] = {}

    def wire(self, name: str) -> Wire:
        if name not in self._wires:
            wire = _static(self._scale(name), self._encoded[name].shape)
            wire.source = self._encoded[name]
            wire.mask = np.zeros(wire.shape, dtype=np.uint64)
            self._wires[name] = wire
        return self._wires[name]


class ShapeStore:
    """Shapes alone, for the cost interpreter."""

    def __init__(self, shapes: Mapping[str, Shape], scale: Scale) -> None:
        self._shapes, self._scale = shapes, scale

    def wire(self, name: str) -> Wire:
        return _static(self._scale(name), self._shapes[name])
