"""Decoders of a given shape with random weights, shared as a user shares real ones: for costs, not for texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from privinf.models.fold import F32, fold
from privinf.models.sharing import bundle
from privinf.models.sharing.calibrate import calibrate_decoder
from privinf.models.sharing.folder import Mode
from privinf.models.source.checkpoint import read_spec, tensors
from privinf.models.spec import ModelSpec

SEED = 7
TEXTS, LENGTHS = 6, (24, 96)  # random texts that ranges are measured on
SPREAD = 1.2  # of a linear layer's outputs, as in the encoder layers that are measured


@dataclass(frozen=True)
class Form:
    """A decoder's shape; heads are 64 wide, and a Llama has a third as many of keys and values."""

    family: Literal["gpt2", "llama"]
    layers: int
    width: int
    vocab: int
    ffn: int
    max_tokens: int = 1024

    @property
    def name(self) -> str:
        return f"{self.family}-l{self.layers}-w{self.width}-v{self.vocab}"

    @property
    def config(self) -> dict[str, Any]:
        """config.json as Hugging Face writes it."""
        heads = self.width // 64
        if self.family == "gpt2":
            return {
                "model_type": "gpt2",
                "architectures": ["GPT2LMHeadModel"],
                "n_layer": self.layers,
                "n_embd": self.width,
                "n_head": heads,
                "n_inner": self.ffn,
                "n_positions": self.max_tokens,
                "vocab_size": self.vocab,
                "activation_function": "gelu_new",
                "bos_token_id": 0,
                "eos_token_id": 0,
            }
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "num_hidden_layers": self.layers,
            "hidden_size": self.width,
            "num_attention_heads": heads,
            "num_key_value_heads": max(heads // 3, 1),
            "intermediate_size": self.ffn,
            "max_position_embeddings": self.max_tokens,
            "vocab_size": self.vocab,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
        }


def gpt2_small(layers: int = 12, vocab: int = 50257) -> Form:
    """The shape of GPT-2 small."""
    return Form("gpt2", layers, 768, vocab, 3072)


def small_llama(layers: int = 4, vocab: int = 4096) -> Form:
    """A Llama as wide as SmolLM2-135M, with fewer layers and tokens."""
    return Form("llama", layers, 576, vocab, 1536)


def share(form: Form, folder: Path, *, embeddings: Mode, max_tokens: int) -> Path:
    """Write the four directories below `folder`, for sessions of up to `max_tokens` and no prefix; return where."""
    source, out = folder / "source", folder / "shared"
    source.mkdir(parents=True)
    (source / "config.json").write_text(json.dumps(form.config), encoding="utf-8")
    spec = read_spec(source)
    folded = fold(spec, weights(spec))
    draw = np.random.default_rng(SEED + 1)
    lengths = np.linspace(*LENGTHS, TEXTS).astype(int)
    texts = [draw.integers(0, spec.vocab, size).astype(np.int32) for size in lengths]
    plan, prefixed = calibrate_decoder(spec, folded, texts, (), max_tokens)
    bundle.write(source, out, folded | prefixed, plan, "private", embeddings)
    return out


def weights(spec: ModelSpec) -> dict[str, F32]:
    """Random tensors with which scores and activations reach as far as in the encoder layers that are measured."""
    draw, out = np.random.default_rng(SEED), dict[str, F32]()
    for name, tensor in tensors(spec).items():
        shape = tensor.shape[::-1] if tensor.transposed else tensor.shape
        shape = (*shape[:-1], shape[-1] // tensor.parts)
        value = draw.standard_normal(shape, dtype=np.float32)
        if name.endswith(".gain"):
            out[name] = 1.0 + 0.1 * value
        elif name.startswith("embed."):
            out[name] = 0.5 * value
        elif len(shape) == 1:
            out[name] = 0.02 * value
        else:
            out[name] = value * np.float32(SPREAD / np.sqrt(shape[0]))
    if spec.generator.tied:
        out["head.weight"] = np.ascontiguousarray(out["embed.token"].T) / np.float32(np.sqrt(spec.width))
    return out
