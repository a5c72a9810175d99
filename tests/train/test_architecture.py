"""Architectures by name, the paper's choice, and the choice that knows prices."""

from __future__ import annotations

from itertools import product

import pytest

from privinf.errors import ConfigError
from privinf.train.architecture import Architecture, best, kept, parse, uniform
from privinf.train.prices import Price, counts_at, frontier


def test_a_name_says_everything() -> None:
    made = Architecture(
        (("relu_softmax", "scaling"), ("scaling",) * 2, ("softmax", "quad")),
        ("gelu", "linear", ("gelu", "linear", "relu")),
    )
    assert made.name == "rs-ss.l-xq.glr"
    assert parse(made.name, 3, 2, 3) == made
    assert (made.layers, made.count("scaling")) == (3, 3)
    assert parse("xx-xx", 2, 2, 5) == uniform(2, 2, "softmax")


@pytest.mark.parametrize(
    "name", ["", "rs", "rs-rs-rs", "r-r", "rz-rs", "rs-rs.z", "rs-rs.gg", "rs-rs.", "../rs"]
)
def test_what_is_no_architecture(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no architecture of 2 layers|one letter a layer"):
        parse(name, 2, 2, 3)


def test_the_papers_choice_is_over_all_layers() -> None:
    values = [[0.9, 0.1, 0.8, 0.7], [0.6, 0.5, 0.4, 0.3]]
    assert kept(values, 0.5) == [[True, False, True, True], [True, False, False, False]]
    assert sum(map(sum, kept([[1.0] * 4] * 7, 0.3))) == 9  # as in the paper: 9 of 28
    assert [sum(map(sum, kept([[1.0] * 12] * 9, mu))) for mu in (0.1, 0.3, 0.5, 0.7)] == [11, 33, 54, 76]


def test_of_equals_the_earlier_are_kept() -> None:
    assert kept([[0.5, 0.5], [0.5, 0.5]], 0.5) == [[True, True], [False, False]]
    assert best([[0.5, 0.5, 0.9]], [2]) == [[True, False, True]]


def test_on_a_wide_network_whole_layers_go_and_on_a_near_one_single_heads() -> None:
    values = [[0.9, 0.8], [0.7, 0.1]]
    wide, near = [Price(1.0, 0.01)] * 2, [Price(0.0, 1.0)] * 2
    assert frontier(values, wide) == [(0, 0), (2, 0), (2, 2)]
    assert frontier(values, near) == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]


def test_each_choice_of_the_frontier_is_the_most_for_its_price() -> None:
    values = [[0.9, 0.3, 0.2], [0.8, 0.75, 0.1]]
    prices = [Price(0.5, 0.2), Price(0.3, 0.4)]
    for weight in (0.1, 0.4, 0.7, 1.1, 2.0):
        made = counts_at(values, prices, weight)

        def worth(counts: tuple[int, ...], weight: float = weight) -> float:
            chosen = zip(values, prices, counts, strict=True)
            return sum(sum(sorted(row)[::-1][:k]) - weight * price.of(k) for row, price, k in chosen)

        assert worth(made) == pytest.approx(max(map(worth, product(range(4), repeat=2))))
        assert made in frontier(values, prices)
