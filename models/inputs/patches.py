"""How a model of images takes its query in: pixels that private weights multiply, or rows that the client made of them.

What a client chooses of a private model are its pixels, and nothing larger: they are opened in a ring of their own,
checked there as all values are, and lifted to the ring of the residual. Where weights are public, the client multiplies
by them itself, with the same integers, and saves both rounds.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from privinf.models.engines.shapes import stacked
from privinf.models.engines.weights import Weights
from privinf.models.parts import FRONT
from privinf.models.plan.scales import PATCH
from privinf.models.programs.layout import ImageLayout
from privinf.models.programs.wire import Asked
from privinf.protocols.masked.gates.product import Product
from privinf.protocols.masked.gates.watch import watch_lifted
from privinf.protocols.masked.interpreter import Interpreter
from privinf.protocols.masked.wires import Share, map_share, narrow
from privinf.protocols.ring import U64, Shape


def take(ctx: Interpreter, layout: ImageLayout, query: Asked, weights: Weights) -> Share:
    """The residual before the first layer (batch, rows, width)."""
    rows = query.shared.get("rows")
    if rows is None:
        rows = _embedded(ctx, layout, query.shared["pixels"], weights)
    shape = (rows.shape[0], 1, rows.shape[2])
    none = map_share(rows, shape, partial(_zeros, shape))
    front = [weights.plus(ctx, none, name) for name in FRONT[: layout.spec.patches.front]]
    return stacked([*front, rows])


def _embedded(ctx: Interpreter, layout: ImageLayout, pixels: Share, weights: Weights) -> Share:
    """Rows of patches, with their places."""
    whole = layout.plan.residual_bits
    opened = ctx.open(narrow(pixels, layout.plan.pixel_bits))
    watch_lifted(ctx, opened, whole)
    lifted = ctx.open(ctx.run(Product(whole), opened))
    return weights.plus(ctx, weights.product(ctx, lifted, PATCH), "embed.position")


def _zeros(shape: Shape, like: U64) -> U64:
    return np.zeros(shape, dtype=np.uint64)
