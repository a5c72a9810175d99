"""Orders of a block: a file each says where norms stand, and plans the rings of a model that is put together so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from privinf.protocols.registry import Registry

if TYPE_CHECKING:  # parts are put together as an order says
    from privinf.models.engines.observers import Ranges
    from privinf.models.ops import Ops, Rows, Sum
    from privinf.models.parts import Model
    from privinf.models.plan.rings import Plan
    from privinf.models.plan.scales import Scales
    from privinf.models.spec import ModelSpec


@dataclass(frozen=True)
class Limits:
    """What a plan must hold beside what was measured.

    max_tokens: of a text or a session. prefix: tokens of the public prefix. embedding: the largest magnitude in the
    tables of embeddings, which is exact. cache: the policy of a session's cache. pixels: the largest magnitude of an
    image's.
    """

    max_tokens: int
    prefix: tuple[int, ...] = ()
    embedding: float = 0.0
    cache: str = "full"
    pixels: float = 0.0


class Run(Protocol):
    """All layers."""

    def __call__(self, ops: Ops[Sum, Rows], model: Model, outputs: int | None) -> Rows | None:
        """Normalised rows, before gain and bias: the last `outputs` of them, or all; none where 0 are wanted."""


@dataclass(frozen=True)
class Order:
    """One order: `plan` raises ModelError that names the site whose range fits no ring; `scales` are of every plan.

    skips: parts that are added to the rows of a norm, whose gain and bias come back there, of "attn" and "ffn".
    last: whether a norm of its own stands before the head.
    """

    run: Run
    scales: Scales
    plan: Callable[[ModelSpec, Ranges, Limits], Plan]
    skips: frozenset[str] = frozenset()
    last: bool = True


ORDERS: Registry[Order] = Registry("privinf.models.orders", "order")
