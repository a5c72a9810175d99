"""Three parties without a dealer that add numbers: what holds of any number of parties is tried on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.config import PartyConfig
from privinf.errors import InputError
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.messages import identity_message, shape_message
from privinf.parties.rpc.methods import INFER
from privinf.parties.rpc.roles import PARTIES
from privinf.parties.serve import PartyServer
from privinf.protocols.contract import (
    Channel,
    Identity,
    PartyProgram,
    QueryShape,
    QuerySizes,
    Source,
    Stock,
    StockSizes,
    Topology,
)
from privinf.v1 import party_pb2

U64 = npt.NDArray[np.uint64]
THREE = Topology(parties=3, dealer=False)
IDENTITY = Identity("1", "adding", "numbers", "none")
TASK = "add"


@dataclass
class Adder:
    """Adds its shares of each row of numbers, and gives the sums' shares anew: each pair of parties exchanges masks."""

    index: int
    used: list[Stock | None] = field(default_factory=list)

    def program(self, identity: Identity = IDENTITY) -> PartyProgram:
        """Return the program of a party's process."""
        return PartyProgram(replace(identity, role=PARTIES[self.index]), THREE, self.index, self)

    def sizes(self, shape: QueryShape) -> QuerySizes:
        """A word a number, and one for each sum."""
        if shape.task != TASK:
            raise InputError(f"there is no task {shape.task}")
        return QuerySizes(8 * shape.batch * shape.tokens, 8 * shape.batch)

    def stock_sizes(self, shape: QueryShape) -> StockSizes:
        """Nothing is held."""
        return StockSizes()

    def draw(self, nbytes: int) -> bytes:
        """Return masks."""
        return os.urandom(nbytes)

    def prepare(self, shape: QueryShape, prep: Source, seed: bytes, room: memoryview) -> None:
        """Nothing is prepared."""
        raise AssertionError

    def evaluate(self, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Channel) -> bytes:
        """One round with each of the others."""
        self.used.append(stock)
        numbers = np.frombuffer(query, np.uint64).reshape(shape.batch, shape.tokens)
        total = numbers.sum(axis=1, dtype=np.uint64)
        others = [channel.to(peer) for peer in range(THREE.parties) if peer != self.index]
        masks = [np.frombuffer(self.draw(8 * shape.batch), np.uint64) for _ in others]
        for link, mask in zip(others, masks, strict=True):
            link.push(mask.tobytes())
        for link, mask in zip(others, masks, strict=True):
            (theirs,) = link.pull([8 * shape.batch])
            total = total + mask - np.frombuffer(theirs, np.uint64)
        return bytes(total.tobytes())


@dataclass
class Three:
    """Three servers in this process, and a client's way to each."""

    adders: list[Adder]
    peers: list[Peer]
    servers: list[PartyServer]

    def add(self, numbers: U64, identities: tuple[Identity, ...] = (IDENTITY,) * 3) -> tuple[int, list[Any]]:
        """Return the sum of the parties' answers, and what each said that it took."""
        calls = self.ask(numbers, identities)
        try:
            replies = [list(call) for call in calls]
        finally:  # where one party refuses, the others wait for it
            for call in calls:
                call.cancel()
        total = sum(int.from_bytes(reply[-1].result, "little") for reply in replies)
        return total % 2**64, [reply[-1].stats for reply in replies]

    def ask(self, numbers: U64, identities: tuple[Identity, ...] = (IDENTITY,) * 3) -> list[Any]:
        """Begin the calls of a query, of which each gives a party's replies."""
        shares = [np.frombuffer(os.urandom(numbers.nbytes), np.uint64) for _ in range(2)]
        shares.append(numbers - shares[0] - shares[1])
        shape, session = QueryShape(TASK, 1, len(numbers)), os.urandom(16)

        def begin(peer: Peer, share: U64, identity: Identity) -> Any:
            said = identity_message(replace(identity, role="client"))
            opened = party_pb2.InferOpen(session_id=session, identity=said, shape=shape_message(shape))
            parts = (party_pb2.InferRequest(open=opened), party_pb2.InferRequest(chunk=share.tobytes()))
            return INFER.on(peer)(iter(parts), timeout=60, metadata=peer.metadata)

        return list(map(begin, self.peers, shares, identities))


@contextmanager
def three(folder: Path, identities: tuple[Identity, ...] = (IDENTITY,) * 3) -> Iterator[Three]:
    """Run the three servers, the last first: each dials those of a higher index."""
    adders, addresses, servers = [Adder(index) for index in range(3)], [""] * 3, []
    with ExitStack() as stack:
        for index in reversed(range(3)):
            config = PartyConfig(
                party=index,
                store=folder / PARTIES[index],
                peer=tuple(addresses[index + 1 :]),
                insecure_no_tls=True,
                stop_seconds=0.2,
            )
            server = stack.enter_context(PartyServer(config, adders[index].program(identities[index])))
            addresses[index] = f"127.0.0.1:{server.port}"
            servers.append(server)
        peers = [dial(where, PARTIES[i], None, "client") for i, where in enumerate(addresses)]
        for peer in peers:
            stack.callback(peer.close)
        yield Three(adders, peers, servers)
