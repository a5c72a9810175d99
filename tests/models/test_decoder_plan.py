"""The wire plan of a decoder: a stable text, refused where it is damaged or nothing fits; costs as it declares them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from generating import GPT2, LLAMA, PREFIX, Toy, Trio, Writer, toy
from specs import changed

from privinf.errors import ModelError
from privinf.models.engines.stores import ShapeStore
from privinf.models.orders import Limits
from privinf.models.orders.pre import make_plan
from privinf.models.parts import build as parts_of
from privinf.models.plan.rings import Plan
from privinf.models.plan.scales import PRE
from privinf.models.plan.tables import fingerprint, verify
from privinf.models.programs import layout as form
from privinf.models.programs.layout import SessionLayout
from privinf.models.programs.passes import Shadow, count
from privinf.models.programs.public import PRIVATE
from privinf.models.sharing.calibrate import calibrate_decoder
from privinf.models.spec import ModelSpec
from privinf.protocols.contract import Order, SessionShape
from privinf.protocols.masked.counting import Counting
from privinf.protocols.masked.wires import Share

SITES = {
    "attn.residual": 5,
    "attn.q": 6,
    "attn.k": 6,
    "attn.v": 4,
    "attn.scores": 8,
    "attn.attended": 2,
    "ffn.residual": 6,
    "ffn.gate": 6,
    "ffn.up": 5,
    "ffn.hidden": 9,
}
SPECS = {"gpt2": GPT2, "llama": LLAMA}
FAMILIES = pytest.mark.parametrize("family", SPECS)


@dataclass
class Seen:
    """Ranges as calibration reports them."""

    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)


def ranges(spec: ModelSpec, **changes: float) -> Seen:
    """Return plausible ranges of all sites, with some of them changed."""
    seen = Seen(high={"head.residual": 7.0, "head.out": 12.0})
    for i in range(spec.layers):
        seen.high |= {f"layer{i}.{site}": float(value) for site, value in SITES.items()}
    for site in (*(f"layer{i}.{part}" for i in range(spec.layers) for part in ("attn", "ffn")), "head"):
        seen.low[f"{site}.square"], seen.high[f"{site}.square"] = 0.02, 4.0
    for site, value in changes.items():
        seen.high[site.replace("__", ".")] = value
    return seen


def plan(spec: ModelSpec = LLAMA, max_tokens: int = 64, embedding: float = 0.7, **changes: float) -> Plan:
    return make_plan(spec, ranges(spec, **changes), Limits(max_tokens, PREFIX, embedding))


@FAMILIES
def test_text_round_trip(family: str) -> None:
    first = plan(SPECS[family])
    again = Plan.from_json(first.to_json(), PRE)
    assert again == first
    assert (again.hash, again.to_json()) == (first.hash, first.to_json())
    assert again.prefix == PREFIX
    assert plan(SPECS[family]).hash == first.hash


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all numbers of a plan's JSON."""
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(child, (*path, key))
    else:
        yield path


LEAVES = [
    path
    for path in _leaves(json.loads(plan().to_json()))
    if path[:2] != ("layers", 1) and path[0] not in ("embed_norm", "pooler")
]


def _changed(path: tuple[Any, ...], change: Any) -> str:
    """Return the plan's text with `change` applied to the container of one leaf and its key."""
    raw = json.loads(plan().to_json())
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return json.dumps(raw)


def _bump(inner: Any, key: Any) -> None:
    inner[key] += "a" if isinstance(inner[key], str) else 1


def _ids(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


@pytest.mark.fast_cases(10)
@pytest.mark.parametrize("path", [p for p in LEAVES if p[0] not in ("version", "scales")], ids=_ids)
def test_every_field_counts_in_the_hash(path: tuple[Any, ...]) -> None:
    assert Plan.from_json(_changed(path, _bump), PRE).hash != plan().hash


# Parts of a plan have defaults; what they stand for is written out, so that a lack of it is damage all the same.
@pytest.mark.fast_cases(10)
@pytest.mark.parametrize("path", [p for p in LEAVES if p[0] != "prefix"], ids=_ids)
def test_a_plan_that_lacks_a_field_is_refused(path: tuple[Any, ...]) -> None:
    def delete(inner: Any, key: Any) -> None:
        del inner[key]

    with pytest.raises(ModelError, match="share the model again"):
        Plan.from_json(_changed(path, delete), PRE)


@pytest.mark.parametrize("path", [("version",), ("scales", "up")], ids=_ids)
def test_another_version_or_other_scales_are_refused(path: tuple[Any, ...]) -> None:
    with pytest.raises(ModelError, match="share the model again"):
        Plan.from_json(_changed(path, _bump), PRE)


def test_an_unknown_field_is_refused() -> None:
    def add(inner: Any, key: Any) -> None:
        inner["more"] = 1

    for path in (
        ("version",),
        ("layers", 0, "attention", "key_bits"),
        ("layers", 0, "attention", "fine"),
        ("final_norm", "eps"),
    ):
        with pytest.raises(ModelError, match="damaged"):
            Plan.from_json(_changed(path, add), PRE)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"plan"', '{"version": 11}', '{"layers": 3}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="damaged"):
        Plan.from_json(text, PRE)


