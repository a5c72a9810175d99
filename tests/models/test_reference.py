"""The reference pools and normalises as the directory says, and gives no logits where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from reference import Reference

from privinf.errors import ConfigError
from privinf.formats.fetch import fetch

PAIR = ["A man is eating food.", "Someone eats a meal.", "The stock market fell by 3%."]


@pytest.fixture(scope="module")
def reference() -> Reference:
    pytest.importorskip("transformers")
    try:
        return Reference(fetch("minilm"))
    except ConfigError as error:
        pytest.skip(f"minilm cannot be fetched: {error}")


@pytest.mark.slow
def test_embeddings_are_normalised_means_of_states(reference: Reference) -> None:
    embedded = reference.embeddings(PAIR)
    means = np.stack([states.mean(axis=0) for states in reference.states(reference.ids(PAIR))])
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(embedded * np.linalg.norm(means, axis=1)[:, None], means, atol=1e-6)


@pytest.mark.slow
def test_related_sentences_are_closer(reference: Reference) -> None:
    first, second, third = reference.embeddings(PAIR)
    assert first @ second > 0.5 > 0.2 > first @ third


def test_an_encoder_has_no_logits(reference: Reference) -> None:
    with pytest.raises(ConfigError, match="no classifier"):
        reference.classes(PAIR)
