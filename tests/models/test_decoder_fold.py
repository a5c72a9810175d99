"""Folding changes no answer: gains and centring move into the weights, softmax to base two."""

from __future__ import annotations

import numpy as np
import pytest
from generating import GPT2, LLAMA, random_weights
from specs import changed

from privinf.models.fold import LOG2_E, fold, fold_tensors
from privinf.models.spec import ModelSpec

SPECS = {"gpt2": GPT2, "llama": LLAMA}
FAMILIES = pytest.mark.parametrize("family", SPECS)


@FAMILIES
def test_names_are_those_of_the_model_and_no_norm_is_left(family: str) -> None:
    spec = SPECS[family]
    parts = [
        "attn.q",
        "attn.k",
        "attn.v",
        "attn.out",
        "ffn.up",
        "ffn.down",
        *(["ffn.gate"] if spec.gated else []),
    ]
    wanted = {"embed.token", "head.out.weight"}
    wanted |= {f"layer{i}.{part}.weight" for i in range(spec.layers) for part in parts}
    if family == "gpt2":
        wanted |= {"embed.position", "head.out.bias"}
        wanted |= {f"layer{i}.{part}.bias" for i in range(spec.layers) for part in parts}
    folded = fold(spec, random_weights(spec))
    assert set(folded) == wanted
    assert {value.dtype for value in folded.values()} == {np.dtype(np.float64)}


def test_all_that_is_added_to_a_residual_has_mean_zero() -> None:
    folded = fold(GPT2, random_weights(GPT2))
    for name, value in folded.items():
        if name.startswith("embed.") or ".out." in name.removeprefix("head") or ".down." in name:
            if name.startswith("head."):
                continue
            np.testing.assert_allclose(value.mean(axis=-1), 0, atol=1e-12, err_msg=name)
    raw = random_weights(GPT2)
    assert np.abs(raw["embed.token"].mean(axis=-1)).max() > 0.1


def test_a_norm_that_keeps_the_mean_leaves_rows_as_they_are() -> None:
    raw = random_weights(LLAMA)
    folded = fold(LLAMA, raw)
    for name in ("embed.token", "layer0.attn.out.weight", "layer1.ffn.down.weight"):
        np.testing.assert_array_equal(folded[name], raw[name].astype(np.float64))


@FAMILIES
def test_a_linear_layer_takes_over_the_norm_before_it(family: str) -> None:
    spec = SPECS[family]
    raw = {name: value.astype(np.float64) for name, value in random_weights(spec).items()}
    folded = fold(spec, random_weights(spec))
    row = np.random.default_rng(0).standard_normal(spec.width)
    for part, norm in (("attn.q", "attn"), ("attn.v", "attn"), ("ffn.up", "ffn")):
        name = f"layer1.{part}"
        normed = row * raw[f"layer1.{norm}.norm.gain"] + raw.get(f"layer1.{norm}.norm.bias", 0)
        wanted = normed @ raw[f"{name}.weight"] + raw.get(f"{name}.bias", 0)
        if part == "attn.q":
            wanted = wanted * LOG2_E / np.sqrt(spec.head_width)
        mine = row @ folded[f"{name}.weight"] + folded.get(f"{name}.bias", 0)
        np.testing.assert_allclose(mine, wanted, atol=1e-12)
    final = row * raw["head.norm.gain"] + raw.get("head.norm.bias", 0)
    mine = row @ folded["head.out.weight"] + folded.get("head.out.bias", 0)
    np.testing.assert_allclose(mine, final @ raw["head.weight"], atol=1e-12)


@FAMILIES
def test_inputs_are_left_alone(family: str) -> None:
    spec = SPECS[family]
    raw, again = random_weights(spec), random_weights(spec)
    fold(spec, raw)
    assert raw.keys() == again.keys()
    assert all(np.array_equal(raw[name], again[name]) for name in raw)


def test_a_bias_of_a_norm_alone_becomes_one_of_the_linear_layer() -> None:
    spec: ModelSpec = changed(GPT2, layers=1)
    raw = random_weights(spec)
    assert "head.bias" not in raw
    folded = fold(spec, raw)
    wanted = raw["head.norm.bias"].astype(np.float64) @ raw["head.weight"].astype(np.float64)
    np.testing.assert_allclose(folded["head.out.bias"], wanted, atol=1e-12)


@FAMILIES
def test_tensors_fold_as_arrays_do_and_gradients_reach_all_of_them(family: str) -> None:
    torch = pytest.importorskip("torch")
    spec = SPECS[family]
    raw = random_weights(spec)
    tensors = {name: torch.from_numpy(w.astype(np.float64)).requires_grad_() for name, w in raw.items()}
    folded, wanted = fold_tensors(spec, tensors), fold(spec, raw)
    assert folded.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(folded[name].detach().numpy(), value, atol=1e-12, err_msg=name)
    sum((w * w).sum() for w in folded.values()).backward()
    assert [name for name, w in tensors.items() if w.grad is None or not w.grad.any()] == []
