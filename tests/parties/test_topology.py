"""Servers hard-code neither two parties nor a dealer: three that add numbers, over real connections."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from adding import IDENTITY, THREE, Adder, three
from dummy import DummyParty

from privinf.config import DealerConfig, PartyConfig
from privinf.errors import ConfigError, DamagedPreparation, MismatchError, PeerLost
from privinf.parties.rpc.frames import Kind
from privinf.parties.rpc.status import restore
from privinf.parties.serve import DealerServer, PartyServer
from privinf.parties.session.greeting import Greeter, Met
from privinf.parties.session.streams import PeerStream
from privinf.protocols.contract import DealerProgram, PartyProgram, QueryShape, Stock, Topology

NUMBERS = np.array([3, 2**63 + 5, 2**64 - 1, 70], dtype=np.uint64)
TOTAL = int(NUMBERS.sum(dtype=np.uint64))


def test_three_parties_without_a_dealer_add_numbers(tmp_path: Path) -> None:
    with three(tmp_path) as running:
        for _ in range(3):
            total, stats = running.add(NUMBERS)
            assert total == TOTAL
            assert [(s.rounds, s.online_bytes, s.preparation_bytes) for s in stats] == [(1, 16, 0)] * 3
        assert all(adder.used == [None] * 3 for adder in running.adders)
        with ThreadPoolExecutor(4) as pool:  # sessions do not meet each other's streams
            assert {total for total, _ in pool.map(running.add, [NUMBERS] * 8)} == {TOTAL}
        assert not any(path.suffix == ".prep" for path in tmp_path.rglob("*"))


def test_a_party_of_another_protocol_is_refused_by_name(tmp_path: Path) -> None:
    other = replace(IDENTITY, protocol="multiplying")
    with three(tmp_path, (IDENTITY, IDENTITY, other)) as running, pytest.raises(grpc.RpcError) as failure:
        running.add(NUMBERS, (IDENTITY, IDENTITY, other))
    known = restore(failure.value, "party0")
    assert isinstance(known, MismatchError)
    assert "runs the protocol 'multiplying', not 'adding'" in str(known)


@pytest.mark.parametrize(
    ("program", "options", "why"),
    [
        (Adder(0).program(), {"peer": "a:1"}, "give the addresses of party1, party2; party0 dials 2"),
        (Adder(1).program(), {"peer": ()}, "peer: give the addresses of party2; party1 dials 1"),
        (Adder(0).program(), {"peer": ("a:1", "b:2"), "dealer": "c:3"}, "adding knows no dealer"),
        (DummyParty(0).program(), {"peer": "a:1"}, "echo needs a dealer"),
        (
            DummyParty(1).program(),
            {"dealer": "c:3", "peer": "a:1"},
            "peer: leave it out; party1 dials nobody",
        ),
        (PartyProgram(IDENTITY, Topology(2, dealer=False), 2), {}, r"party \(--party\) is 0 or 1, not 2"),
        (PartyProgram(IDENTITY, THREE, 11), {}, r"party \(--party\) is 0, 1 or 2, not 11"),
        (
            PartyProgram(IDENTITY, Topology(3, dealer=True), 0),
            {"peer": ("a:1", "b:2"), "dealer": "c:3"},
            "a dealer prepares for two parties",
        ),
        (
            PartyProgram(IDENTITY, THREE, 2, sessions=DummyParty(0)),
            {},
            "sessions need a dealer",
        ),
    ],
)
def test_settings_that_do_not_fit_the_topology_are_refused(
    tmp_path: Path, program: PartyProgram, options: dict[str, object], why: str
) -> None:
    config = PartyConfig(party=program.index, store=tmp_path, insecure_no_tls=True, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=why):
        PartyServer(config, program)


@pytest.mark.parametrize(
    ("topology", "why"),
    [
        (THREE, "adding knows no dealer"),
        (Topology(3, dealer=True), "a dealer prepares for two parties, not for 3"),
    ],
)
def test_a_dealer_of_another_topology_does_not_start(topology: Topology, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        DealerServer(DealerConfig(insecure_no_tls=True), DealerProgram(IDENTITY, topology))


def test_what_one_of_several_found_damaged_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last frame: nothing can be begun anew where nobody prepares."""
    add = Adder.evaluate

    def evaluate(
        adder: Adder, shape: QueryShape, query: memoryview, stock: Stock | None, channel: Any
    ) -> bytes:
        answer = add(adder, shape, query, stock, channel)
        if adder.index == 2:
            for other in range(2):
                channel.to(other).say(Kind.DAMAGED, b"")
        return answer

    monkeypatch.setattr(Adder, "evaluate", evaluate)
    with three(tmp_path) as running:
        calls = running.ask(NUMBERS)
        with pytest.raises(grpc.RpcError) as failure:
            list(calls[0])
    assert isinstance(restore(failure.value, "party0"), DamagedPreparation)


def test_a_party_that_leaves_ends_the_wait_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Party 2 has greeted party 0, and waits for party 1."""
    greeted, go, greet, dial = threading.Event(), threading.Event(), Greeter._greet, Greeter._dial

    def greeting(greeter: Greeter, peer: int, stream: PeerStream, **asked: Any) -> Met:
        met = greet(greeter, peer, stream, **asked)
        if (greeter._config.party, peer) == (2, 0):
            greeted.set()
        return met

    def dialling(greeter: Greeter, *asked: Any) -> Met:
        if greeter._config.party == 1:
            go.wait(60)
        return dial(greeter, *asked)

    monkeypatch.setattr(Greeter, "_greet", greeting)
    monkeypatch.setattr(Greeter, "_dial", dialling)
    with three(tmp_path) as running:
        calls = running.ask(NUMBERS)
        try:
            assert greeted.wait(30)
            calls[0].cancel()
            with pytest.raises(grpc.RpcError) as failure:
                list(calls[2])
            assert not go.is_set()
            assert isinstance(known := restore(failure.value, "party2"), PeerLost)
            assert "party0" in str(known)
        finally:
            go.set()
