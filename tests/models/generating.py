"""A generation with all three roles in one process, pass after pass, beside the fixed interpreter under the same seeds."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import numpy as np

from privinf.models import decoder_query as wire
from privinf.models.decoder_plan import decoder_scale
from privinf.models.decoder_program import (
    DecoderDealerSession,
    DecoderPartySession,
    FixedSession,
)
from privinf.models.decoder_query import DecoderLayout, Rows
from privinf.models.fold import F64
from privinf.models.weights import DealerStore, IdealStore, PartyStore, encode, mask_tensor
from privinf.protocols import prg
from privinf.protocols.lockstep import Loop, Tape
from privinf.protocols.program import BOTH, Order, SessionShape
from privinf.protocols.ring import U64

SHARING = "sharing"


@dataclass
class Trio:
    """Dealer and both parties of one session; `kept` answers of both interpreters can be compared."""

    layout: DecoderLayout
    shape: SessionShape
    weights: Mapping[str, F64]
    names: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    orders: list[Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        layout, shape = self.layout, self.shape
        encoded = encode(self.weights, decoder_scale)
        public = encoded if layout.public else None
        embeddings = self.weights if layout.embedded else None
        self.fixed = FixedSession(layout, shape, IdealStore(encoded, decoder_scale), encoded, embeddings)
        seeds = prg.fresh_seed(), prg.fresh_seed()
        opened = {name: mask_tensor(v, seeds, SHARING, name) for name, v in encoded.items()}
        shapes = {name: v.shape for name, v in encoded.items()}
        masks = None if layout.public else DealerStore(shapes, seeds, SHARING, decoder_scale)
        self.dealer = DecoderDealerSession(layout, shape, masks, public)
        stores = [
            None if layout.public else PartyStore(opened, seed, SHARING, decoder_scale) for seed in seeds
        ]
        self.parties = [DecoderPartySession(layout, shape, b, stores[b], public) for b in (0, 1)]
        for party, names in zip(self.parties, self.names, strict=True):
            party.journal = names.append
        queues: tuple[Queue[bytes], Queue[bytes]] = (Queue(), Queue())
        self.ends = Loop(0, queues[0], queues[1], None), Loop(1, queues[1], queues[0], None)
        self._ahead: list[tuple[tuple[bytes, bytes], list[Any]]] = []

    def prepare(self) -> None:
        """Deal and prepare one more pass than there are."""
        order, seeds = self.parties[0].order(), (prg.fresh_seed(), prg.fresh_seed())
        tapes: tuple[list[bytes], list[bytes]] = ([], [])
        for to, data in self.dealer.deal(order, seeds):
            for party in (0, 1) if to == BOTH else (to,):
                tapes[party].append(bytes(data))
        prepared = []
        for b in (0, 1):
            tape = Tape(tapes[b])
            prepared.append(self.parties[b].prepare(order, tape, seeds[b]))
            assert tape.left == 0
        self.orders.append(order)
        self._ahead.append((seeds, prepared))

    def step(self, kept: int, rows: Rows) -> tuple[U64, U64 | None]:
        """The sum of the parties' answers of the next pass, and what the fixed interpreter gives."""
        if not self._ahead:
            self.prepare()
        seeds, prepared = self._ahead.pop(0)
        index = self.fixed.ledger.index
        embeddings = self.weights if self.layout.embedded else None
        queries = wire.encode(self.layout, self.shape, index, rows, embeddings)
        with ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(party.evaluate, kept, memoryview(query), ready, end)
                for party, query, ready, end in zip(self.parties, queries, prepared, self.ends, strict=True)
            ]
            parts = [run.result(120) for run in runs]
        for b, (part, query) in enumerate(zip(parts, queries, strict=True)):
            assert len(query) == self.parties[b].query_bytes(index)
            assert len(part) == self.parties[b].result_bytes(index)
        field_ = self.layout.result(self.shape, index)
        total = sum(np.asarray(wire.ring.unpack(part, field_.bits, field_.shape)) for part in parts)
        retired = prepared[0].order.retired
        fixed = self.fixed.run(kept, rows, seeds, retired)
        return wire.ring.low(np.asarray(total, dtype=np.uint64), field_.bits), fixed
