"""Tiny random models of every family that can be covered, in Hugging Face directories, with odd gains and biases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tokenizers
import torch
import transformers
from safetensors.numpy import save_file

Kind = Literal["bert", "bert-classifier", "gpt2", "llama", "llama-untied", "llama-groups", "vit"]
KINDS: tuple[Kind, ...] = (
    "bert",
    "bert-classifier",
    "gpt2",
    "llama",
    "llama-untied",
    "llama-groups",
    "vit",
)
DECODERS: tuple[Kind, ...] = ("gpt2", "llama", "llama-untied", "llama-groups")

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DECODER_SPECIALS = ("<unk>", "<s>", "</s>", "<user>", "<bot>")
TEXT = "the sea is deep and so night call me a ship who rides wind why calm of whale white old man to in"
WORDS = tuple(TEXT.split())
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
BERT_VOCAB = (*BERT_SPECIALS, *WORDS, *(letter for letter in LETTERS if letter not in WORDS))
DECODER_VOCAB = (*DECODER_SPECIALS, " ", *LETTERS, *".,;!?'\n")
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% elif m['role'] == 'user' %}"
    "<user>{{ m['content'] }}{% else %}<bot>{{ m['content'] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)
LABELS = ("down", "level", "up")
WIDTH, LAYERS, HEADS, FFN, POSITIONS = 32, 2, 4, 48, 96
ZERO_GAINS = 3  # of the last norm: no inverse of a gain may be needed
ENDS = {"bos_token_id": 1, "eos_token_id": 2}

_BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": len(BERT_VOCAB),
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": FFN,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}
_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": len(DECODER_VOCAB),
    "hidden_size": WIDTH,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    **ENDS,
}
CONFIGS: dict[Kind, dict[str, Any]] = {
    "bert": _BERT | {"architectures": ["BertModel"]},
    "bert-classifier": _BERT
    | {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(i): name for i, name in enumerate(LABELS)},
    },
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": len(DECODER_VOCAB),
        "n_embd": WIDTH,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_inner": FFN,
        "n_positions": POSITIONS,
        **ENDS,
    },
    "llama": _LLAMA | {"tie_word_embeddings": True},
    "llama-untied": _LLAMA | {"tie_word_embeddings": False, "head_dim": 16},
    "llama-groups": _LLAMA | {"tie_word_embeddings": True, "num_key_value_heads": 2},
    "vit": {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": FFN,
        "image_size": [8, 12],
        "patch_size": 4,
        "num_channels": 3,
        "id2label": {str(i): name for i, name in enumerate(LABELS)},
    },
}
_CLASSES = {
    "BertModel": transformers.AutoModel,
    "BertForSequenceClassification": transformers.AutoModelForSequenceClassification,
    "GPT2LMHeadModel": transformers.AutoModelForCausalLM,
    "LlamaForCausalLM": transformers.AutoModelForCausalLM,
    "ViTForImageClassification": transformers.AutoModelForImageClassification,
    "GPT2Model": transformers.AutoModel,
    "LlamaModel": transformers.AutoModel,
    "ViTModel": transformers.AutoModel,
}


def write_model(folder: Path, kind: Kind, *, seed: int = 0, chat: bool = False, **settings: Any) -> Path:
    """Write a model's directory; `settings` go into its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIGS[kind] | settings
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_weights(folder, config, np.random.default_rng(seed)), folder / "model.safetensors")
    if kind != "vit":
        about = {"model_max_length": POSITIONS} | ({"chat_template": TEMPLATE} if chat else {})
        (folder / "tokenizer_config.json").write_text(json.dumps(about))
        rules = _encoder_rules() if kind.startswith("bert") else _decoder_rules()
        rules.save(str(folder / "tokenizer.json"))
    if kind == "bert":
        _write_modules(folder)
    return folder


def load(folder: Path) -> Any:
    """The model that plain transformers makes of a directory; nothing may be missing in it, and no code is run."""
    transformers.utils.logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(folder)
    name = config.architectures[0]
    bare = {"add_pooling_layer": False} if name in ("BertModel", "ViTModel") and not _pools(folder) else {}
    model, told = _CLASSES[name].from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, trust_remote_code=False, **bare
    )
    assert not told["missing_keys"], told
    assert not told["unexpected_keys"], told
    return model.eval().requires_grad_(False)


def _pools(folder: Path) -> bool:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "np") as file:
        return any("pooler" in name for name in file.keys())  # noqa: SIM118


def _weights(folder: Path, config: dict[str, Any], draw: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Tensors as transformers names them; a norm's gains may be zero or negative, and no bias is zero."""
    built = transformers.AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = _CLASSES[config["architectures"][0]].from_config(built)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.get("tie_word_embeddings", config["model_type"] == "gpt2"):
        shapes.pop("lm_head.weight", None)
    named = {_stored(name): shape for name, shape in shapes.items() if not name.endswith("position_ids")}
    return {name: _drawn(draw, name, shape) for name, shape in named.items()}


def _stored(name: str) -> str:
    """Checkpoints of ViT keep the names of older releases of transformers."""
    if not name.startswith("vit.layers."):
        return name
    for new, old in {
        "vit.layers.": "vit.encoder.layer.",
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }.items():
        name = name.replace(new, old)
    return name


def _drawn(draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    norm = any(part in name.lower() for part in ("norm", "ln_"))
    if norm and name.endswith("weight"):
        gain = 1.0 + 0.5 * draw.standard_normal(shape)
        gain[:ZERO_GAINS] = 0.0
        return gain.astype(np.float32)
    spread = 0.3 if len(shape) > 1 else 0.2
    return (spread * draw.standard_normal(shape)).astype(np.float32)


def _write_modules(folder: Path) -> None:
    kinds = ("Transformer", "Pooling", "Normalize")
    steps = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def _encoder_rules() -> tokenizers.Tokenizer:
    ids = {token: i for i, token in enumerate(BERT_VOCAB)}
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    rules.normalizer = tokenizers.normalizers.Lowercase()
    rules.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    rules.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    rules.add_special_tokens(list(BERT_SPECIALS))
    return rules


def _decoder_rules() -> tokenizers.Tokenizer:
    ids = {token: i for i, token in enumerate(DECODER_VOCAB)}
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    rules.decoder = tokenizers.decoders.Fuse()
    rules.add_special_tokens(list(DECODER_SPECIALS))
    return rules
