"""No answer is silently wrong: models whose values outgrow the plan raise the alarm, and honest ones never do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tiny
from generating import GPT2, LLAMA, Toy, Trio, Writer, seeds, toy

from privinf.errors import RangeError
from privinf.models.engines import stores
from privinf.models.engines.stores import IdealStore
from privinf.models.fold import F64
from privinf.models.plan.scales import POST, PRE
from privinf.models.programs import query, texts
from privinf.models.programs.layout import QueryLayout
from privinf.models.programs.passes import FixedSession
from privinf.models.programs.wire import Field, add_up
from privinf.models.sharing import calibrate
from privinf.models.spec import ModelSpec
from privinf.protocols.contract import Advance, QueryShape, SessionShape

FACTORS = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 60.0, 500.0)
ENCODER_SITES = ("attn.q", "attn.v", "attn.out", "ffn.up", "ffn.down")
DECODER_SITES = [
    *((GPT2, site) for site in ENCODER_SITES),
    *((LLAMA, site) for site in (*ENCODER_SITES, "ffn.gate")),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tiny.Tiny:
    return tiny.load_tiny(tiny.write_model(tmp_path_factory.mktemp("range") / "model", "embed"))


@pytest.fixture(scope="module")
def shared(model: tiny.Tiny, tmp_path_factory: pytest.TempPathFactory) -> tiny.Shared:
    return model.share(tmp_path_factory.mktemp("range") / "shared", "private")


def louder(weights: Mapping[str, F64], site: str, factor: float) -> dict[str, F64]:
    """A model that was not what was calibrated: the weights of one place, in all layers, are larger."""
    return {name: value * factor if f".{site}." in f".{name}." else value for name, value in weights.items()}


def encoded(
    model: tiny.Tiny, folded: Mapping[str, F64], ids: np.ndarray, number: int = 0
) -> tuple[float, bool]:
    """How far an answer is from float32's, as a cosine, and whether it would be given."""
    layout = QueryLayout(model.spec, model.plan, False, False)
    shape = QueryShape("embed", 1, 16)
    rows = texts.lay_out(layout, shape, [ids])
    store = IdealStore(stores.encode(folded, POST.of), layout.scale)
    given = texts.plain(layout, shape, rows)
    values, said = query.fixed(layout, shape, given, seeds(number), store)
    mine, exact = texts.finish(layout, rows, values)[0], calibrate.clear_answers(model.spec, folded, [ids])[0]
    return float(mine @ exact / np.linalg.norm(mine) / np.linalg.norm(exact)), said


@pytest.mark.parametrize("site", ENCODER_SITES)
def test_an_encoder_that_outgrows_its_plan_is_never_silently_wrong(model: tiny.Tiny, site: str) -> None:
    ids = model.tokenizer.encode(tiny.sentences(3))[2]
    found = {f: encoded(model, louder(model.folded, site, f), ids) for f in FACTORS}
    assert found[1.0][1]
    assert not found[500.0][1]
    for factor, (cosine, said) in found.items():
        assert not said or cosine > 0.99, (factor, cosine)


def test_a_rare_token_of_a_hundred_times_the_norm_that_the_plan_does_not_know(model: tiny.Tiny) -> None:
    folded, rare = dict(model.folded), len(tiny.VOCAB) - 1
    folded["embed.token"] = folded["embed.token"].copy()
    folded["embed.token"][rare] *= 100
    first, *_, last = model.tokenizer.encode(["the"])[0]
    assert encoded(model, folded, np.array([first, 7, last], np.int32))[1]
    assert not encoded(model, folded, np.array([first, rare, 7, last], np.int32))[1]


def test_honest_texts_of_all_lengths_raise_no_alarm(shared: tiny.Shared, model: tiny.Tiny) -> None:
    """In batches with padding as well; `ask` raises where a party's bit says so."""
    for number, (batch, tokens) in enumerate(((1, 4), (1, 8), (2, 16), (3, 16), (1, 31), (2, 32))):
        ids = [x[:tokens] for x in model.tokenizer.encode(tiny.sentences(60, seed=number))[:batch]]
        answer = shared.ask(QueryShape("embed", batch, tokens), ids, seeds(number))
        assert answer.rows.shape[0] == batch
    for number, ids in enumerate(model.tokenizer.encode(tiny.sentences(40, seed=9))):
        if len(ids) <= 16:
            assert encoded(model, model.folded, ids, number)[1]


