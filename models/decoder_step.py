"""One pass as its program takes it: the shares of its query, and what everybody knows of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.models.engines.positions import Places
from privinf.protocols.masked.wires import Share


@dataclass(frozen=True)
class DecoderQuery:
    """A pass's shares: what is looked up in which table, and bits for which rows are padding.

    lookups: modulo 2^64, plus or minus the one-hot of each row (1, rows, table): that they are is checked.
    rejected: which drafts of the pass before are out, where the servers are not to know.
    """

    lookups: Mapping[str, Share]
    pads: Share | None
    rejected: Share | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """What everybody knows of one pass: positions of its rows, and which slots each may not attend to."""

    places: Places
    hidden: npt.NDArray[np.bool_]  # (rows, slots), the pass's own last
    first: bool

    @property
    def rows(self) -> int:
        return len(self.places)
