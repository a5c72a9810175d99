"""The public bookkeeping of a session: the slots that its passes wrote and dropped, and where the next row stands.

It is the same for all prompts of a session: nothing that everybody knows tells one from another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, ProtocolError
from privinf.models.cache._store import Cache
from privinf.models.engines.positions import Places
from privinf.models.programs.layout import SessionLayout
from privinf.protocols.contract import Advance, Order, SessionShape

Slot = tuple[int, int]  # pass and row: a slot's name, which no other slot ever has


@dataclass(frozen=True, eq=False)
class Step:
    """What everybody knows of one pass: positions of its rows, and which slots each may not attend to."""

    places: Places
    hidden: npt.NDArray[np.bool_]  # (rows, slots), the pass's own last
    first: bool

    @property
    def rows(self) -> int:
        return len(self.places)


@dataclass
class Ledger:
    """Which slots a session's passes have written, dropped and ruled out, and where the next row stands."""

    layout: SessionLayout
    shape: SessionShape
    slots: list[Slot] = field(default_factory=list)
    index: int = 0  # of the next pass
    start: int = 0  # position of its first row
    after: tuple[int, ...] = ()  # which row each of the last pass's rows but the first follows

    def __post_init__(self) -> None:
        self.start = len(self.layout.plan.prefix)

    @property
    def rows(self) -> int:
        """Rows of the next pass."""
        return self.layout.rows(self.shape, self.index)

    @property
    def _entering(self) -> int:
        """Slots of the prefix, which come with the first pass."""
        return 0 if self.index else len(self.layout.plan.prefix)

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

    def write(self, after: tuple[int, ...] = ()) -> None:
        """The next pass has been run, and its rows followed those."""
        self.slots += [(0, -1 - place) for place in range(self._entering)]
        self.slots += [(self.index, row) for row in range(self.rows)]
        self.index, self.after = self.index + 1, after or _chain(self.rows)

    def require_room(self, dropped: int) -> None:
        """Raise InputError unless the next pass fits once so many slots are dropped."""
        if len(self.slots) - dropped + self._entering + self.rows > self.layout.plan.max_tokens:
            raise InputError(f"the session is full: it holds {self.layout.plan.max_tokens} tokens")

    def step(self, excluded: npt.NDArray[np.bool_] | None = None, after: tuple[int, ...] = ()) -> Step:
        """The next pass, of whose earlier slots some are ruled out, and whose rows follow those."""
        rows, before = self.rows, len(self.slots) + self._entering
        sees = _lines(after or _chain(rows))
        hidden = np.zeros((rows, before + rows), dtype=bool)
        if excluded is not None:
            hidden[:, : len(excluded)] = excluded
        hidden[:, before:] = ~sees
        return Step(self.start + sees.sum(axis=1) - 1, hidden, self.index == 0)

    def require(self, advance: Advance) -> None:
        """Raise ProtocolError for an advance that cannot be; nothing has changed then."""
        self._require_kept(advance.kept)
        self._require_after(advance.after)

    def _require_after(self, after: tuple[int, ...]) -> None:
        if not after:
            return
        if self.index < self.layout.passes(self.shape) or self.layout.padded(self.shape):
            raise ProtocolError("the rows of this pass must follow one another")
        if len(after) != self.rows - 1:
            raise ProtocolError(f"a pass of {self.rows} rows is described by {len(after)}")
        if not all(0 <= row <= place for place, row in enumerate(after)):
            raise ProtocolError("a row of this pass follows none before it")

    def _require_kept(self, kept: tuple[int, ...]) -> None:
        """Raise ProtocolError unless those rows of the pass before may stay: one line, from its first row on."""
        if self.index == 0:
            if kept:
                raise ProtocolError("nothing can be kept before the first pass")
            return
        before = self.layout.rows(self.shape, self.index - 1)
        prompt = self.index <= self.layout.passes(self.shape)
        whole = prompt or self.layout.padded(self.shape)
        parents = dict(enumerate(self.after, 1))
        line = kept[:1] == (0,) and all(parents.get(row) == above for above, row in pairwise(kept))
        if not (kept == tuple(range(before)) if whole else line):
            raise ProtocolError(f"these {len(kept)} rows of {before} cannot be kept")


def keep(ledger: Ledger, cache: Cache, kept: tuple[int, ...]) -> list[Slot]:
    """Rule out the rows of the pass before that are not kept, in an advance that can be; return their slots."""
    if ledger.index == 0:
        return []
    before = ledger.layout.rows(ledger.shape, ledger.index - 1)
    ledger.start += len(kept)
    out = [(ledger.index - 1, row) for row in range(before) if row not in kept]
    cache.exclude([ledger.slots.index(slot) for slot in out])
    return out


def _chain(rows: int) -> tuple[int, ...]:
    return tuple(range(rows - 1))


def _lines(after: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """For each row, itself and those that it follows, (rows, rows)."""
    lines = np.eye(len(after) + 1, dtype=bool)
    for place, row in enumerate(after, 1):
        lines[place] |= lines[row]
    return lines
