"""Rings hold what no calibration text said: rare tokens whose rows are far larger, in whatever table they stand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from generating import GPT2, LLAMA, Toy, Writer, random_weights, seeds
from safetensors.numpy import load_file, save_file

from privinf.models.engines import stores
from privinf.models.engines.stores import IdealStore
from privinf.models.fold import fold
from privinf.models.plan.scales import POST, PRE
from privinf.models.programs import query, texts
from privinf.models.programs.layout import QueryLayout
from privinf.models.programs.passes import FixedSession
from privinf.models.sharing import calibrate
from privinf.models.sharing.calibrate import calibrate_decoder
from privinf.models.sharing.reach import reach
from privinf.models.spec import ModelSpec
from privinf.protocols import ring
from privinf.protocols.contract import Advance, QueryShape, SessionShape

RARE = 100.0  # times larger than the others


@pytest.mark.parametrize("places", [1, 7])
def test_reach_is_exact(places: int) -> None:
    draw = np.random.default_rng(1)
    tokens, others = draw.normal(size=(5000, 6)), draw.normal(size=(places, 6))
    tokens[3] = 0
    sums = tokens[:, None] + others
    found = reach(tokens, others)
    assert np.isclose(found.largest, np.abs(sums).max())
    squares = (sums * sums).mean(-1)
    assert np.isclose(found.low, squares.min(), rtol=1e-9)
    assert np.isclose(found.high, squares.max(), rtol=1e-9)
    alone = reach(tokens)
    squares = (tokens * tokens).mean(-1)
    assert np.isclose(alone.largest, np.abs(tokens).max())
    assert np.isclose(alone.low, squares[squares > 0].min())


def loud(folder: Path, token: int, factor: float) -> tiny.Tiny:
    """A small encoder, one token of which no calibration text holds."""
    tiny.write_model(folder, "embed")
    table = "embeddings.word_embeddings.weight"
    tensors = load_file(folder / "model.safetensors")
    tensors[table] = tensors[table].copy()
    tensors[table][token] *= factor
    save_file(tensors, folder / "model.safetensors")
    return tiny.load_tiny(folder)


def cosine(model: tiny.Tiny, ids: np.ndarray) -> float:
    layout, encoded = QueryLayout(model.spec, model.plan, False, False), stores.encode(model.folded, POST.of)
    shape = QueryShape("embed", 1, 8)
    rows = texts.lay_out(layout, shape, [ids])
    given = texts.plain(layout, shape, rows)
    store = IdealStore(encoded, layout.scale)
    private = texts.finish(layout, rows, query.fixed(layout, shape, given, seeds(1), store)[0])[0]
    exact = calibrate.clear_answers(model.spec, model.folded, [ids])[0]
    return float(private @ exact / np.linalg.norm(private) / np.linalg.norm(exact))


@pytest.mark.parametrize("factor", [1.0, 10.0, RARE])
def test_a_rare_token_of_an_encoder(tmp_path: Path, factor: float) -> None:
    rare = len(tiny.VOCAB) - 1
    text = tiny.VOCAB[rare]
    assert text not in " ".join(tiny.sentences(64)).split()
    model = loud(tmp_path / "loud", rare, factor)
    first, *_, last = model.tokenizer.encode(["the"])[0]
    assert cosine(model, np.array([first, rare, last], np.int32)) > 0.999
    assert cosine(model, np.array([first, rare, rare, 7, rare, last], np.int32)) > 0.999


def test_calibration_reads_what_is_no_language() -> None:
    draw = np.random.default_rng(2)
    table = draw.normal(size=(3000, 4))
    example = np.array([1, 5, 6, 2], dtype=np.int32)
    made = calibrate.passages(table, example, 300)
    assert all(text[0] == 1 and text[-1] == 2 for text in made)
    assert max(map(len, made)) == 300
    assert set(made[0][1:-1]) == {5}
    assert len({int(token) for text in made for token in text}) > calibrate.PASSAGE * 6
    small = calibrate.passages(table[:9], example, 8)
    assert all(len(text) <= 8 for text in small)
    assert set(range(9)) <= {int(token) for text in small for token in text}


def test_the_text_that_ships_is_of_many_kinds() -> None:
    lines = calibrate.default_text()
    joined = "".join(lines)
    for said in "яλق駅明오ไதह🐋∑0{_":
        assert said in joined, said
    assert len(lines) == len(set(lines))


def agreed(toy: Toy, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The logits of all rows after a short prompt, in the fixed interpreter and in float32."""
    prompt, rest = ids[:8], ids[8:]
    encoded = stores.encode(toy.weights, PRE.of)
    shape = SessionShape("generate", 8, len(rest))
    session = FixedSession(toy.layout(), shape, IdealStore(encoded, PRE.of), encoded)
    writer = Writer(toy, shape, list(prompt))
    session.run(Advance(), writer.prompt(0), seeds(2))
    values = session.run(Advance.first(8), writer.rows(rest), seeds(3))
    field = toy.layout().result(shape, 1)
    assert values is not None
    return ring.decode(values, field.scale, field.bits)[0], toy.clear(ids)[8:]


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("factor", [1.0, 10.0, RARE])
@pytest.mark.parametrize("spec", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_rare_token_of_a_decoder(spec: ModelSpec, factor: float) -> None:
    rare = spec.vocab - 1
    raw = random_weights(spec)
    raw["embed.token"] = raw["embed.token"].copy()
    raw["embed.token"][rare] *= factor
    folded, draw = fold(spec, raw), np.random.default_rng(1)
    texts = [draw.integers(0, rare, size).astype(np.int32) for size in (5, 9, 20, 33)]
    plan, tensors = calibrate_decoder(spec, folded, texts, (1, 2), 40)
    private, exact = agreed(Toy(spec, plan, folded | tensors), [3, 4, 5, 6, 7, 8, 9, 10, rare, 4, rare, 5])
    for mine, theirs in zip(private, exact, strict=True):
        assert np.corrcoef(mine, theirs)[0, 1] > 0.999


def test_a_table_counts_whole_whatever_the_text_is(tmp_path: Path) -> None:
    quiet, noisy = tiny.load_tiny(tiny.write_model(tmp_path / "a", "embed")), loud(tmp_path / "b", 50, RARE)
    before, after = quiet.plan.embed_norm, noisy.plan.embed_norm
    assert before is not None
    assert after is not None
    gained = after.bits - before.bits
    assert 3 <= gained <= 8
    again: dict[str, Any] = json.loads(noisy.plan.to_json())
    assert again["embed_norm"] == dataclasses.asdict(after)
