"""Texts as clients send them: special tokens as the tokenizer adds them, and halves that share no text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tiny_models import Kind, write_model

from privinf.equivariant.attacks.texts import front, halves, tokens_of
from privinf.equivariant.attacks.weights import facts
from privinf.errors import InputError

Plain = Callable[[Kind], Path]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A decoder whose tokenizer puts <s> before every text."""
    model = write_model(tmp_path / "begun", "llama")
    rules = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    rules.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    rules.save(str(model / "tokenizer.json"))
    return model


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "sea.txt"
    path.write_text("the sea\n\n" + 300 * "s")
    return path


def test_texts_begin_as_the_clients_do(begun: Path, written: Path) -> None:
    short, long = tokens_of([written], begun, facts(begun), 1000)
    assert short[0] == long[0] == 1
    assert len(short) == 1 + len("the sea")
    assert len(long) == facts(begun).max_tokens
    assert front(begun).tolist() == [1]


def test_ends_are_kept_where_texts_are_cut(plain_model: Plain, written: Path) -> None:
    model = plain_model("bert")
    written.write_text("sea\n\n" + 300 * "sea ")
    short, long = tokens_of([written], model, facts(model), 1000)
    assert long[-1] == short[-1] != short[1]
    assert front(model).tolist() == [short[0]]


def test_a_tokenizer_may_add_nothing(plain_model: Plain) -> None:
    assert len(front(plain_model("llama"))) == 0


def test_no_text_is_both_sent_and_public() -> None:
    texts = [np.array(ids) for ids in ([1], [2], [3], [1], [3], [4])]
    sent, public = halves(texts)
    assert [text.tolist() for text in sent] == [[1], [3], [3]]
    assert [text.tolist() for text in public] == [[2], [4]]
    with pytest.raises(InputError, match="fewer than two different texts"):
        halves(3 * texts[:1])
