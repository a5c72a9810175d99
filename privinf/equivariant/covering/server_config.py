"""Writes the server's config.json from the facts of a shape alone: no special token, no label, no name gets in."""

from __future__ import annotations

from typing import Any

from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.plain import Plain

ARCHITECTURES = {
    ("bert", "embed"): "BertModel",
    ("bert", "classify"): "BertForSequenceClassification",
    ("gpt2", "generate"): "GPT2LMHeadModel",
    ("llama", "generate"): "LlamaForCausalLM",
    ("vit", "classify"): "ViTForImageClassification",
}
BASES = {"bert": "BertModel", "gpt2": "GPT2Model", "llama": "LlamaModel", "vit": "ViTModel"}


def server_config(plain: Plain, covered: Covered) -> dict[str, Any]:
    """What plain transformers needs to build the covered model.

    Special tokens are written as null, as transformers would else assume its defaults.
    """
    name = BASES[plain.family] if covered.local else ARCHITECTURES[plain.family, plain.task]
    config: dict[str, Any] = {"model_type": plain.family, "architectures": [name], "dtype": "float32"}
    config |= {"gpt2": _gpt2, "llama": _llama, "bert": _bert, "vit": _vit}[plain.family](plain, covered)
    if plain.vocab:
        config |= {"vocab_size": 1 if covered.local else plain.vocab}
        config |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    if plain.labels and not covered.local:
        names = {str(i): f"LABEL_{i}" for i in range(len(plain.labels))}
        config |= {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}
    return config


def _gpt2(plain: Plain, covered: Covered) -> dict[str, Any]:
    return {
        "n_embd": covered.width,
        "n_layer": plain.layers,
        "n_head": plain.heads,
        "n_inner": plain.ffn,
        "n_positions": plain.context,
        "activation_function": plain.activation,
        "layer_norm_epsilon": covered.eps,
        "tie_word_embeddings": covered.tied,
    }


def _llama(plain: Plain, covered: Covered) -> dict[str, Any]:
    return {
        "hidden_size": covered.width,
        "num_hidden_layers": plain.layers,
        "num_attention_heads": plain.heads,
        "num_key_value_heads": plain.kv_heads,
        "head_dim": plain.head_width,
        "intermediate_size": plain.ffn,
        "max_position_embeddings": plain.context,
        "hidden_act": plain.activation,
        "rms_norm_eps": covered.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": plain.rope_theta},
        "tie_word_embeddings": covered.tied,
    }


def _encoder(plain: Plain, covered: Covered) -> dict[str, Any]:
    return {
        "hidden_size": covered.width,
        "num_hidden_layers": plain.layers,
        "num_attention_heads": plain.heads,
        "intermediate_size": plain.ffn,
        "hidden_act": plain.activation,
        "layer_norm_eps": covered.eps,
    }


def _bert(plain: Plain, covered: Covered) -> dict[str, Any]:
    rows = {"max_position_embeddings": plain.context, "type_vocab_size": plain.types}
    return _encoder(plain, covered) | (dict.fromkeys(rows, 1) if covered.local else rows)


def _vit(plain: Plain, covered: Covered) -> dict[str, Any]:
    """In `session` embedded patches come in as an image of one row, a pixel each, with a channel for every value."""
    assert plain.image is not None
    image = plain.image
    biased = "layer0.attn.q.bias" in covered.weights
    config = _encoder(plain, covered) | {"qkv_bias": biased}
    if covered.local:
        return config | {"image_size": [1, image.patches], "patch_size": 1, "num_channels": plain.width}
    return config | {
        "image_size": _sides(image.height, image.width),
        "patch_size": _sides(image.patch_height, image.patch_width),
        "num_channels": image.channels,
    }


def _sides(height: int, width: int) -> int | list[int]:
    return height if height == width else [height, width]
