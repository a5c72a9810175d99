"""The real all-mpnet-base-v2: clear as transformers, and the fixed interpreter near it, outlier columns and all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from tiny import F32

from privinf.errors import ConfigError
from privinf.formats.fetch import fetch
from privinf.models.engines.stores import IdealStore, encode
from privinf.models.fold import F64, fold
from privinf.models.plan.scales import POST
from privinf.models.programs import query, texts
from privinf.models.programs.layout import QueryLayout
from privinf.models.sharing import calibrate
from privinf.models.source.checkpoint import load
from privinf.models.text.tokenizer import Tokenizer, bucket
from privinf.protocols.contract import QueryShape

pytestmark = pytest.mark.slow
TEXTS = (Path(__file__).parent.parent / "data" / "sentences.txt").read_text("utf-8").splitlines()[:20]
SEEDS = (b"\x05" * 32, b"\x06" * 32)


Loaded = tuple[Path, Any, Mapping[str, F64]]  # directory, spec, folded weights


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """Return the model's directory, what it is, and its weights."""
    try:
        directory = fetch("mpnet")
    except ConfigError as error:
        pytest.skip(f"mpnet cannot be fetched: {error}")
    spec, weights = load(directory)
    return directory, spec, fold(spec, weights)


def clear_answers(loaded: Loaded, texts: list[str]) -> F32:
    directory, spec, folded = loaded
    return calibrate.clear_answers(spec, folded, Tokenizer(directory).encode(texts))


def test_clear_equals_transformers(loaded: Loaded) -> None:
    pytest.importorskip("transformers")
    from reference import Reference

    directory, *_ = loaded
    reference = Reference(directory)
    for mine, theirs in zip(Tokenizer(directory).encode(TEXTS), reference.ids(TEXTS), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(clear_answers(loaded, TEXTS), reference.embeddings(TEXTS), atol=1e-5, rtol=0)


def test_the_fixed_interpreter_stays_near(loaded: Loaded) -> None:
    """Calibrated on a fourth of the text that ships."""
    directory, spec, folded = loaded
    tokenizer = Tokenizer(directory)
    plan = calibrate.calibrate(spec, folded, tokenizer.encode(calibrate.default_text()[::4], truncate=True))
    layout, encoded = QueryLayout(spec, plan, False, False), encode(folded, POST.of)
    for ids, wanted in zip(tokenizer.encode(TEXTS[:4]), clear_answers(loaded, TEXTS[:4]), strict=True):
        shape = QueryShape("embed", 1, bucket(len(ids)))
        rows = texts.lay_out(layout, shape, [ids])
        given = texts.plain(layout, shape, rows)
        private, kept = query.fixed(layout, shape, given, SEEDS, IdealStore(encoded, layout.scale))
        assert kept
        row = texts.finish(layout, rows, private)
        assert float(row[0] @ wanted) > 0.9995