def decoded(
    made: Toy, weights: Mapping[str, F64], ids: list[int], task: str = "generate"
) -> tuple[float, bool]:
    """The worst correlation of rows of logits with float32's, and whether they would be given."""
    prompt, rest = ids[:8], ids[8:]
    shape = SessionShape(task, 10, len(rest))
    known = stores.encode(weights, PRE.of)
    session = FixedSession(made.layout(), shape, IdealStore(known, PRE.of), known)
    writer = Writer(made, shape, list(prompt))
    session.run(Advance(), writer.prompt(0), seeds(2))
    said = session.in_range
    values = session.run(Advance.first(10), writer.rows(rest), seeds(3))
    assert values is not None
    field = made.layout().result(shape, 1)
    mine = values.astype(np.int64) << (64 - field.bits)
    exact = Toy(made.spec, made.plan, weights).clear(ids)[8:]
    if task == "argmax":
        return float(np.mean(values[0, :, 0] == exact.argmax(-1))), said and session.in_range
    worst = min(np.corrcoef(a, b)[0, 1] for a, b in zip(mine[0], exact, strict=True))
    return float(worst), said and session.in_range


IDS = [3, 4, 5, 6, 7, 8, 9, 10, 12, 4, 20, 5]


@pytest.mark.parametrize(("spec", "site"), DECODER_SITES, ids=lambda v: getattr(v, "family", v))
def test_a_decoder_that_outgrows_its_plan_is_never_silently_wrong(spec: ModelSpec, site: str) -> None:
    made = toy(spec, prefix=())
    assert any(f".{site}." in name for name in made.weights)
    found = {f: decoded(made, louder(made.weights, site, f), IDS) for f in FACTORS}
    assert found[1.0][1]
    assert not found[500.0][1]
    for factor, (correlation, said) in found.items():
        assert not said or correlation > 0.99, (factor, correlation)


def test_a_likeliest_token_of_a_model_that_outgrows_its_plan_is_withheld() -> None:
    made = toy(LLAMA, prefix=())
    assert decoded(made, made.weights, IDS, "argmax") == (1.0, True)
    assert not decoded(made, louder(made.weights, "head.out", 500.0), IDS, "argmax")[1]


def test_a_prompts_alarm_reaches_the_first_answer() -> None:
    """A part of the prompt has none itself; what it found stays shared until then."""
    made = toy(LLAMA, prefix=(), max_tokens=90)
    shape, loud = SessionShape("generate", 70, 2), louder(made.weights, "ffn.up", 500.0)
    trio = Trio(made.layout(), shape, loud)
    writer = Writer(made, shape, list(range(1, 31)) * 2)
    trio.step(0, writer.prompt(0))
    assert trio.parts == (b"", b"")
    with pytest.raises(RangeError, match="privinf check"):
        trio.step(64, writer.prompt(1))


def test_a_shared_model_that_outgrows_its_plan_is_refused_to_the_client(
    model: tiny.Tiny, tmp_path: Path
) -> None:
    loud = tiny.Tiny(
        model.directory, model.spec, louder(model.folded, "ffn.up", 500.0), model.tokenizer, model.plan
    ).share(tmp_path / "loud", "private")
    with pytest.raises(RangeError, match="--calibration"):
        loud.ask(QueryShape("embed", 1, 16), model.tokenizer.encode(tiny.sentences(1)), seeds(5))


def test_an_answer_beyond_what_was_planned_is_refused_by_the_client() -> None:
    field, parts = Field("result", (1, 1, 2), 20, 14), (bytes(5) + b"\1", bytes(5) + b"\0")
    assert not add_up(field, parts).any()
    large = (1 << 17).to_bytes(5, "little") + b"\1"
    with pytest.raises(RangeError):
        add_up(field, (large, parts[1]))
    with pytest.raises(RangeError):
        add_up(field, (parts[1], parts[1]))
