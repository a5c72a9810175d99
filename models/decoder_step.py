"""One pass as its program takes it: the shares of its query, and what everybody knows of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privinf.models.rotary import Places
from privinf.protocols.wires import Share


@dataclass(frozen=True)
class Lookup:
    """Rows of one table: shares of plus or minus the one-hot of each row (1, rows, table), and whether it is minus."""

    onehot: Share
    negated: Share


@dataclass(frozen=True)
class DecoderQuery:
    """A pass's shares: rows (1, rows, width) or how to look them up; what is padding; how far the prompt is moved.

    turn: cosines and sines (2, 1, 1, head width / 2) of the angles by which the prefix moves towards the prompt;
    turned: of the rows' own (2, 1, rows, head width / 2), where the servers do not know these. rejected: 1 for each
    row of the pass before that is out.
    """

    rows: Share | None
    lookups: Mapping[str, Lookup]
    pads: Share | None
    turn: Share | None
    turned: Share | None = None
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
