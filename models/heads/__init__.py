"""What is asked of a model once rows have gone through its layers: a file for each task."""

from __future__ import annotations

from typing import Protocol

from privinf.models.ops import Ops, Rows, Sum
from privinf.models.parts import Model
from privinf.protocols.registry import Registry


class Head(Protocol):
    """What the client is given of normalised rows (batch, rows, width) before their gain and bias."""

    def __call__(self, ops: Ops[Sum, Rows], model: Model, x: Rows) -> Sum: ...


HEADS: Registry[Head] = Registry("privinf.models.heads", "task")
