"""The reference's logits know their prefix, and its texts are the likeliest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from converting import random_llama
from reference import Reference

from privinf.errors import InputError

IDS = np.array([3, 1, 4, 1, 5, 9], np.int32)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    random_llama(vocab_size=20, bos_token_id=0, eos_token_id=1).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_prefix_goes_before_every_sequence(directory: Path) -> None:
    reference = Reference(directory)
    whole, short = reference.logits([IDS, IDS[:4]])
    assert whole.shape == (6, 20)
    np.testing.assert_allclose(whole[:4], short, rtol=1e-4, atol=1e-4)
    (rest,) = reference.logits([IDS[2:]], prefix=[3, 1])
    np.testing.assert_allclose(rest, whole[2:], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_texts_are_the_likeliest_and_stop_at_an_end(directory: Path) -> None:
    # What the directory says about generation counts for its ends alone.
    forbid = {"eos_token_id": 1, "repetition_penalty": 9.0, "suppress_tokens": list(range(2, 20))}
    (directory / "generation_config.json").write_text(json.dumps(forbid))
    reference = Reference(directory)
    made: list[int] = []
    while len(made) < 8 and made[-1:] != [1]:
        (rows,) = reference.logits([np.array([*IDS, *made], np.int32)])
        made.append(int(rows[-1].argmax()))
    assert reference.generate(IDS[2:], 8, prefix=IDS[:2]) == made
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": made[2]}))
    assert Reference(directory).generate(IDS, 8) == made[: made.index(made[2]) + 1]


def test_texts_end_where_the_positions_do(directory: Path) -> None:
    reference = Reference(directory)
    assert len(reference.generate([2] * 14, 9)) <= 2
    assert reference.generate([2] * 16, 9) == []
    with pytest.raises(InputError, match="17 tokens"):
        reference.generate([2] * 16, 9, prefix=[2])
    with pytest.raises(InputError, match="0 tokens"):
        reference.logits([IDS[:0]])