@pytest.mark.parametrize(
    ("site", "value", "named"),
    [
        ("layer1__attn__scores", 1e4, "layer1.attn"),
        ("layer0__attn__attended", 1e6, "layer0.attn"),
        ("layer1__ffn__gate", 1e5, "layer1.ffn.gate"),
        ("layer0__ffn__square", 1e15, "layer0.ffn"),
        ("head__square", 1e15, "head"),
        ("layer1__ffn__hidden", 2.0**36, "layer1.ffn.hidden"),
        ("layer1__ffn__residual", 2.0**36, "layer1.ffn.residual"),
    ],
)
def test_a_range_that_fits_no_ring_is_refused_by_name(site: str, value: float, named: str) -> None:
    plan()
    with pytest.raises(ModelError, match=named):
        plan(**{site: value})


def test_rows_of_zeros_are_refused_by_name() -> None:
    seen = ranges(GPT2)
    seen.low["layer1.ffn.square"] = 0.0
    with pytest.raises(ModelError, match=r"layer1\.ffn: a row of zeros"):
        make_plan(GPT2, seen, Limits(64, (), 0.7))


@FAMILIES
def test_sessions_too_long_for_their_rings_are_refused(family: str) -> None:
    with pytest.raises(ModelError, match="for texts of"):
        plan(SPECS[family], 1 << 40)


@pytest.mark.parametrize("embedding", [0.3, 0.5, 0.99, 1.0, 1.01, 7.9, 8.0])
def test_embeddings_fit_their_ring(embedding: float) -> None:
    """A looked-up row, of either sign, is lifted: it stays below a quarter of its ring."""
    bits = plan(embedding=embedding).embed_bits
    assert round(embedding * 2**16) < 1 << (bits - 2)
    assert bits <= 22


@FAMILIES
def test_what_gates_lift_fits_their_domain(family: str) -> None:
    """Calibrated values and three bits of headroom lie below a quarter of each lifted ring."""
    spec = SPECS[family]
    made, high = plan(spec), ranges(spec).high
    for i, layer in enumerate(made.layers):
        value = f"layer{i}.attn.v"
        assert high[value] * 8 * 2**12 <= 1 << (layer.attention.narrow_bits - 2)
        if spec.rotary:
            assert high[f"layer{i}.attn.q"] * 8 * 2**12 <= 1 << (layer.attention.query_bits - 2)
            assert high[f"layer{i}.attn.k"] * 8 * 2**12 <= 1 << (layer.attention.key_bits - 2)
        if spec.gated:
            assert high[f"layer{i}.ffn.up"] * 8 * 2**14 <= 1 << (layer.ffn.up - 2)
        gate = "gate" if spec.gated else "up"
        assert high[f"layer{i}.ffn.{gate}"] * 8 + 4 <= 1 << (layer.ffn.inner - 1 - 12)
        assert layer.attention.widest(PRE) <= 50


@FAMILIES
def test_scores_that_are_hidden_vanish_and_wrap_nowhere(family: str) -> None:
    """The lowest hidden score and the highest real one lie in one ring; a hidden one below every real one's reach."""
    for scores in (1.0, 8.0, 60.0):
        changes = {f"layer{i}__attn__scores": scores for i in range(2)}
        attention = plan(SPECS[family], **changes).layers[0].attention
        most, half = 8 * scores, 1 << (attention.score_bits - 10 - 1)
        assert most + attention.offset + (1 << attention.coarse) < half
        assert attention.pad_score - most + attention.offset - (1 << attention.coarse) > -half
        assert attention.pad_score + most <= -most - 16


def tables(spec: ModelSpec, made: Plan) -> str:
    return fingerprint(parts_of(spec, made), made.max_tokens)


def test_tables_that_another_machine_computes_otherwise_are_refused() -> None:
    made, other = plan(), plan(GPT2)
    model = parts_of(LLAMA, made)
    verify(model, replace(made, tables=tables(LLAMA, made)))
    for wrong in ("", tables(LLAMA, made)[:-1] + "x", tables(GPT2, other)):
        with pytest.raises(ModelError):
            verify(model, replace(made, tables=wrong))


def test_tables_follow_from_the_plan() -> None:
    made = plan()
    assert made.final_norm is not None
    finer = replace(made, final_norm=replace(made.final_norm, lanes=3))
    relu = changed(LLAMA, activation="gelu")
    prints = {tables(LLAMA, made), tables(LLAMA, finer), tables(relu, made)}
    prints |= {tables(LLAMA, replace(made, max_tokens=65))}
    assert len(prints) == 4


@pytest.fixture(scope="module")
def models() -> dict[str, Toy]:
    """Return both kinds, calibrated."""
    pytest.importorskip("torch")
    return {family: toy(spec) for family, spec in SPECS.items()}


