"""A decoder's arrays under our names compute what transformers computes, and a file that lies is refused by tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from privinf.errors import ModelError
from privinf.models.source.checkpoint import load
from privinf.models.spec import ModelSpec

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from saved_decoders import tiny

Weights = dict[str, Any]
IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def change(folder: Path, edit: Callable[[Weights], object]) -> Path:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert "model.safetensors" in str(caught.value)
    return str(caught.value)


def norm(x: Any, weights: Weights, name: str, spec: ModelSpec) -> Any:
    centred = x - x.mean(-1, keepdims=True) if spec.biases else x
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + spec.eps)
    return scaled * weights[f"{name}.gain"] + weights.get(f"{name}.bias", 0)


def linear(x: Any, weights: Weights, name: str) -> Any:
    return x @ weights[f"{name}.weight"] + weights.get(f"{name}.bias", 0)


def activated(x: Any, spec: ModelSpec) -> Any:
    if spec.blocks[0].activation == "silu":
        return x / (1 + np.exp(-x))
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def turned(x: Any, spec: ModelSpec) -> Any:  # (heads, tokens, head_width)
    """Rotary positions in halves: coordinate j turns with j + head_width / 2."""
    if spec.rotary is None:
        return x
    half = spec.head_width // 2
    angle = np.arange(x.shape[1])[:, None] * spec.rotary.theta ** (-np.arange(half) / half)
    low, high = x[..., :half], x[..., half:]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def attention(x: Any, weights: Weights, layer: str, spec: ModelSpec) -> Any:
    def heads(part: str, count: int) -> Any:
        rows = linear(x, weights, f"{layer}.attn.{part}").reshape(len(x), count, spec.head_width)
        return np.repeat(rows.swapaxes(0, 1), spec.heads // count, axis=0)

    q, k = turned(heads("q", spec.heads), spec), turned(heads("k", spec.kv_heads), spec)
    scores = q @ k.swapaxes(1, 2) / np.sqrt(spec.head_width)
    scores = np.where(np.tri(len(x)), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = (shares @ heads("v", spec.kv_heads)).swapaxes(0, 1).reshape(len(x), -1)
    return linear(mixed, weights, f"{layer}.attn.out")


def feed_forward(x: Any, weights: Weights, layer: str, spec: ModelSpec) -> Any:
    up = linear(x, weights, f"{layer}.ffn.up")
    inner = (
        activated(linear(x, weights, f"{layer}.ffn.gate"), spec) * up if spec.gated else activated(up, spec)
    )
    return linear(inner, weights, f"{layer}.ffn.down")


def logits(spec: ModelSpec, weights: Weights, ids: list[int]) -> Any:
    """The whole model over our names, in float64."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    x = weights["embed.token"][ids]
    if "embed.position" in weights:
        x = x + weights["embed.position"][: len(ids)]
    for i in range(spec.layers):
        layer = f"layer{i}"
        x = x + attention(norm(x, weights, f"{layer}.attn.norm", spec), weights, layer, spec)
        x = x + feed_forward(norm(x, weights, f"{layer}.ffn.norm", spec), weights, layer, spec)
    return linear(norm(x, weights, "head.norm", spec), weights, "head")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt2", {}),
        ("gpt2", {"n_inner": 10, "activation_function": "gelu_pytorch_tanh"}),
        ("llama", {}),
        ("llama", {"num_key_value_heads": 1, "rope_theta": 100.0}),
        ("llama", {"num_key_value_heads": 4, "head_dim": None}),
    ],
)
def test_our_names_compute_what_transformers_computes(
    tmp_path: Path, kind: str, options: dict[str, Any], tied: bool
) -> None:
    model = tiny(tmp_path, kind, tie_word_embeddings=tied, **options)
    spec, weights = load(tmp_path)
    assert spec.generator.tied == tied
    assert all(w.dtype == np.float32 and w.flags.c_contiguous for w in weights.values())
    assert np.array_equal(weights["head.weight"], weights["embed.token"].T) == tied
    with torch.inference_mode():
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    np.testing.assert_allclose(logits(spec, weights, IDS), expected, rtol=1e-3, atol=1e-3)


