"""What is measured: a program on shares with its inputs, its weights and the float32 answer it must come close to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.models.engines.stores import ShapeStore
from privinf.models.plan.scales import POST
from privinf.models.programs.wire import Field
from privinf.protocols import prg, ring
from privinf.protocols.contract import QueryShape
from privinf.protocols.cost import Cost
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.wires import Share
from privinf.protocols.ring import F64, Shape


@dataclass(frozen=True)
class Workload:
    """A named program: `run(ctx, *inputs)` opens its inputs and returns a share of its result.

    `values` are the inputs in the clear, `clear` the answer in float32 or finer, `bound` the largest error that is
    no failure. `weights` are static tensors by name, masked before any query.
    """

    name: str
    shape: QueryShape
    inputs: tuple[Field, ...]
    result: Field
    run: Callable[..., Share]
    values: Callable[[], list[F64]]
    clear: Callable[[], npt.NDArray[Any]]
    bound: float
    leaves_out: str
    weights: Callable[[], dict[str, F64]] = dict
    weight_shapes: Mapping[str, Shape] = field(default_factory=dict)
    plan: str = ""  # hash of the wire plan, where there is one

    @cached_property
    def cost(self) -> Cost:
        """Declared rounds and bytes: exact, from shapes alone."""
        ctx = Counting(ShapeStore(self.weight_shapes, POST.of))
        self.run(ctx, *self.blank())
        return ctx.tally.total()

    def blank(self) -> list[Share]:
        """The inputs as the dealer sees them."""
        return [Share(f.shape, f.bits, f.scale) for f in self.inputs]

    def shares(self) -> tuple[bytes, bytes]:
        """Fresh shares of the inputs, one for each party."""
        parts: tuple[list[bytes], list[bytes]] = ([], [])
        for f, value in zip(self.inputs, self.values(), strict=True):
            encoded = ring.encode(value, f.scale, f.bits)
            first = prg.elements(prg.fresh_seed(), f.name, f.shape, f.bits)
            parts[0].append(ring.pack(first, f.bits))
            parts[1].append(ring.pack(encoded - first, f.bits))
        return b"".join(parts[0]), b"".join(parts[1])

    def parse(self, query: memoryview) -> list[Share]:
        """A party's share of the inputs."""
        shares, at = [], 0
        for f in self.inputs:
            data = ring.unpack(query[at : at + f.nbytes], f.bits, f.shape)
            shares.append(Share(f.shape, f.bits, f.scale, data))
            at += f.nbytes
        return shares

    def error(self, first: bytes, second: bytes) -> float:
        """How far the answer's two shares are from the clear answer."""
        f = self.result
        total = ring.unpack(first, f.bits, f.shape) + ring.unpack(second, f.bits, f.shape)
        return float(np.abs(ring.decode(total, f.scale, f.bits) - self._clear).max())

    @cached_property
    def _clear(self) -> npt.NDArray[Any]:
        return self.clear()
