"""Two parties with a dealer: weights and queries under masks, of which each party knows half and the dealer all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privinf.models.engines.stores import (
    DealerStore,
    PartyStore,
    ShapeStore,
    WidthStore,
    mask_share,
    mask_tensor,
)
from privinf.models.programs import passes, query, wire
from privinf.models.programs.layout import TASKS, Layout, QueryLayout, SessionLayout
from privinf.models.programs.passes import Shadow
from privinf.models.programs.public import Public
from privinf.models.programs.query import QueryDealer, QueryParty
from privinf.models.programs.session import SessionDealer, SessionParty
from privinf.models.sharing.folder import WEIGHTS, read_seed, read_tensors, write_seed, write_tensors
from privinf.models.spec import ModelSpec
from privinf.protocols import prg
from privinf.protocols.contract import DealerProgram, Order, PartyProgram, QueryShape, SessionShape
from privinf.protocols.cost import Tally
from privinf.protocols.masked import TOPOLOGY
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.wires import Wire
from privinf.protocols.ring import U64

if TYPE_CHECKING:
    from privinf.models.sharing.bundle import Bundle

SEED: Final = "mask.seed"  # of a party's half of all masks
DEALT: Final = ("mask0.seed", "mask1.seed")  # the same, in the dealer's folder


class Masked:
    """Splits, shares and adds up as the protocol `masked` does."""

    topology = TOPOLOGY

    def split(self, weights: Mapping[str, U64], sharing: str, folders: Mapping[str, Path]) -> None:
        """Both parties get the same masked tensors, and each its half of the masks as a seed."""
        seeds = prg.fresh_seed(), prg.fresh_seed()
        masked = {name: mask_tensor(value, seeds, sharing, name) for name, value in weights.items()}
        for party, seed in enumerate(seeds):
            write_tensors(folders[f"party{party}"] / WEIGHTS, masked)
            write_seed(folders[f"party{party}"] / SEED, seed)
            write_seed(folders["dealer"] / DEALT[party], seed)

    def opened(self, bundle: Bundle[Layout], folders: Mapping[str, Path]) -> dict[str, U64]:
        """The tensors without their masks."""
        tensors = read_tensors(folders["party0"] / WEIGHTS, bundle.layout.masked)
        for party in range(TOPOLOGY.parties):
            seed = read_seed(folders[f"party{party}"] / SEED)
            tensors = {
                name: value - mask_share(seed, bundle.sharing, name, value.shape)
                for name, value in tensors.items()
            }
        return tensors

    def dealer(self, bundle: Bundle[Layout]) -> DealerProgram:
        """Masks are derived before the first preparation."""
        layout, store = bundle.layout, None
        if layout.masked:
            seeds = read_seed(bundle.directory / DEALT[0]), read_seed(bundle.directory / DEALT[1])
            store = DealerStore(layout.masked, seeds, bundle.sharing, layout.scale)
            store.warm(_widths(layout))
        if isinstance(layout, QueryLayout):
            return DealerProgram(bundle.identity, TOPOLOGY, queries=QueryDealer(layout, store))
        assert isinstance(layout, SessionLayout)
        return DealerProgram(bundle.identity, TOPOLOGY, sessions=SessionDealer(layout, store))

    def party(self, bundle: Bundle[Layout], index: int, known: Mapping[str, U64]) -> PartyProgram:
        """Shares of masks and operands are made before the first query."""
        layout, store, public = bundle.layout, None, Public.of(bundle.layout, known)
        if layout.masked:
            seed = read_seed(bundle.directory / SEED)
            store = _held(bundle, seed)
            store.warm(index, _widths(layout))
        if isinstance(layout, QueryLayout):
            queries = QueryParty(index, layout, store, public)
            return PartyProgram(bundle.identity, TOPOLOGY, index, queries=queries)
        assert isinstance(layout, SessionLayout)
        sessions = SessionParty(index, layout, store, public)
        return PartyProgram(bundle.identity, TOPOLOGY, index, sessions=sessions)

    def share(self, form: wire.Form, values: wire.Values) -> tuple[bytes, ...]:
        """Keys that select rows, and bits."""
        return wire.split(form, values)

    def add_up(self, field: wire.Field, parts: Sequence[bytes]) -> U64:
        """The sum modulo 2^64."""
        return wire.add_up(field, parts)

    def count_query(self, layout: QueryLayout, shape: QueryShape) -> Tally:
        """What the gates of the program declare."""
        return query.count(layout, shape).tally

    def count_prompt(self, layout: SessionLayout, shape: SessionShape) -> list[Tally]:
        """The same of the passes that read the prompt."""
        return [ctx.tally for ctx in passes.count(layout, shape, layout.passes(shape))]

    def count_session(
        self, layout: SessionLayout, shape: SessionShape, later: int
    ) -> tuple[list[Tally], Tally]:
        """The same, and of a pass behind slots that no pass has written: it depends on their number alone."""
        shadow, public = Shadow(layout, shape), Public.blank(layout)

        def run() -> Tally:
            ctx = Counting(ShapeStore(layout.masked, layout.scale))
            shadow.run(ctx, Order(shadow.ledger.index), public)
            return ctx.tally

        reading = [run() for _ in range(layout.passes(shape))]
        _fill(shadow, layout.spec, later)
        return reading, run()


def _held(bundle: Bundle[Layout], seed: bytes) -> PartyStore:
    """A party's weights; nothing else refers to them, so that `warm` lets go of what it replaces."""
    layout = bundle.layout
    tensors = read_tensors(bundle.directory / WEIGHTS, layout.masked)
    return PartyStore(tensors, seed, bundle.sharing, layout.scale)


def _widths(layout: Layout) -> dict[str, int]:
    """Of weights that meet few rows: a token's pass reads all of them, and is as fast as they are small."""
    if not isinstance(layout, SessionLayout):
        return {}
    store = WidthStore(layout.masked, layout.scale)
    for task in TASKS:
        ctx = Counting(store)
        Shadow(layout, SessionShape(task, 1, 1)).run(ctx, Order(0), Public.blank(layout))
    return store.widths()


def _fill(shadow: Shadow, spec: ModelSpec, slots: int) -> None:
    """Put blank slots into the cache."""
    if not slots:
        return
    for layer in range(spec.layers):
        blank = Wire(
            (shadow.ledger.shape.batch, spec.kv_heads, slots, spec.head_width), 0, 0
        )  # ring and scale are those before it
        shadow.cache.extend(layer, [blank], [blank])
    shadow.cache.settle(slots, None)
    shadow.ledger.slots += [(shadow.ledger.index, row) for row in range(slots)]


ENTRY: Final = Masked()
