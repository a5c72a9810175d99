"""What config.json, modules.json and the pooling may say, and what is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from specs import encoder

from privinf.errors import ConfigError, ModelError
from privinf.formats.fetch import fetch
from privinf.models.families._common import HARMLESS_KEYS
from privinf.models.families._encoders import FIXED_IN_TEXTS
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import Classifier, Pool, TextRules, Tokens

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "vocab_size": 20,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
MPNET: dict[str, Any] = {k: v for k, v in CONFIG.items() if k != "type_vocab_size"} | {
    "model_type": "mpnet",
    "architectures": ["MPNetModel"],
    "relative_attention_num_buckets": 32,
}
TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
NORMALIZE = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
MEAN = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def write(folder: Path, **changed: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(CONFIG | changed))
    return folder


def write_modules(folder: Path, modules: Any, pooling: Any = None) -> Path:
    (folder / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return write(folder)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_spec(folder)
    return str(caught.value)


def test_the_fields_of_a_plain_encoder(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path)) == encoder(2, 8, 2, 12, 20, 16)


def test_weights_and_tokenizer_need_not_be_there(tmp_path: Path) -> None:
    assert read_spec(str(write(tmp_path))).layers == 2


def test_defaults_are_those_of_transformers(tmp_path: Path) -> None:
    short = {k: v for k, v in CONFIG.items() if k not in {"type_vocab_size", "hidden_act", "layer_norm_eps"}}
    (tmp_path / "config.json").write_text(json.dumps(short))
    assert read_spec(tmp_path) == read_spec(write(tmp_path))


def test_harmless_keys_change_nothing(tmp_path: Path) -> None:
    plain = read_spec(write(tmp_path))
    fixed = {key: accepted[0] for key, accepted in FIXED_IN_TEXTS.items()}
    assert read_spec(write(tmp_path, **dict.fromkeys(HARMLESS_KEYS, 1), **fixed)) == plain


@pytest.mark.parametrize(
    "key", ["n_special", "predict_special_tokens", "output_past", "xla_device", "_num_labels"]
)
def test_what_old_versions_wrote_means_nothing(tmp_path: Path, key: str) -> None:
    assert read_spec(write(tmp_path, **{key: 3})) == read_spec(write(tmp_path))


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_activations_keep_their_own_name(tmp_path: Path, name: str) -> None:
    assert read_spec(write(tmp_path, hidden_act=name)).blocks[0].activation == name


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("model_type", "roberta", "'bert'"),
        ("model_type", None, "'bert'"),
        ("model_type", ["bert"], "'bert'"),
        ("hidden_act", "swish_glu", "gelu_pytorch_tanh"),
        ("hidden_act", ["gelu"], "gelu_pytorch_tanh"),
        ("position_embedding_type", "relative_key", "'absolute'"),
        ("is_decoder", True, "False"),
        ("add_cross_attention", True, "False"),
        ("pruned_heads", {"0": [1]}, "{}"),
        ("architectures", ["BertForMaskedLM"], "BertForSequenceClassification"),
        ("architectures", ["BertModel", "BertModel"], "BertModel"),
        ("architectures", "BertModel", "BertModel"),
        ("architectures", [["BertModel"]], "BertModel"),
        ("hidden_size", 0, "positive integer"),
        ("hidden_size", 8.0, "positive integer"),
        ("vocab_size", True, "positive integer"),
        ("num_attention_heads", 3, "multiple"),
        ("num_hidden_layers", "6", "positive integer"),
        ("layer_norm_eps", 0, "between 0 and 1"),
        ("layer_norm_eps", "1e-12", "between 0 and 1"),
    ],
)
def test_other_values_are_refused_by_name(tmp_path: Path, key: str, value: Any, accepted: str) -> None:
    message = refusal(write(tmp_path, **{key: value}))
    assert key in message
    assert accepted in message
    assert "config.json" in message


def write_mpnet(folder: Path, **changed: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(MPNET | changed))
    return folder


@pytest.mark.parametrize("kind", ["MPNetModel", "MPNetForMaskedLM"])
def test_mpnet_counts_positions_from_two(tmp_path: Path, kind: str) -> None:
    spec = read_spec(write_mpnet(tmp_path, architectures=[kind]))
    inputs = Tokens(20, pad=1, places=16)
    assert spec == replace(
        encoder(2, 8, 2, 12, 20, 16), family="mpnet", max_tokens=14, buckets=32, inputs=inputs
    )


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("relative_attention_num_buckets", 64, "32"),
        ("max_position_embeddings", 2, "above 2"),
        ("architectures", ["BertModel"], "MPNetModel"),
        ("type_vocab_size", 2, "MPNetConfig"),
        ("rope_theta", 1, "MPNetConfig"),
    ],
)
def test_what_mpnet_cannot_mean_is_refused(tmp_path: Path, key: str, value: Any, named: str) -> None:
    message = refusal(write_mpnet(tmp_path, **{key: value}))
    assert key in message
    assert named in message


def test_keys_of_mpnet_mean_nothing_to_bert(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, relative_attention_num_buckets=32))
    assert "'relative_attention_num_buckets'" in message
    assert "BertConfig" in message


@pytest.mark.parametrize("key", ["quantization_config", "auto_map", "embedding_size", "rope_theta"])
def test_unknown_keys_are_refused_by_name(tmp_path: Path, key: str) -> None:
    assert repr(key) in refusal(write(tmp_path, **{key: 1}))


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size", "model_type"])
def test_a_missing_size_is_named(tmp_path: Path, key: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in CONFIG.items() if k != key}))
    assert key in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff{}", b"[]", b"3", b"[" * 100_000])
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    assert "config.json" in refusal(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "config.json is missing" in refusal(tmp_path)
    assert "config.json" in refusal(tmp_path / "nowhere")


def test_labels_of_a_classifier(tmp_path: Path) -> None:
    kind = ["BertForSequenceClassification"]
    spec = read_spec(write(tmp_path, architectures=kind, id2label={"1": "good", "0": "bad"}))
    assert spec.head == Classifier(("bad", "good"), dense="tanh")
    assert read_spec(write(tmp_path, architectures=kind)).labels == ("LABEL_0", "LABEL_1")
    assert read_spec(write(tmp_path, architectures=kind, num_labels=3)).labels[2] == "LABEL_2"


@pytest.mark.parametrize("given", [{}, {"0": "a", "2": "b"}, {"0": 1}, ["a", "b"], "ab"])
def test_labels_that_leave_a_gap_are_refused(tmp_path: Path, given: Any) -> None:
    kind = ["BertForSequenceClassification"]
    assert "id2label" in refusal(write(tmp_path, architectures=kind, id2label=given))


def test_pooling_and_normalisation(tmp_path: Path) -> None:
    spec = read_spec(write_modules(tmp_path, [TRANSFORMER, POOLING, NORMALIZE], MEAN))
    assert (spec.pool.kind, spec.pool.unit) == ("mean", True)


def test_pooling_without_normalisation(tmp_path: Path) -> None:
    cls = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    spec = read_spec(write_modules(tmp_path, [TRANSFORMER, POOLING], cls))
    assert (spec.pool.kind, spec.pool.unit) == ("cls", False)


def test_pooling_of_a_directory_without_modules(tmp_path: Path) -> None:
    write_modules(tmp_path, [], MEAN)
    (tmp_path / "modules.json").unlink()
    assert (read_spec(tmp_path).pool.kind, read_spec(tmp_path).pool.unit) == ("mean", False)


@pytest.mark.parametrize(
    ("modules", "named"),
    [
        ([TRANSFORMER, POOLING, {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}], "Dense"),
        ([TRANSFORMER, NORMALIZE], "Normalize"),
        ([], "none"),
        ({}, "not a list"),
        (["Transformer"], "type and a path"),
        ([TRANSFORMER, POOLING | {"path": "../elsewhere"}], "../elsewhere"),
        ([TRANSFORMER, POOLING | {"path": "/etc"}], "/etc"),
        ([TRANSFORMER | {"path": "0_Transformer"}, POOLING], "0_Transformer"),
        ([TRANSFORMER | {"type": "custom_code.Transformer"}, POOLING], "custom_code.Transformer"),
        ([TRANSFORMER | {"kwargs": ["task"]}, POOLING], "kwargs"),
        ([TRANSFORMER, POOLING | {"option": 1}], "option"),
    ],
)
def test_other_modules_are_refused(tmp_path: Path, modules: Any, named: str) -> None:
    message = refusal(write_modules(tmp_path, modules, MEAN))
    assert named in message
    assert "modules.json" in message


@pytest.mark.parametrize(
    ("pooling", "named"),
    [
        ({"pooling_mode_max_tokens": True}, "pooling max"),
        (MEAN | {"pooling_mode_cls_token": True}, "pooling cls, mean"),
        ({"pooling_mode": "lasttoken"}, "pooling lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, "pooling cls, mean"),
        ({"pooling_mode": "weightedmean"} | MEAN, "pooling weightedmean"),
        (MEAN | {"word_embedding_dimension": 9}, "word_embedding_dimension"),
        ({"pooling_mode": "mean", "embedding_dimension": 9}, "embedding_dimension"),
        (MEAN | {"pooling_mode_median_tokens": True}, "pooling_mode_median_tokens"),
        (MEAN | {"include_prompt": 1}, "include_prompt"),
    ],
)
def test_other_poolings_are_refused(tmp_path: Path, pooling: Any, named: str) -> None:
    assert named in refusal(write_modules(tmp_path, [TRANSFORMER, POOLING], pooling))


def test_the_fetched_encoder() -> None:
    try:
        directory = fetch("minilm")
    except ConfigError as error:
        pytest.skip(f"minilm cannot be fetched: {error}")
    assert read_spec(directory) == replace(
        encoder(6, 384, 12, 1536, 30522, 512, head=Pool("mean", unit=True)),
        inputs=Tokens(30522, places=512, types=2, texts=TextRules(longest=256)),
    )
