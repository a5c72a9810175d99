"""Servers hard-code neither two parties nor a dealer: three that add numbers, over real connections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from adding import IDENTITY, THREE, Adder, three
from dummy import DummyParty

from privinf.config import PartyConfig
from privinf.errors import ConfigError, MismatchError
from privinf.parties.rpc.status import restore
from privinf.parties.serve import PartyServer
from privinf.protocols.contract import PartyProgram, Topology

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
        (Adder(0).program(), {"peer": "a:1"}, "peer names 1 parties: party0 dials 2"),
        (Adder(0).program(), {"peer": ("a:1", "b:2"), "dealer": "c:3"}, "adding knows no dealer"),
        (DummyParty(0).program(), {"peer": "a:1"}, "echo needs a dealer"),
        (DummyParty(1).program(), {"dealer": "c:3", "peer": "a:1"}, "peer names 1 parties: party1 dials 0"),
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
