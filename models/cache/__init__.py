"""Cache policies: a file each says which slots of earlier passes attention reads, of those that an engine keeps."""

from __future__ import annotations

from typing import Protocol

from privinf.models.ops import Heads, Ops, Rows, Sum, View
from privinf.models.parts import Attention
from privinf.protocols.registry import Registry


class Policy(Protocol):
    """One policy: how many slots it reads depends on public sizes alone.

    It has the engine remember a pass's keys and values, and returns those of the newest slots, the pass's own last
    and all of them among these: what a row may not see is matched from the end.
    """

    def __call__(self, ops: Ops[Sum, Rows], part: Attention, heads: Heads[Rows]) -> View[Rows]: ...


POLICIES: Registry[Policy] = Registry("privinf.models.cache", "cache policy")
