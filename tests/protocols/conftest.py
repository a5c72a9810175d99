"""Puts the shared cases of the gates' tests on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from privinf.protocols import kernels, ring

if not hasattr(kernels, "onehot_window"):

    def _window(party, roots, cw, bits, lane, index, group, count):  # type: ignore[no-untyped-def]
        points = np.stack([ring.low(index - np.uint64(v), bits) for v in range(count)])
        found = kernels.onehot_point(party, roots, cw, bits, lane, points).reshape(count, -1, group)
        return ring.low(found.sum(-1).T.astype(np.uint64), lane)

    kernels.onehot_window = _window
