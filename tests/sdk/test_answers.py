"""What a classifier says is what it was made for: one label, any number of them, a score, or a measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import privinf
from privinf.cli.ask import classes, said_of
from privinf.errors import InputError, ModelError
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import Says
from privinf.sdk.answers import Classification, Usage
from privinf.sdk.asked import listed, seconds

LOGITS = np.array([[2.0, -1.0, 0.5], [-900.0, -2.0, 900.0]], dtype=np.float32)
NAMES = ("calm", "wind", "storm")
HEAD: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 20,
    "max_position_embeddings": 16,
}


def answer(says: Says, logits: np.ndarray = LOGITS) -> Classification:
    return Classification(logits, NAMES[: logits.shape[1]], says, Usage())


def read(folder: Path, **changed: Any) -> Any:
    (folder / "config.json").write_text(json.dumps(HEAD | changed))
    return read_spec(folder)


def test_one_label_of_all() -> None:
    one = answer("label")
    assert one.labels == ("calm", "storm")
    assert one.label_sets == (("calm",), ("storm",))
    assert np.allclose(one.scores, torch.softmax(torch.tensor(LOGITS), -1))


def test_any_number_of_labels() -> None:
    several = answer("labels", np.array([[2.0, -1.0, 3.0], [-5.0, -2.0, -0.1]], dtype=np.float32))
    assert several.label_sets == (("storm", "calm"), ())
    assert np.allclose(several.scores, torch.sigmoid(torch.tensor(several.logits)))
    with pytest.raises(InputError, match="read label_sets"):
        _ = several.labels
    assert np.isfinite(answer("labels").scores).all()


@pytest.mark.parametrize(("says", "first"), [("score", 1 / (1 + np.exp(-1.5))), ("measure", 1.5)])
def test_a_score_is_no_label(says: Says, first: float) -> None:
    scored = answer(says, np.array([[1.5]], dtype=np.float32))
    assert np.allclose(scored.scores, [[first]])
    for choice in ("labels", "label_sets"):
        with pytest.raises(InputError, match="read scores"):
            getattr(scored, choice)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "label"),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, "label"),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, "labels"),
        ({"num_labels": 1}, "score"),
        ({"id2label": {"0": "LABEL_0"}}, "score"),
        ({"num_labels": 1, "problem_type": "regression"}, "measure"),
        ({"num_labels": 3, "problem_type": "regression"}, "measure"),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, "labels"),
    ],
)
def test_what_a_head_was_made_for(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    assert read(tmp_path, **changed).classifier.says == says


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "count"),
    [
        (None, 3),
        (None, 1),
        ("single_label_classification", 3),
        ("multi_label_classification", 3),
        ("regression", 1),
    ],
)
def test_scores_are_those_of_the_pipeline(tmp_path: Path, problem: str | None, count: int) -> None:
    """The library's own last step, given the same logits."""
    labels = {i: NAMES[i] for i in range(count)}
    config = transformers.BertConfig(**HEAD, id2label=labels, problem_type=problem)
    steps = transformers.TextClassificationPipeline.__new__(transformers.TextClassificationPipeline)
    steps.model = transformers.BertForSequenceClassification(config)
    logits = LOGITS[:1, :count]
    outputs = {"logits": torch.tensor(logits)}
    theirs = {row["label"]: row["score"] for row in steps.postprocess(outputs, top_k=None, _legacy=False)}
    given = {} if problem is None else {"problem_type": problem}
    says = read(tmp_path, id2label={str(i): name for i, name in labels.items()}, **given).classifier.says
    ours = answer(says, logits).scores[0]
    assert np.allclose(ours, [theirs[name] for name in NAMES[:count]], atol=1e-6)


def test_a_problem_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="problem_type 'ranking' is not supported; accepted: single_label"):
        read(tmp_path, problem_type="ranking")


@pytest.mark.parametrize(
    ("config", "about"),
    [
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, {}),
        (
            {
                "sentence_transformers": {
                    "activation_fn": "torch.nn.modules.linear.Identity",
                    "version": "4.1.0",
                }
            },
            {},
        ),
        ({}, {"model_type": "CrossEncoder", "prompts": {}}),
    ],
)
def test_a_model_of_pairs_is_refused(tmp_path: Path, config: dict[str, Any], about: dict[str, Any]) -> None:
    if about:
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="CrossEncoder scores pairs of texts"):
        read(tmp_path, num_labels=1, **config)


def test_classifiers_cut_texts_where_their_tokenizer_does(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 9}))
    assert read(tmp_path).longest == 9


def test_what_the_command_line_says() -> None:
    assert next(iter(said_of(answer("label")))).startswith("calm\t0.78")
    several = answer("labels", np.array([[2.0, -1.0, 3.0], [-5.0, -2.0, -0.1]], dtype=np.float32))
    assert list(said_of(several)) == ["storm 0.9526, calm 0.8808", "-"]
    measured = answer("measure", np.array([[1.5], [-2.0]], dtype=np.float32))
    assert list(said_of(measured)) == ["1.5000", "-2.0000"]
    assert classes(answer("label"))["labels"] == ("calm", "storm")
    assert classes(several)["labels"] == (("storm", "calm"), ())
    assert classes(measured)["labels"] is None
    assert json.loads(json.dumps(classes(several)))["says"] == "labels"


def test_a_text_is_a_list_of_one() -> None:
    assert listed("calm") == ["calm"]
    assert listed(text for text in ("calm", "wind")) == ["calm", "wind"]
    assert listed(()) == []
    for wrong in (None, 3, b"calm"):
        with pytest.raises(InputError, match="a text or a list of texts"):
            listed(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0, -1, -0.5, float("nan"), float("inf"), "3", True])
def test_times_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match="timeout must be a number of seconds above 0"):
        seconds(wrong)


def test_times_that_are_some() -> None:
    assert (seconds(None), seconds(0.5), seconds(3)) == (None, 0.5, 3)


def test_every_error_is_at_hand() -> None:
    from privinf import errors

    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert len(kinds) > 10
    assert all(getattr(privinf, name) is getattr(errors, name) for name in kinds)
    assert kinds <= set(privinf.__all__)
