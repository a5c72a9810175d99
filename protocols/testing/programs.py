"""The suite of a protocol, as processes and clients see it: all programs, shares of queries, sums of answers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from privinf.protocols.contract import (
    ALL,
    ID_BYTES,
    SEED_BYTES,
    DealerProgram,
    PartyProgram,
    QueryShape,
    Stock,
)
from privinf.protocols.testing.lockstep import Tape
from privinf.protocols.testing.network import Wires, answered, queries_of
from privinf.protocols.testing.uniform import SURPRISE, surprise

WHOLE = 64  # bytes: of shorter messages too much may be filled up
UNIFORM_RUNS = 12


@dataclass(frozen=True)
class Dealt:
    """What every party holds for one query, and how much it was sent."""

    stocks: list[Stock | None]
    nbytes: list[int]

    @property
    def left(self) -> list[int]:
        """Bytes that were not read."""
        return [stock.source.left for stock in self.stocks if stock and isinstance(stock.source, Tape)]


class ProtocolSuite:
    """Subclass it and say what is run, what is asked, and what an answer must be.

    `queries` are values that `share` takes, at the edges of what is served; `right` raises AssertionError where an
    answer lies beyond the declared bound. The protocol answers single queries.
    """

    shape: QueryShape

    def programs(self) -> tuple[Sequence[PartyProgram], DealerProgram | None]:
        """Return the programs of all parties, in order, and the dealer's."""
        raise NotImplementedError

    def queries(self) -> Sequence[Any]:
        """Return two queries or more."""
        raise NotImplementedError

    def share(self, query: Any) -> Sequence[bytes]:
        """Return every party's share of a query, drawn anew."""
        raise NotImplementedError

    def right(self, query: Any, answers: Sequence[bytes]) -> None:
        """Compare the sum of the answers with the clear function."""
        raise NotImplementedError

    @cached_property
    def _roles(self) -> tuple[Sequence[PartyProgram], DealerProgram | None]:
        return self.programs()

    def test_programs_fit_their_topology(self) -> None:
        """All roles attest one protocol; a dealer is there where the topology says so."""
        parties, dealer = self._roles
        roles: list[PartyProgram | DealerProgram] = [*parties, *([dealer] if dealer else [])]
        assert len({role.topology for role in roles}) == len({role.identity.protocol for role in roles}) == 1
        assert (len(parties), dealer is not None) == (
            roles[0].topology.parties,
            roles[0].topology.dealer,
        )
        assert [party.index for party in parties] == list(range(len(parties)))

    def test_answers_are_right(self) -> None:
        """At every edge, within the bound; all that was prepared is used, and sizes are those declared."""
        parties, _ = self._roles
        for query in self.queries():
            shares, dealt = self.share(query), self._dealt()
            answers, _ = answered(parties, self.shape, shares, dealt.stocks)
            self.right(query, answers)
            sizes = [queries_of(party).sizes(self.shape) for party in parties]
            assert [size.query for size in sizes] == list(map(len, shares))
            assert [size.result for size in sizes] == list(map(len, answers))
            assert [
                queries_of(party).stock_sizes(self.shape).preparation for party in parties
            ] == dealt.nbytes
            assert not any(dealt.left)

    def test_messages_say_nothing_of_the_query(self) -> None:
        """To every party come as many messages, of the same lengths, whatever is asked."""
        first, *others = [self._ran(query) for query in self.queries()]
        for other in others:
            for one, two in zip(first, other, strict=True):
                assert _lengths(one) == _lengths(two)

    def test_messages_are_uniform(self) -> None:
        """Half bytes of one query's messages, over sessions whose randomness is their own."""
        query = self.queries()[0]
        runs = [self._ran(query) for _ in range(UNIFORM_RUNS)]
        sent = [message for run in runs for wires in run for link in wires.transcripts for message in link]
        whole = b"".join(message[:-1] for message in sent if len(message) >= WHOLE)
        if whole:
            data = np.frombuffer(whole, np.uint8)
            for half in (data & 15, data >> 4):
                assert surprise(np.bincount(half, minlength=16)) < SURPRISE

    def test_no_randomness_serves_twice(self) -> None:
        """One query asked twice shows no long message a second time: a mask that comes again would."""
        query = self.queries()[0]
        seen = [message for wires in (*self._ran(query), *self._ran(query)) for message in _long(wires)]
        assert len(set(seen)) == len(seen)

    def _dealt(self) -> Dealt:
        """Have a dealer prepare, and the parties compute ahead, under fresh seeds."""
        parties, dealer = self._roles
        if dealer is None:
            return Dealt([None] * len(parties), [0] * len(parties))
        assert dealer.queries is not None
        preparation = secrets.token_bytes(ID_BYTES)
        seeds = tuple(secrets.token_bytes(SEED_BYTES) for _ in parties)
        tapes: list[list[bytes]] = [[] for _ in parties]
        for to, data in dealer.queries.deal(self.shape, preparation, seeds):
            for tape in tapes if to == ALL else tapes[to : to + 1]:
                tape.append(bytes(data))
        stocks: list[Stock | None] = []
        for party, seed, tape in zip(parties, seeds, tapes, strict=True):
            queries = queries_of(party)
            room = memoryview(bytearray(queries.stock_sizes(self.shape).precomputed))
            queries.prepare(self.shape, Tape(tape), seed, room)
            stocks.append(Stock(preparation, seed, Tape(tape), room.toreadonly()))
        return Dealt(stocks, [sum(map(len, tape)) for tape in tapes])

    def _ran(self, query: Any) -> list[Wires]:
        """Ask once, on a preparation of its own."""
        return answered(self._roles[0], self.shape, self.share(query), self._dealt().stocks)[1]


def _lengths(wires: Wires) -> list[list[int]]:
    return [list(map(len, link)) for link in wires.transcripts]


def _long(wires: Wires) -> list[bytes]:
    return [message for link in wires.transcripts for message in link if len(message) >= 8]
