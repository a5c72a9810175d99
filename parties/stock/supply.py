"""What a party does where a dealer prepares: it stores its halves, and party 0 decides with party 1 on what is kept."""

from __future__ import annotations

from collections import Counter
from functools import partial

import grpc

from privinf.config import PartyConfig
from privinf.errors import ProtocolError
from privinf.parties.logs import Log
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import when_over
from privinf.parties.rpc.messages import (
    read_id,
    read_identity,
    read_ids,
    read_shape,
    require_same,
    shape_message,
)
from privinf.parties.served import QUERIES, served
from privinf.parties.stock.epochs import Epochs
from privinf.parties.stock.fetch import DealerLink
from privinf.parties.stock.keeper import Keeper
from privinf.parties.stock.room import Limits
from privinf.parties.stock.spool import sized
from privinf.parties.stock.store import PreparationStore
from privinf.protocols.contract import PartyProgram
from privinf.v1 import party_pb2


class Supply:
    """The preparations of one party."""

    def __init__(
        self, config: PartyConfig, program: PartyProgram, dealer: Peer, other: Peer | None, log: Log
    ) -> None:
        self._config, self._program = config, program
        usable = partial(sized, queries=program.queries)
        limits = Limits(
            config.max_store_bytes, config.max_store_count, config.max_memory_bytes, config.memory_each_bytes
        )
        self.store = PreparationStore(config.store, program.identity, limits, usable)
        self._dealer = DealerLink(dealer, program, self.store, config.connect_seconds)
        self.keeper = Keeper(config, self.store, self._dealer, other, log) if other is not None else None
        self._epochs = Epochs()

    def start(self) -> None:
        """Begin to keep preparations ready."""
        if self.keeper is not None:
            self.keeper.start()

    def drain(self) -> None:
        """Have none made any more."""
        if self.keeper is not None:
            self.keeper.stop()

    def ready(self) -> list[party_pb2.Ready]:
        """Count what is ready."""
        held = Counter(record.shape for record in self.store.held())
        return [party_pb2.Ready(shape=shape_message(shape), count=count) for shape, count in held.items()]

    def prefetch(
        self, request: party_pb2.PrefetchRequest, context: grpc.ServicerContext, caller: str
    ) -> party_pb2.PrefetchReply:
        """Fetch our half of a preparation that party 0 had drawn."""
        require_same(self._program.identity, read_identity(request.identity), caller)
        shape = read_shape(request.shape)
        served(self._program.queries, QUERIES).sizes(shape)
        preparation_id = read_id(request.preparation_id, "a preparation id")
        epoch = read_id(request.epoch, "an epoch")
        self._epochs.enter(epoch)
        deadline = Deadline.of(context, max(self._config.max_seconds, self._config.prepare_seconds))
        record = self._dealer.join(preparation_id, shape, epoch, deadline, partial(when_over, context))
        return party_pb2.PrefetchReply(prepare_seconds=record.prepare_seconds)

    def reconcile(
        self, request: party_pb2.ReconcileRequest, context: grpc.ServicerContext, caller: str
    ) -> party_pb2.ReconcileReply:
        """Drop what party 0 will never use: what it says is gone, and what an earlier run of it left here."""
        held, gone = read_ids(request.held, "what is held"), read_ids(request.gone, "what is gone")
        if held & gone:
            raise ProtocolError("a preparation is held or gone, not both")
        self._epochs.enter(read_id(request.epoch, "an epoch"))
        mine = self.store.held()
        old = {
            record.preparation_id
            for record in mine + self.store.coming()
            if record.epoch != request.epoch and record.preparation_id not in held
        }
        self.store.burn(old | gone)
        return party_pb2.ReconcileReply(held=sorted(held & {record.preparation_id for record in mine}))
