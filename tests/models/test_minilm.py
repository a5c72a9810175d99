"""The real all-MiniLM-L6-v2 in shares: bit for bit the fixed interpreter, near float32, within the round budget."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tiny import Shared, Tiny

from privinf.errors import ConfigError
from privinf.formats.fetch import fetch
from privinf.models.fold import fold
from privinf.models.programs.layout import QueryLayout
from privinf.models.programs.query import count
from privinf.models.sharing import calibrate
from privinf.models.sharing.bundle import Mode
from privinf.models.source.checkpoint import load
from privinf.models.text.tokenizer import Tokenizer
from privinf.protocols.contract import QueryShape

pytestmark = pytest.mark.slow
TEXTS = ["Call me Ishmael.", "A whale-ship was my Yale College and my Harvard."]
SEEDS = (b"\x05" * 32, b"\x06" * 32)


@pytest.fixture(scope="module")
def minilm() -> Tiny:
    """Return the model, calibrated on a fourth of the text that ships."""
    try:
        directory = fetch("minilm")
    except ConfigError as error:
        pytest.skip(f"minilm cannot be fetched: {error}")
    spec, weights = load(directory)
    folded, tokenizer = fold(spec, weights), Tokenizer(directory)
    plan = calibrate.calibrate(spec, folded, tokenizer.encode(calibrate.default_text()[::4]))
    return Tiny(directory, spec, folded, tokenizer, plan)


@pytest.fixture(scope="module", params=["private", "public"])
def shared(minilm: Tiny, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Return it shared in either way."""
    mode: Mode = request.param
    out: Path = tmp_path_factory.mktemp("minilm") / mode
    return minilm.share(out, mode)


def test_shares_equal_the_fixed_interpreter(minilm: Tiny, shared: Shared) -> None:
    ids, shape = minilm.tokenizer.encode(TEXTS), QueryShape("embed", 2, 16)
    answer = shared.ask(shape, ids, SEEDS)
    assert np.array_equal(answer.rows, shared.fixed(shape, ids, SEEDS))
    clear = calibrate.clear_answers(minilm.spec, minilm.folded, ids)
    assert (answer.rows * clear).sum(axis=-1).min() > 0.9995


@pytest.mark.parametrize("tokens", [8, 24, 128])
def test_rounds_of_a_layer(minilm: Tiny, tokens: int) -> None:
    layout = QueryLayout(minilm.spec, minilm.plan, False, False)
    shape = QueryShape("embed", 1, tokens)
    costs = count(layout, shape).tally.top()
    layers = [cost.rounds for name, cost in costs.items() if name.startswith("layer")]
    assert len(layers) == minilm.spec.layers
    assert max(layers) <= 17 + math.ceil(math.log2(tokens))
