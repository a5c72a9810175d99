"""The real all-mpnet-base-v2: clear as transformers, and the fixed interpreter near it, outlier columns and all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tiny import F32, Tiny

from privinf.errors import ConfigError
from privinf.formats.fetch import fetch
from privinf.models import calibrate, program, query
from privinf.models.fold import fold
from privinf.models.query import Layout
from privinf.models.source.checkpoint import load
from privinf.models.text.tokenizer import Tokenizer, bucket
from privinf.models.weights import encode
from privinf.protocols.contract import QueryShape

pytestmark = pytest.mark.slow
TEXTS = (Path(__file__).parent.parent / "data" / "sentences.txt").read_text("utf-8").splitlines()[:20]
SEEDS = (b"\x05" * 32, b"\x06" * 32)


@pytest.fixture(scope="module")
def mpnet() -> Tiny:
    """Return the model, calibrated on the text that ships."""
    try:
        directory = fetch("mpnet")
    except ConfigError as error:
        pytest.skip(f"mpnet cannot be fetched: {error}")
    spec, weights = load(directory)
    folded, tokenizer = fold(spec, weights), Tokenizer(directory)
    ids = tokenizer.encode(calibrate.default_text(), truncate=True)
    return Tiny(directory, spec, folded, tokenizer, calibrate.calibrate(spec, folded, ids))


@pytest.fixture(scope="module")
def clear(mpnet: Tiny) -> F32:
    return calibrate.clear_answers(mpnet.spec, mpnet.folded, mpnet.tokenizer.encode(TEXTS))


def test_clear_equals_transformers(mpnet: Tiny, clear: F32) -> None:
    pytest.importorskip("transformers")
    from privinf.models.source.reference import Reference

    reference = Reference(mpnet.directory)
    for mine, theirs in zip(mpnet.tokenizer.encode(TEXTS), reference.ids(TEXTS), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(clear, reference.embeddings(TEXTS), atol=1e-5, rtol=0)


def test_the_fixed_interpreter_stays_near(mpnet: Tiny, clear: F32) -> None:
    layout, encoded = Layout(mpnet.spec, mpnet.plan, public=False), encode(mpnet.folded)
    for ids, wanted in zip(mpnet.tokenizer.encode(TEXTS[:4]), clear, strict=False):
        shape = QueryShape("embed", 1, bucket(len(ids)))
        rows = query.lay_out(layout, shape, [ids])
        given = query.plain(layout, shape, rows)
        row = query.finish(layout, rows, program.fixed(layout, shape, given, SEEDS, encoded))
        assert float(row[0] @ wanted) > 0.9995
