"""Conversions that are refused: each says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_models import KINDS, Kind, write_model

from privinf.equivariant.covering.convert import Noise, convert
from privinf.errors import ConfigError, InputError, ModelError

Plain = Callable[[Kind], Path]
TEXT_KINDS = [kind for kind in KINDS if kind != "vit"]


@pytest.mark.parametrize(
    ("kind", "settings", "match"),
    [
        ("bert", {"architectures": ["BertForMaskedLM"]}, "accepted: one of BertModel"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_scaling"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("vit", {"use_rotary": True}, "unknown keys 'use_rotary'"),
        ("vit", {"architectures": ["ViTForMaskedImageModeling"]}, "ViTForImageClassification"),
        ("vit", {"patch_size": 5}, "image_size"),
        ("vit", {"patch_size": "large"}, "patch_size"),
    ],
)
def test_what_cannot_be_covered_is_refused_by_name(
    tmp_path: Path, kind: Kind, settings: dict[str, Any], match: str
) -> None:
    model = write_model(tmp_path / "plain", kind)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(ModelError, match=match):
        convert(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(plain_model: Plain, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("work")
    with pytest.raises(ConfigError, match="not empty: choose another directory"):
        convert(plain_model("gpt2"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nothing_is_left_of_a_conversion_that_fails(
    plain_model: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **named: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("privinf.equivariant.covering.server_folder.save_file", full)
    with pytest.raises(OSError, match="no space"):
        convert(plain_model("gpt2"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="no space"):
        convert(plain_model("gpt2"), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"level": "best"}, InputError),
        ({"task": "embed"}, ConfigError),
        ({"level": "session", "variants": 0}, ConfigError),
        ({"level": "cover", "noise": Noise(0.1, 0.1)}, ConfigError),
        ({"level": "noise", "noise": Noise(padding=8)}, ConfigError),
        ({"level": "noise", "noise": Noise(mixing=0.2)}, ConfigError),
        ({"level": "session", "variants": 10**6}, ConfigError),
    ],
)
def test_options_that_do_not_fit_are_refused(
    plain_model: Plain, tmp_path: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        convert(plain_model("gpt2"), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_missing_special_tokens_are_named(plain_model: Plain, tmp_path: Path, kind: Kind) -> None:
    model = write_model(tmp_path / "plain", kind)
    path = model / "tokenizer.json"
    rules = json.loads(path.read_text())
    if kind.startswith("bert"):
        rules["post_processor"], match = None, r"no special tokens such as \[CLS\]"
    else:
        rules["added_tokens"] = [t for t in rules["added_tokens"] if t["content"] != "</s>"]
        del rules["model"]["vocab"]["</s>"]
        match = "no token 2, which .* eos_token_id"
    path.write_text(json.dumps(rules))
    with pytest.raises(ModelError, match=match):
        convert(model, tmp_path / "out")


def test_a_tokenizer_of_another_model_is_refused(plain_model: Plain, tmp_path: Path) -> None:
    model = write_model(tmp_path / "plain", "gpt2")
    rules = json.loads((model / "tokenizer.json").read_text())
    rules["model"]["vocab"]["more"] = 40
    (model / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(ModelError, match="do not match"):
        convert(model, tmp_path / "out")
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="is not a tokenizer"):
        convert(model, tmp_path / "out")


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path, kind: Kind) -> None:
    model = write_model(tmp_path / "plain", kind)
    (model / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        convert(model, tmp_path / "out")


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "vit"])
def test_damaged_weights_are_refused(tmp_path: Path, kind: Kind) -> None:
    model = write_model(tmp_path / "plain", kind)
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match="cut short"):
        convert(model, tmp_path / "out")
    path.unlink()
    with pytest.raises(ModelError, match="is missing"):
        convert(model, tmp_path / "out")


def test_progress_is_told(plain_model: Plain, tmp_path: Path) -> None:
    told: list[str] = []
    convert(plain_model("llama"), tmp_path / "out", "session", variants=2, progress=told.append)
    assert [text for text in told if "variant 2 of 2" in text]


def test_relative_positions_are_refused_by_name(tmp_path: Path) -> None:
    model = tiny.write_model(tmp_path / "plain", "embed", family="mpnet")
    with pytest.raises(ModelError, match="'mpnet' cannot be covered: its positions are relative"):
        convert(model, tmp_path / "out")
