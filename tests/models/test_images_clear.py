"""Classifiers of images in float32: the program says what transformers' ViT and a plain ViT-Lite say, and learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_images
import tiny_models
import torch

from privinf.errors import ModelError
from privinf.formats.directory import write_model
from privinf.models.clear import ClearImages
from privinf.models.engines.observers import Ranges
from privinf.models.fold import fold
from privinf.models.learning import see, whole
from privinf.models.source.checkpoint import load, read_spec

CLOSE = 1e-4


def test_a_vit_says_what_transformers_says(tmp_path: Path) -> None:
    folder = tiny_models.write_model(tmp_path, "vit")
    spec, weights = load(folder)
    images = torch.from_numpy(tiny_images.pixels(spec, 3))
    said = ClearImages(spec, fold(spec, weights)).run(images)[:, 0]
    assert (said - tiny_models.load(folder)(pixel_values=images).logits).abs().max() < CLOSE


@pytest.mark.parametrize("name", ["DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"])
def test_a_deit_says_what_transformers_says(tmp_path: Path, name: str) -> None:
    theirs = tiny_images.write_deit(tmp_path, name)
    spec, weights = load(tmp_path)
    assert spec.max_tokens == spec.patches.count + 2
    images = torch.from_numpy(tiny_images.pixels(spec, 3))
    said = ClearImages(spec, fold(spec, weights)).run(images)[:, 0]
    with torch.no_grad():
        assert (said - theirs(pixel_values=images).logits).abs().max() < CLOSE


def test_a_vit_lite_says_what_plain_pytorch_says(tmp_path: Path) -> None:
    tiny_images.write_lite(tmp_path)
    spec, weights = load(tmp_path)
    images = torch.from_numpy(tiny_images.pixels(spec, 3))
    said = ClearImages(spec, fold(spec, weights)).run(images)[:, 0]
    plain = tiny_images.lite(spec, {name: torch.from_numpy(w) for name, w in weights.items()}, images)
    assert (said - plain).abs().max() < CLOSE
    assert said.shape == (3, 3)


@pytest.mark.parametrize("family", ["vit", "vit_lite"])
def test_what_learns_says_the_same_and_gradients_reach_every_parameter(tmp_path: Path, family: str) -> None:
    if family == "vit":
        tiny_models.write_model(tmp_path, "vit")
    else:
        tiny_images.write_lite(tmp_path)
    spec, weights = load(tmp_path)
    images = torch.from_numpy(tiny_images.pixels(spec, 2))
    parameters = {name: torch.from_numpy(w).requires_grad_() for name, w in weights.items()}
    seen = see(whole(spec), parameters, images)
    said = ClearImages(spec, fold(spec, weights)).run(images)[:, 0]
    assert (seen.logits - said).abs().max() < CLOSE
    assert seen.features.shape == (2, spec.max_tokens, spec.width)
    head = seen.features[:, 0] @ parameters["head.weight"] + parameters["head.bias"]
    assert (head - seen.logits).abs().max() < CLOSE
    (seen.logits.square().sum() + seen.features.square().sum()).backward()
    # A key's bias adds the same to all scores of a row
    blind = {f"layer{i}.attn.k.bias" for i in range(spec.layers)}
    assert {name for name, x in parameters.items() if x.grad is None or not x.grad.any()} <= blind


def test_a_trained_model_is_written_and_read_again(tmp_path: Path) -> None:
    spec = tiny_images.write_lite(tmp_path / "first", activation=["gelu", "relu"])
    assert [block.activation for block in spec.blocks] == ["gelu", "relu"]
    weights = tiny_images.drawn(spec, 5)
    (tmp_path / "second").mkdir()
    write_model(tmp_path / "second", spec, weights)
    again, found = load(tmp_path / "second")
    assert again == spec
    assert found.keys() == weights.keys()
    for name, w in weights.items():
        np.testing.assert_array_equal(found[name], w)


def test_the_last_layer_asks_for_the_first_row_alone(tmp_path: Path) -> None:
    tiny_images.write_lite(tmp_path)
    spec, weights = load(tmp_path)
    seen = Ranges()
    shapes: dict[str, tuple[int, ...]] = {}
    see_one = seen.see
    seen.see = lambda site, x: (shapes.__setitem__(site, tuple(x.shape)), see_one(site, x))[1]  # type: ignore[method-assign]
    ClearImages(spec, fold(spec, weights), seen).run(torch.from_numpy(tiny_images.pixels(spec, 1)))
    assert shapes["layer0.ffn.residual"] == (1, 7, 24)
    assert shapes["layer1.attn.residual"] == (1, 7, 24)
    assert shapes["layer1.ffn.residual"] == (1, 1, 24)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"attention": "sharp"}, "attention 'sharp'"),
        ({"attention": ["softmax"]}, "attention names 1 layers of 2"),
        ({"activation": ["gelu", 3]}, "activation 3"),
        ({"hidden_act": "gelu"}, "unknown keys 'hidden_act'"),
        ({"image_size": 9}, "image_size 9 x 9 is not a multiple of patch_size"),
        ({"num_attention_heads": 5}, "hidden_size 24 is not a multiple"),
    ],
)
def test_what_a_vit_lite_may_not_say_is_refused_by_name(
    tmp_path: Path, settings: dict[str, object], named: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(tiny_images.SIZES | settings))
    with pytest.raises(ModelError, match=named):
        read_spec(tmp_path)