def names(spec: ModelSpec) -> set[str]:
    """The naming contract, spelt out once more."""
    norms, parts = ["attn.norm", "ffn.norm"], ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.up", "ffn.down"]
    wanted = {"embed.token", "head.norm.gain", "head.weight"}
    if spec.family == "gpt2":
        wanted |= {"embed.position", "head.norm.bias"}
    else:
        parts.append("ffn.gate")
    for i in range(spec.layers):
        wanted |= {f"layer{i}.{n}.gain" for n in norms} | {f"layer{i}.{p}.weight" for p in parts}
        if spec.family == "gpt2":
            wanted |= {f"layer{i}.{n}.bias" for n in norms + parts}
    return wanted


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_names_are_ours(tmp_path: Path, kind: str) -> None:
    tiny(tmp_path, kind)
    spec, weights = load(tmp_path)
    assert set(weights) == names(spec)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_prefix_may_be_left_out(tmp_path: Path, kind: str) -> None:
    tiny(tmp_path, kind, tie_word_embeddings=False)
    _, before = load(tmp_path)

    def strip(tensors: Weights) -> None:
        for name in list(tensors):
            tensors[name.removeprefix("transformer.").removeprefix("model.")] = tensors.pop(name)

    _, after = load(change(tmp_path, strip))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_buffers_of_older_versions_are_ignored(tmp_path: Path, prefix: str) -> None:
    tiny(tmp_path, "gpt2")
    mask = np.tril(np.ones((1, 1, 16, 16), np.uint8))
    change(tmp_path, lambda t: t.update({f"{prefix}h.1.attn.bias": mask}))
    change(tmp_path, lambda t: t.update({f"{prefix}h.1.attn.masked_bias": np.array(-1e4, np.float32)}))
    load(tmp_path)


def test_rotary_buffers_are_ignored(tmp_path: Path) -> None:
    tiny(tmp_path, "llama")
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)}
    load(change(tmp_path, lambda t: t.update(buffer)))


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tmp_path: Path, kind: str) -> None:
    tiny(tmp_path, kind, tie_word_embeddings=True)
    embedding = "transformer.wte.weight" if kind == "gpt2" else "model.embed_tokens.weight"
    load(change(tmp_path, lambda t: t.update({"lm_head.weight": t[embedding].copy()})))
    assert "'lm_head.weight' differs" in refusal(
        change(tmp_path, lambda t: t["lm_head.weight"].__setitem__((1, 1), 9))
    )
    assert "(19, 8)" in refusal(change(tmp_path, lambda t: t.update({"lm_head.weight": np.zeros((19, 8))})))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_half_precision_is_widened_exactly(tmp_path: Path, kind: str, dtype: Any) -> None:
    state = tiny(tmp_path, kind).to(dtype)
    state.save_pretrained(tmp_path)
    _, half = load(tmp_path)
    state.float().save_pretrained(tmp_path)
    _, whole = load(tmp_path)
    assert all(np.array_equal(half[name], whole[name]) for name in whole)


ATTENTION = {"gpt2": "transformer.h.1.attn.c_attn.weight", "llama": "model.layers.1.self_attn.k_proj.weight"}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, kind: str, bad: float) -> None:
    tiny(tmp_path, kind)
    message = refusal(change(tmp_path, lambda t: t[ATTENTION[kind]].__setitem__((-1, -1), bad)))
    assert ATTENTION[kind] in message
    assert "infinite" in message


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_shapes_and_names_that_differ_are_named(tmp_path: Path, kind: str) -> None:
    name = ATTENTION[kind]
    tiny(tmp_path, kind)
    assert name in refusal(change(tmp_path, lambda t: t.update({name: t[name].T.copy()})))
    assert name.removeprefix("transformer.").removeprefix("model.") in refusal(
        change(tmp_path, lambda t: t.pop(name))
    )
    assert "lm_head.bias" in refusal(
        change(tmp_path, lambda t: t.update({"lm_head.bias": np.zeros(20), name: np.zeros(1)}))
    )


def test_an_untied_head_must_be_there(tmp_path: Path) -> None:
    tiny(tmp_path, "llama", tie_word_embeddings=False)
    said = refusal(change(tmp_path, lambda t: t.pop("lm_head.weight")))
    assert "lm_head.weight" in said
    assert "tie_word_embeddings is false" in said


def test_biases_have_no_use_in_a_llama(tmp_path: Path) -> None:
    tiny(tmp_path, "llama")
    bias = {"model.layers.0.self_attn.q_proj.bias": np.zeros(24, np.float32)}
    assert "q_proj.bias" in refusal(change(tmp_path, lambda t: t.update(bias)))


def test_one_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    tiny(tmp_path, "gpt2")
    name = "transformer.ln_f.weight"
    assert name in refusal(change(tmp_path, lambda t: t.update({"ln_f.weight": t[name].copy()})))


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    tiny(tmp_path, "gpt2")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert "cut short" in refusal(tmp_path)
