"""Keys and values of all slots as wires: each opened once, in the pass that wrote it, and read by later ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from privinf.models.engines.masked import MaskedOps, Memory
from privinf.models.engines.shapes import beside, concatenate, derived
from privinf.models.ops import Heads, View
from privinf.models.parts import Attention
from privinf.protocols.masked.wires import Share, Wire, map_share
from privinf.protocols.ring import U64

SLOTS = 2  # the axis of (batch, kv heads, slots, head width) along which a cache grows
Layer = tuple[Wire, Wire]


@dataclass(frozen=True)
class Keeps:
    """What a role keeps of a wire when its pass is over."""

    public: bool = False
    mask: bool = False
    mask_share: bool = False

    def standing(self, wire: Wire) -> Wire:
        """The wire on its own, apart from what made it."""
        out = Wire(wire.shape, wire.bits, wire.scale)
        if self.public:
            out.source = np.ascontiguousarray(wire.public)
        if self.mask:
            out.mask = np.ascontiguousarray(wire.secret)
        if self.mask_share:
            out.mask_share = np.ascontiguousarray(wire.own_mask)
        return out


NOTHING = Keeps()  # whoever follows shapes alone
AT_DEALER = Keeps(mask=True)
AT_PARTY = Keeps(public=True, mask_share=True)
IN_FIXED = Keeps(public=True, mask=True)


class Cache:
    """One role's cache: slots are numbered alike for all prompts of a session, each of which has its own wires in them.

    pads: a share of 1 for each slot that holds padding and of 0 for the others, (batch, 1, 1, slots).
    excluded: which slots of passes that are over no row may attend to any more, as everybody knows.
    """

    def __init__(self, layers: int, keeps: Keeps = NOTHING) -> None:
        self._layers: list[Layer | None] = [None] * layers
        self._keeps = keeps
        self.pads: Share | None = None
        self.unsaid: U64 | None = None  # of the ranges of passes that had no answer
        self.excluded = np.zeros(0, dtype=bool)

    def extend(self, layer: int, keys: Sequence[Wire], values: Sequence[Wire]) -> Layer:
        """Add a pass's keys and values, whose masks must be shared already; return those of all slots."""
        before = self._layers[layer]
        if before is not None:
            keys, values = [before[0], *keys], [before[1], *values]
        whole = concatenate(keys, SLOTS), concatenate(values, SLOTS)
        self._layers[layer] = whole
        return whole

    def settle(self, slots: int, pads: Share | None) -> None:
        """End a pass that wrote `slots`: make every wire stand on its own, apart from what made it."""
        self._change(self._keeps.standing)
        self.excluded = np.concatenate((self.excluded, np.zeros(slots, dtype=bool)))
        self.pads = _joined(self.pads, pads, slots)

    def with_pads(self, rows: int, pads: Share | None) -> Share | None:
        """What is padding, of all slots and those of the pass under way."""
        return _joined(self.pads, pads, rows)

    def reject(self, rejected: Share) -> None:
        """Hide rows of the last pass from later ones, where nobody but the client knows which."""
        count, pads = rejected.shape[-1], self.pads
        assert pads is not None
        if pads.data is not None and rejected.data is not None:
            data = pads.data.copy()
            data[..., -count:] += rejected.data
            self.pads = Share(pads.shape, pads.bits, pads.scale, data)

    def exclude(self, slots: Sequence[int]) -> None:
        """Let no later row attend to these."""
        self.excluded[list(slots)] = True

    def retire(self, slots: Sequence[int]) -> None:
        """Drop slots for ever."""
        if not slots:
            return
        places = list(slots)

        def without(wire: Wire) -> Wire:
            shape = (*wire.shape[:SLOTS], wire.shape[SLOTS] - len(places), *wire.shape[SLOTS + 1 :])
            return self._keeps.standing(derived(wire, shape, lambda v: np.delete(v, places, axis=SLOTS)))

        self._change(without)
        self.excluded = np.delete(self.excluded, places)
        if self.pads is not None:
            shape = (*self.pads.shape[:-1], len(self.excluded))
            self.pads = map_share(self.pads, shape, lambda v: np.delete(v, places, axis=-1))

    def _change(self, change: Callable[[Wire], Wire]) -> None:
        """Make every wire another one."""
        self._layers = [None if at is None else (change(at[0]), change(at[1])) for at in self._layers]


class Held(Memory):
    """Attention over all slots of a cache, the prefix's among them from the first pass on."""

    def __init__(self, cache: Cache, first: bool) -> None:
        self._cache, self._first = cache, first

    def read(self, ops: MaskedOps, part: Attention, heads: Heads[Wire]) -> View[Wire]:
        batch = heads.keys.shape[0]
        prefix = ops.prefix(part, batch) if self._first and part.prefix else None
        ops.ctx.touch(heads.keys)
        ops.ctx.mask_share(heads.keys)
        if prefix is None:
            return View(*self._cache.extend(part.index, [heads.keys], [heads.values]))
        ops.ctx.mask_share(prefix[0])
        keys, values = zip(prefix, (heads.keys, heads.values), strict=True)
        return View(*self._cache.extend(part.index, keys, values))


def _joined(before: Share | None, pads: Share | None, slots: int) -> Share | None:
    """Slots that are no padding have a share of zero at both parties."""
    if before is None:
        return pads
    if pads is None:
        shape = (*before.shape[:-1], slots)
        pads = map_share(before, shape, lambda _: np.zeros(shape, dtype=np.uint64))
    return beside(before, pads)
