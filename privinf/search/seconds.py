"""Seconds of an answer in shares, predicted from what the protocol declares, a network, and this machine's speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from privinf.errors import ConfigError
from privinf.protocols.cost import NETWORKS, Cost, Network
from privinf.search.space import BENT, CHEAP, RICH, STRAIGHT
from privinf.search.trials import Bill
from privinf.speed import Rate, Speed
from privinf.train.architecture import Architecture, Bend, uniform
from privinf.train.prices import Price, difference

MILLI, MEGABIT = 1e-3, 1e6 / 8
LONGEST, FASTEST = 1e6, 1e9  # in these units


def network(name: str) -> Network:
    """By name, or as RTT,MBIT: milliseconds there and back, and megabits a second."""
    if name in NETWORKS:
        return NETWORKS[name]
    try:
        rtt, mbit = map(float, name.split(","))
        if not (0 <= rtt < LONGEST and 0 < mbit < FASTEST):
            raise ValueError(name)
    except ValueError:
        known = ", ".join(NETWORKS)
        raise ConfigError(
            f"network {name!r} is unknown: choose one of {known}, or RTT,MBIT such as 20,400"
        ) from None
    return Network(rtt * MILLI, mbit * MEGABIT)


@dataclass(frozen=True)
class Clock:
    """ahead: which part of the seconds before a query counts, in which its preparation is dealt, sent and expanded."""

    network: Network
    speed: Speed
    ahead: float = 0.0

    def seconds(self, cost: Cost) -> float:
        """From a query's arrival to its answer, at roles as fast as this machine."""
        online = self.network.seconds(cost) + self.speed.answer.seconds(cost)
        return online + self.ahead * self.before(cost) if self.ahead else online

    def before(self, cost: Cost) -> float:
        """To deal a preparation, to send it and to expand it."""
        computed = self.speed.deal.seconds(cost) + self.speed.prepare.seconds(cost)
        return computed + max(cost.prep0, cost.prep1) / self.network.bandwidth

    def bill(self, cost: Cost) -> Bill:
        """With what it was counted from."""
        counted = {
            "rounds": float(cost.rounds),
            "online_bytes": float(cost.online),
            "preparation_bytes": float(cost.prep0 + cost.prep1),
        }
        return Bill(self.seconds(cost), counted)


def document(speed: Speed) -> dict[str, Any]:
    """As a search keeps it: a resumed one goes on with the same seconds."""
    return asdict(speed)


def speed_of(document: Mapping[str, Any]) -> Speed:
    rates = {name: Rate(**document[name]) for name in ("deal", "prepare", "answer")}
    return Speed(**rates, kernels=document["kernels"], measured=document["measured"])


def head_prices(
    seconds: Callable[[Architecture], float], layers: int, heads: int, whole: bool = False
) -> tuple[Price, ...]:
    """Of dear heads, layer by layer: none, one and all of them are counted, the other layers being cheap.

    whole: whether a layer is dear in all heads or in none.
    """
    cheap = uniform(layers, heads, CHEAP)
    none = seconds(cheap)

    def priced(layer: int) -> Price:
        all = seconds(_with_heads(cheap, layer, (RICH,) * heads))
        if whole:
            return difference(none, all, all, 1)
        return difference(
            none, seconds(_with_heads(cheap, layer, (RICH,) + (CHEAP,) * (heads - 1))), all, heads
        )

    return tuple(map(priced, range(layers)))


def row_prices(
    seconds: Callable[[Architecture], float], layers: int, heads: int, rows: int
) -> tuple[Price, ...]:
    """Of rows that are bent, in the same way."""
    straight = uniform(layers, heads, CHEAP, STRAIGHT)
    none = seconds(straight)

    def priced(layer: int) -> Price:
        whole = seconds(_with_bend(straight, layer, BENT))
        if rows == 1:
            return difference(none, whole, whole, 1)
        one = seconds(_with_bend(straight, layer, (BENT,) + (STRAIGHT,) * (rows - 1)))
        return difference(none, one, whole, rows)

    return tuple(map(priced, range(layers)))


def _with_heads(architecture: Architecture, layer: int, heads: tuple[str, ...]) -> Architecture:
    made = architecture.heads
    return Architecture((*made[:layer], heads, *made[layer + 1 :]), architecture.bends)


def _with_bend(architecture: Architecture, layer: int, bend: Bend) -> Architecture:
    made = architecture.bends
    return Architecture(architecture.heads, (*made[:layer], bend, *made[layer + 1 :]))
