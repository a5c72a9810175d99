"""Tiny random decoders as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

GPT2: dict[str, Any] = {"n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 16, "vocab_size": 20}
LLAMA: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "vocab_size": 20,
}


KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel, GPT2),
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, LLAMA),
}


def tiny(folder: Path, kind: str, **options: Any) -> Any:
    """A random model of transformers, saved to `folder`."""
    config, model_class, sizes = KINDS[kind]
    torch.manual_seed(1)
    model = model_class(config(**sizes | {"bos_token_id": 0, "eos_token_id": 1} | options)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)  # biases and gains too, which start at 0 and 1
    model.save_pretrained(folder)
    return model
