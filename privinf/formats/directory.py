"""Writes a decoder that came in another format as a plain Hugging Face directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from safetensors.numpy import save_file

Array = npt.NDArray[np.float32]

# What transformers calls the parts of a Llama, by their names in GGUF files.
LLAMA = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LLAMA_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Llama:
    """The sizes of a Llama, and the numbers that its file states or implies."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    vocab: int
    max_tokens: int
    eps: float
    rope_theta: float
    tied: bool

    def config(self) -> dict[str, Any]:
        """What config.json says."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_hidden_layers": self.layers,
            "hidden_size": self.width,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_width,
            "intermediate_size": self.ffn,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.max_tokens,
            "hidden_act": "silu",
            "rms_norm_eps": self.eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "tie_word_embeddings": self.tied,
            "dtype": "float32",
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors (out, in), by their names in GGUF files; a layer's without its number."""
        rows, kv_rows = self.heads * self.head_width, self.kv_heads * self.head_width
        layer = {
            "attn_norm": (self.width,),
            "attn_q": (rows, self.width),
            "attn_k": (kv_rows, self.width),
            "attn_v": (kv_rows, self.width),
            "attn_output": (self.width, rows),
            "ffn_norm": (self.width,),
            "ffn_gate": (self.ffn, self.width),
            "ffn_up": (self.ffn, self.width),
            "ffn_down": (self.width, self.ffn),
        }
        ends: dict[str, tuple[int, ...]] = {
            "token_embd": (self.vocab, self.width),
            "output_norm": (self.width,),
        }
        return layer | ends | ({} if self.tied else {"output": (self.vocab, self.width)})

    def halves(self, part: str, rows: Array) -> Array:
        """Queries and keys as transformers stores them: of a pair that turns together, halves apart, not neighbours."""
        if part not in ("attn_q", "attn_k"):
            return rows
        pairs = rows.reshape(-1, self.head_width // 2, 2, self.width)
        return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


@dataclass(frozen=True)
class Converted:
    """All that a directory holds: `special` names token ids that config, generation and tokenizer share."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Array]
    tokenizer: tokenizers.Tokenizer
    special: Mapping[str, int] = field(default_factory=dict)  # bos, eos, pad, unk
    ends: tuple[int, ...] = ()
    chat_template: str | None = None

    def write(self, folder: Path) -> None:
        """Fills an existing folder."""
        bos, pad = self.special.get("bos"), self.special.get("pad")
        ends = self.ends[0] if len(self.ends) == 1 else list(self.ends) or None
        ids = {"bos_token_id": bos, "eos_token_id": ends, "pad_token_id": pad}
        _write_json(folder / "config.json", {**self.config, **ids})
        _write_json(folder / "generation_config.json", {name: i for name, i in ids.items() if i is not None})
        _write_json(folder / "tokenizer_config.json", self._tokenizer_config())
        self.tokenizer.save(str(folder / "tokenizer.json"))
        weights = folder / "model.safetensors"
        # transformers opens no file that does not name its format.
        save_file(dict(self.tensors), weights, metadata={"format": "pt"})
        weights.chmod((folder / "config.json").stat().st_mode)  # the library lets only the owner read

    def _tokenizer_config(self) -> dict[str, Any]:
        named = {f"{name}_token": self.tokenizer.id_to_token(i) for name, i in self.special.items()}
        template = {} if self.chat_template is None else {"chat_template": self.chat_template}
        limit = next(self.config[k] for k in ("max_position_embeddings", "n_positions") if k in self.config)
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": limit}
        return {**about, "clean_up_tokenization_spaces": False, **named, **template}


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
