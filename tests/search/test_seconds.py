"""Seconds: networks by name, what a clock counts, and prices that are differences of counted architectures."""

from __future__ import annotations

import pytest

pytest.importorskip("optuna")
pytest.importorskip("torch")

from privinf.errors import ConfigError
from privinf.protocols.cost import NETWORKS, Cost, Network
from privinf.search.seconds import Clock, document, head_prices, network, row_prices, speed_of
from privinf.speed import Rate, Speed
from privinf.train.architecture import Architecture
from privinf.train.prices import Price

SPEED = Speed(Rate(1e-3, 1e-9), Rate(2e-3, 2e-9), Rate(3e-3, 3e-9), "native", "2026-01-01")
COST = Cost(rounds=100, online=10**6, prep0=10**7, prep1=2 * 10**7)


def test_networks_by_name_or_numbers() -> None:
    assert network("wan") == NETWORKS["wan"]
    assert network("80,100") == Network(0.08, 12.5e6)


@pytest.mark.parametrize("name", ["", "moon", "1", "1,0", "-1,5", "nan,5", "1,inf", "1,2,3"])
def test_what_is_no_network(name: str) -> None:
    with pytest.raises(ConfigError, match="choose one of loopback, lan, wan, or RTT,MBIT"):
        network(name)


def test_an_answers_seconds() -> None:
    clock = Clock(Network(0.02, 5e7), SPEED)
    assert clock.seconds(COST) == pytest.approx(100 * 0.01 + 0.02 + 0.3 + 0.09)
    assert clock.before(COST) == pytest.approx(0.1 + 0.03 + 0.2 + 0.06 + 0.4)
    assert Clock(clock.network, SPEED, 0.5).seconds(COST) == pytest.approx(
        clock.seconds(COST) + clock.before(COST) / 2
    )
    assert clock.bill(COST).counted == {"rounds": 100, "online_bytes": 1e6, "preparation_bytes": 3e7}
    assert speed_of(document(SPEED)) == SPEED


def counted(made: Architecture) -> float:
    """One second a layer, two if any head is dear and a tenth for each; as much for rows."""
    total = 0.0
    for layer, (heads, bend) in enumerate(zip(made.heads, made.bends, strict=True)):
        dear = heads.count("relu_softmax")
        rows = 5 if bend == "gelu" else 0 if isinstance(bend, str) else bend.count("gelu")
        total += 1 + (dear > 0) * 2 * (layer + 1) + 0.1 * dear + (rows > 0) * 0.5 + 0.01 * rows
    return total


def test_prices_are_differences() -> None:
    for price, expected in zip(head_prices(counted, 2, 3), (Price(2, 0.1), Price(4, 0.1)), strict=True):
        assert (price.any, price.each) == pytest.approx((expected.any, expected.each))
    for price in row_prices(counted, 2, 3, 5):
        assert (price.any, price.each) == pytest.approx((0.5, 0.01))
    assert [price.each for price in head_prices(counted, 2, 1)] == [0, 0]
    assert [price.any for price in head_prices(counted, 2, 3, whole=True)] == pytest.approx([2.3, 4.3])
