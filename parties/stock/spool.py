"""A preparation that was claimed: its bytes in program order, each compared with its tag before it is handed out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from privinf.errors import InputError
from privinf.parties.served import QUERIES, served
from privinf.parties.stock.digest import PRECOMPUTED, TAG, Checked, blocks
from privinf.parties.stock.mapped import Mapping
from privinf.parties.stock.record import Record
from privinf.protocols.contract import PartyQueries


class Preparation:
    """A claimed preparation, read once from front to back; it has no name on disk any more, if it had one.

    What it hands out was compared with its tags: DamagedPreparation is raised in place of a byte that was changed.
    """

    def __init__(self, record: Record, mapping: Mapping, release: Callable[[bytes], None]) -> None:
        self.record, self._mapping, self._release = record, mapping, release
        middle = TAG * blocks(record.sizes.preparation)
        self._precomputed_tags = record.tags[middle:]
        mapping.checked = Checked(mapping.stream, record.seed, record.tags[:middle])
        self.read = mapping.read

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return self._mapping.remaining

    @property
    def precomputed(self) -> memoryview:
        """What the program wrote beside it, to be read alone; compared as a whole, it is a small part."""
        whole = self._mapping.precomputed
        Checked(whole, self.record.seed, self._precomputed_tags, PRECOMPUTED).up_to(len(whole))
        return whole

    def close(self) -> None:
        """Give the room back, also if the program that failed is not yet forgotten."""
        self._mapping.erase(partial(self._release, self.record.preparation_id))


def sized(record: Record, queries: PartyQueries | None) -> bool:
    """Return whether the program takes just these sizes: they may change though its identity does not."""
    try:
        return record.sizes == served(queries, QUERIES).stock_sizes(record.shape)
    except InputError:
        return False
