"""The wire plan: a stable text with a hash, refused where it is damaged or where ranges fit no ring."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from specs import encoder

from privinf.errors import ModelError
from privinf.models.orders import Limits
from privinf.models.orders.post import make_plan
from privinf.models.plan.ranges import bits_for
from privinf.models.plan.rings import PLAN_VERSION, Plan
from privinf.models.plan.scales import POST, PRE
from privinf.models.spec import Classifier, Pool
from privinf.protocols.masked.gates import softmax

SPEC = encoder(2, 32, 4, 64, 97, 64, head=Pool("mean"))
SITES = {
    "attn.v": 4,
    "attn.residual": 5,
    "attn.scores": 6,
    "attn.attended": 2,
    "ffn.up": 6,
    "ffn.residual": 9,
}


TOKENS, LIMITS = 128, Limits(128)


@dataclass
class Seen:
    """Ranges as calibration reports them."""

    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)


def ranges(**changes: float) -> Seen:
    """Return plausible ranges of all sites, with some of them changed."""
    seen = Seen(high={"embed.residual": 1.5, "pool.result": 4.0, "head.pooler": 3.0, "head.out": 5.0})
    for i in range(SPEC.layers):
        seen.high |= {f"layer{i}.{site}": float(value) for site, value in SITES.items()}
    for site in ("embed", "layer0.attn", "layer0.ffn", "layer1.attn", "layer1.ffn"):
        seen.low[f"{site}.square"], seen.high[f"{site}.square"] = 0.02, 4.0
    for site, value in changes.items():
        seen.high[site.replace("__", ".")] = value
    return seen


def plan() -> Plan:
    return make_plan(SPEC, ranges(), LIMITS)


def test_text_round_trip() -> None:
    first = plan()
    again = Plan.from_json(first.to_json(), POST)
    assert again == first
    assert again.hash == first.hash
    assert len(first.hash) == 64


def test_the_same_ranges_give_the_same_text() -> None:
    assert plan().to_json() == plan().to_json()


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all numbers of a plan's JSON."""
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if inner is None:
        yield path
    else:
        for key, child in inner:
            yield from _leaves(child, (*path, key))


LEAVES = list(_leaves(json.loads(plan().to_json())))


def _changed(path: tuple[Any, ...], change: Any) -> str:
    """Return the plan's text with `change` applied to the container of one leaf and its key."""
    raw = json.loads(plan().to_json())
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return json.dumps(raw)


def _ids(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


@pytest.mark.fast_cases(16)
@pytest.mark.parametrize(
    "path", [p for p in LEAVES if p[0] not in ("version", "scales", "final_norm", "pooler")], ids=_ids
)
def test_every_field_counts_in_the_hash(path: tuple[Any, ...]) -> None:
    def bump(inner: Any, key: Any) -> None:
        inner[key] += "a" if isinstance(inner[key], str) else 1

    assert Plan.from_json(_changed(path, bump), POST).hash != plan().hash


@pytest.mark.fast_cases(16)
@pytest.mark.parametrize("path", LEAVES, ids=_ids)
def test_a_plan_that_lacks_a_field_is_refused(path: tuple[Any, ...]) -> None:
    def delete(inner: Any, key: Any) -> None:
        del inner[key]

    with pytest.raises(ModelError):
        Plan.from_json(_changed(path, delete), POST)


def test_an_unknown_field_of_a_layer_is_refused() -> None:
    def add(inner: Any, key: Any) -> None:
        inner["more"] = 1

    with pytest.raises(ModelError, match="damaged"):
        Plan.from_json(_changed(("layers", 0, "attention", "coarse"), add), POST)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '"plan"', '{"version": 11}', '{"version": 11, "layers": 3}']
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="damaged"):
        Plan.from_json(text, POST)


def test_another_version_is_refused_by_number() -> None:
    def newer(inner: Any, key: Any) -> None:
        inner[key] = 99

    with pytest.raises(ModelError, match=f"plan version 99 is not {PLAN_VERSION}"):
        Plan.from_json(_changed(("version",), newer), POST)


@pytest.mark.parametrize(
    ("site", "value"),
    [("layer1__attn__scores", 1e4), ("layer0__attn__attended", 1e6)],
)
def test_a_range_that_fits_no_ring_is_refused_by_name(site: str, value: float) -> None:
    with pytest.raises(ModelError, match=site.replace("__", r"\.").rsplit(r"\.", 1)[0]):
        make_plan(SPEC, ranges(**{site: value}), LIMITS)


def test_deviations_too_far_apart_are_refused_by_name() -> None:
    seen = ranges(layer1__ffn__square=1e9)
    seen.low["layer1.ffn.square"] = 1e-9
    with pytest.raises(ModelError, match=r"layer1\.ffn"):
        make_plan(SPEC, seen, LIMITS)


@pytest.mark.parametrize(
    ("magnitude", "scale", "bits"), [(1.0, 12, 17), (1.1, 12, 18), (8.0, 10, 18), (0.0, 4, 5)]
)
def test_bits_leave_headroom(magnitude: float, scale: int, bits: int) -> None:
    assert bits_for(magnitude, scale) == bits
    assert magnitude * 2**scale * 8 <= 2 ** (bits - 2)


def test_wider_scores_take_a_second_pass() -> None:
    narrow, wide = plan(), make_plan(SPEC, ranges(layer0__attn__scores=40.0), LIMITS)
    assert narrow.layers[0].attention.coarse < wide.layers[0].attention.coarse
    assert wide.layers[0].attention.score_bits > narrow.layers[0].attention.score_bits
    assert wide.layers[1] == narrow.layers[1]


def test_a_classifier_plans_its_head() -> None:
    head = make_plan(dataclasses.replace(SPEC, head=Classifier(("a", "b"), dense="tanh")), ranges(), LIMITS)
    assert plan().pooler is None
    assert head.pooler is not None
    assert head.pooler.inner > 0


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e-5])
def test_tiny_values_leave_room_for_their_weights_sum(value: float) -> None:
    for i in range(SPEC.layers):
        made = make_plan(
            SPEC, ranges(**{f"layer{i}__attn__attended": value, f"layer{i}__attn__v": value}), Limits(512)
        )
        attention = made.layers[i].attention
        assert attention.value_bits >= softmax.inverse_power(512, attention.fine).high + 2


def test_wide_rows_take_finer_buckets_rather_than_none() -> None:
    attention = make_plan(SPEC, ranges(layer0__attn__residual=600.0), Limits(512)).layers[0].attention
    assert attention.fine < plan().layers[0].attention.fine


@pytest.mark.parametrize(
    ("site", "value"),
    [("layer0__ffn__up", 3e4), ("layer1__ffn__residual", 2.0**22), ("layer0__attn__scores", 2e4)],
)
def test_what_no_gate_takes_is_refused_before_a_query(site: str, value: float) -> None:
    with pytest.raises(ModelError):
        make_plan(SPEC, ranges(**{site: value}), LIMITS)


def test_inputs_of_zero_have_a_ring() -> None:
    spec = encoder(2, 32, 4, 64, 97, 64, activation="relu")
    assert make_plan(spec, ranges(layer0__ffn__up=0.0), LIMITS).layers[0].ffn.inner >= 2


def test_other_scales_are_refused() -> None:
    def other(inner: Any, key: Any) -> None:
        inner[key] += 1

    with pytest.raises(ModelError, match="other scales"):
        Plan.from_json(_changed(("scales", "qk"), other), POST)
    with pytest.raises(ModelError, match="other scales"):
        Plan.from_json(plan().to_json(), PRE)
