"""The public bookkeeping of a session: the slots that its passes wrote and dropped, and where the next row stands."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models.cache import Cache
from privinf.models.decoder_layout import DecoderLayout
from privinf.models.decoder_step import Step
from privinf.protocols.program import Order, SessionShape

Slot = tuple[int, int]  # pass and row: a slot's name, which no other slot ever has


@dataclass
class Ledger:
    """Which slots a session's passes have written, dropped and ruled out, and where the next row stands."""

    layout: DecoderLayout
    shape: SessionShape
    slots: list[Slot] = field(default_factory=list)
    index: int = 0  # of the next pass
    start: int = 0  # position of its first row

    def __post_init__(self) -> None:
        self.start = len(self.layout.plan.prefix)

    @property
    def rows(self) -> int:
        """Rows of the next pass."""
        return self.layout.rows(self.shape, self.index)

    def retire(self, order: Order) -> list[Slot]:
        """Take out what an order drops; raise an error where it names what is not there, or nothing fits."""
        gone = order.retired
        if order.index != self.index:
            raise ProtocolError(f"an order for pass {order.index} where pass {self.index} is next")
        if list(gone) != sorted(set(gone)) or (gone and not 0 <= gone[0] <= gone[-1] < len(self.slots)):
            raise ProtocolError("an order drops slots that are not there")
        dropped = [self.slots[place] for place in gone]
        if any(row < 0 for _, row in dropped):
            raise ProtocolError("an order drops a slot of the prefix")
        self.require_room(len(gone))
        self.slots = [slot for place, slot in enumerate(self.slots) if place not in set(gone)]
        return dropped

    def write(self) -> None:
        """The next pass has been run."""
        if self.index == 0:
            self.slots += [(0, -1 - place) for place in range(len(self.layout.plan.prefix))]
        self.slots += [(self.index, row) for row in range(self.rows)]
        self.index += 1

    def require_room(self, dropped: int) -> None:
        """Raise InputError unless the next pass fits once so many slots are dropped."""
        prefix = 0 if self.index else len(self.layout.plan.prefix)
        if len(self.slots) - dropped + prefix + self.rows > self.layout.plan.max_tokens:
            raise InputError(f"the session is full: it holds {self.layout.plan.max_tokens} tokens")

    def step(self, excluded: npt.NDArray[np.bool_] | None = None) -> Step:
        """The next pass, of whose earlier slots some are ruled out."""
        rows, before = self.rows, len(self.slots)
        if self.index == 0:
            before = len(self.layout.plan.prefix)
        hidden = np.zeros((rows, before + rows), dtype=bool)
        if excluded is not None:
            hidden[:, : len(excluded)] = excluded
        hidden[:, before:] = np.triu(np.ones((rows, rows), dtype=bool), 1)
        return Step(np.arange(self.start, self.start + rows), hidden, self.index == 0)


def keep(ledger: Ledger, cache: Cache, kept: int) -> list[Slot]:
    """Rule out the rows of the pass before from `kept` on; return their slots."""
    if ledger.index == 0:
        if kept:
            raise ProtocolError("nothing can be kept before the first pass")
        return []
    before = ledger.layout.rows(ledger.shape, ledger.index - 1)
    prompt = ledger.index <= ledger.layout.passes(ledger.shape)
    whole = prompt or ledger.layout.padded(ledger.shape)
    if not (kept == before if whole else 1 <= kept <= before):
        raise ProtocolError(f"{kept} rows of {before} cannot be kept")
    ledger.start += kept
    out = [(ledger.index - 1, row) for row in range(kept, before)]
    cache.exclude([ledger.slots.index(slot) for slot in out])
    return out
