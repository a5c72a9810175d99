"""Numbers of each row that no cover of the columns and no order of the rows changes, for matching rows one by one.

With rows u, r = u·u, s_k = Σ r^k u and M_k = Σ r^k u uᵀ, all of r, u·s_k and u M_k uᵀ are the same after u B with B
orthogonal. Rows whitened by their own second moments (C^-1/2) undo any B of full row rank, rectangular ones too: r is
then the leverage score.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privinf.equivariant.attacks.matching import Array, Ids, nearest

F64 = npt.NDArray[np.float64]
ORDERS = 3
RANK = 1e-5  # singular values below this part of the largest are taken for rounding
CORE = 0.9  # rows of unusual length, a tenth, are left out of the sums: one of them would outweigh all others


def whitened(rows: Array) -> F64:
    """Rows in a frame where their second moments are the identity."""
    exact = rows.astype(np.float64)
    values, vectors = np.linalg.eigh(exact.T @ exact)
    kept = values > RANK**2 * values[-1]
    return np.asarray(exact @ (vectors[:, kept] / np.sqrt(values[kept] / len(rows))))


def leverage(rows: Array) -> F64:
    """The diagonal of the hat matrix, times the number of rows."""
    return np.asarray(np.square(whitened(rows)).sum(1), dtype=np.float64)


def signatures(rows: Array) -> F64:
    """(rows, features), unscaled; of `whitened` rows they survive any cover, else orthogonal ones."""
    exact = rows.astype(np.float64)
    size = np.square(exact).sum(1)
    core = np.minimum(size / np.quantile(size, CORE), 1.0)
    features = [size]
    for order in range(ORDERS):
        weighted = exact * (core**order)[:, None]
        features.append(exact @ weighted.sum(0))
        moment = weighted.T @ exact
        features.append(np.einsum("ij,ij->i", exact @ moment, exact))
        features.append(exact @ (moment @ exact.sum(0)))
    return np.stack(features, axis=1)


def comparable(ours: F64, theirs: F64) -> tuple[F64, F64]:
    """Both with each feature in units of its spread, so that distances mean something."""
    middle, spread = np.median(theirs, axis=0), np.std(theirs, axis=0)
    spread[spread == 0] = 1.0
    return (ours - middle) / spread, (theirs - middle) / spread


def matched(ours: F64, theirs: F64) -> tuple[Ids, Array]:
    """Of each of our rows the closest of theirs, best first, and their squared distances."""
    return nearest(*comparable(ours, theirs))