def test_a_prefix_that_leaves_no_room_is_refused(models: dict[str, Toy]) -> None:
    with pytest.raises(ModelError, match="no room"):
        calibrate_decoder(LLAMA, models["llama"].weights, [], (1, 2, 3), 4)


def declared(layout: SessionLayout, shape: SessionShape, passes: int, model: Toy) -> list[Counting]:
    return count(layout, shape, passes)


MODES = {"private": (False, False), "embedded": (False, True), "public": (True, True)}


@pytest.mark.fast_cases(2)
@FAMILIES
@pytest.mark.parametrize(
    ("mode", "task"),
    [
        ("private", "generate"),
        ("embedded", "argmax-padded"),
        ("public", "argmax"),
    ],
)
def test_costs_are_as_declared(
    models: dict[str, Toy], family: str, mode: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds and bytes that parties send and read, pass by pass."""
    monkeypatch.setattr(form, "CHUNK", 4)
    model = models[family]
    layout, shape = model.layout(*MODES[mode]), SessionShape(task, 6, 2)
    trio, writer = Trio(layout, shape, model.weights), Writer(model, shape, [3, 4, 5])
    given = [writer.prompt(0), writer.prompt(1), writer.rows([1, 2])]
    writer.seen += [1, 2]
    given.append(replace(writer.rows([6, 7]), rejected=np.array([False, False])))
    kept = 0
    for index, (rows, counted) in enumerate(zip(given, declared(layout, shape, 4, model), strict=True)):
        before = [len(end.transcript) for end in trio.ends]
        trio.step(kept, rows)
        kept, total = len(rows.ids), counted.tally.total()
        assert trio.prepared[index] == (total.prep0, total.prep1)
        for end, start in zip(trio.ends, before, strict=True):
            sent = end.transcript[start:]
            assert (len(sent), sum(map(len, sent))) == (total.rounds, total.online)


@pytest.mark.slow
def test_costs_with_dropped_slots_are_those_of_fewer_slots(models: dict[str, Toy]) -> None:
    model = models["llama"]
    shape = SessionShape("generate", 4, 2)
    trio, writer = Trio(model.layout(), shape, model.weights), Writer(model, shape, [3, 4, 5])
    trio.step(0, writer.prompt(0))
    trio.step(4, writer.rows([6, 7]))
    trio.prepare()
    trio.step(1, writer.rows([8, 9]))
    trio.prepare()
    assert trio.orders[-1].retired == (8,)
    assert trio.prepared[3][1] < declared(model.layout(), shape, 4, model)[3].tally.total().prep1
    assert trio.prepared[3][1] > trio.prepared[2][1]


@pytest.mark.fast_cases(2)
@FAMILIES
@pytest.mark.parametrize("task", ["generate", "argmax"])
def test_rounds_of_a_pass_do_not_depend_on_its_rows(models: dict[str, Toy], family: str, task: str) -> None:
    model = models[family]
    rounds = set()
    for prompt, rows in ((1, 1), (2, 4), (16, 8), (25, 1)):
        passes = declared(model.layout(), SessionShape(task, prompt, rows), 3, model)
        rounds.add(tuple(ctx.rounds for ctx in passes))
    assert len(rounds) == 1
    (first, second, third) = rounds.pop()
    assert second == third <= first


@FAMILIES
def test_rounds_of_a_layer(models: dict[str, Toy], family: str) -> None:
    """As an encoder's of one pass over its scores, and those in which rows are turned and gates multiplied."""
    model = models[family]
    for ctx in declared(model.layout(), SessionShape("generate", 4, 2), 3, model)[1:]:
        layers = ctx.tally.top()
        assert all(layer.attention.coarse == layer.attention.fine for layer in model.plan.layers)
        assert {layers[f"layer{i}"].rounds for i in range(2)} == {ROUNDS[family]}


@FAMILIES
def test_the_last_layer_computes_what_is_asked(
    models: dict[str, Toy], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a part of the prompt keys and values alone, of the whole prompt its last row, of a later pass all."""
    monkeypatch.setattr(form, "CHUNK", 4)
    model = models[family]
    part, whole, later = (
        ctx.tally.by_scope for ctx in declared(model.layout(), SessionShape("generate", 8, 4), 3, model)
    )
    assert "layer1/ffn" not in part
    assert "head" not in part
    assert 2 * part["layer1/attn"].prep0 < part["layer0/attn"].prep0
    assert 3.5 * whole["layer1/ffn"].prep0 < whole["layer0/ffn"].prep0
    assert later["layer1/ffn"].prep0 == pytest.approx(later["layer0/ffn"].prep0, rel=0.1)


ROUNDS = {"gpt2": 17, "llama": 19}


def test_a_session_on_shapes_holds_no_value(models: dict[str, Toy]) -> None:
    model = models["gpt2"]
    shadow = Shadow(model.layout(), SessionShape("generate", 4, 2))
    for index in range(2):
        shadow.run(Counting(ShapeStore(model.shapes, PRE.of)), Order(index), PRIVATE)
    assert len(shadow.cache.excluded) == 9
    assert isinstance(shadow.cache.pads, Share)
    assert shadow.cache.pads.data is None
