"""A small BERT with drawn weights, written and shared as a real one is: what the tests with processes compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tokenizers
from safetensors.numpy import save_file

from privinf.models.fold import fold
from privinf.models.sharing import bundle, calibrate
from privinf.models.source.checkpoint import load, read_spec, tensors
from privinf.models.text.tokenizer import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz.,;!?"
WORDS = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
MAX_TOKENS = 128
TEXTS = ["call me a ship", "the sea is deep, and so is the night", "whales"]
LABELS = ("calm", "rough")
CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": len(WORDS),
    "max_position_embeddings": MAX_TOKENS,
}


def checkpoint(folder: Path, *, head: bool = False, seed: int = 0) -> Path:
    """Write a Hugging Face directory; every letter is a token."""
    folder.mkdir(parents=True)
    architecture = "BertForSequenceClassification" if head else "BertModel"
    labels = {"id2label": {str(i): name for i, name in enumerate(LABELS)}} if head else {}
    (folder / "config.json").write_text(json.dumps(CONFIG | {"architectures": [architecture]} | labels))
    if not head:
        _pooling(folder)
    _rules().save(str(folder / "tokenizer.json"))
    draw = np.random.default_rng(seed)
    wanted = {name: t for name, t in tensors(read_spec(folder)).items() if not t.optional}
    save_file(
        {tensor.theirs: _drawn(draw, ours, tensor.shape) for ours, tensor in wanted.items()},
        folder / "model.safetensors",
    )
    return folder


def _drawn(draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    middle, spread = (1.0, 0.1) if name.endswith(".gain") else (0.0, 0.1)
    if len(shape) == 2:
        spread = 0.5 if name.startswith("embed.") else shape[1] ** -0.5
    return (middle + spread * draw.standard_normal(shape)).astype(np.float32)


def _pooling(folder: Path) -> None:
    """Mean pooling to unit length, as sentence-transformers writes it down."""
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))


def _rules() -> tokenizers.Tokenizer:
    ids = {word: i for i, word in enumerate(WORDS)}
    rules = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    rules.normalizer = tokenizers.normalizers.BertNormalizer()
    rules.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    rules.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    rules.add_special_tokens(SPECIAL)
    return rules


def share(source: Path, out: Path, mode: bundle.Mode = "private", protocol: str = "masked") -> Path:
    """Share a model as `privinf share` does, calibrated on the beginnings of a few shipped passages."""
    spec, arrays = load(source)
    folded = fold(spec, arrays)
    ids = Tokenizer(source).encode([text[:60] for text in calibrate.default_text()[::8]])
    bundle.write(source, out, folded, calibrate.calibrate(spec, folded, ids), mode, protocol=protocol)
    return out


def clear(source: Path, texts: list[str]) -> np.ndarray:
    """The float32 answers."""
    spec, arrays = load(source)
    return calibrate.clear_answers(spec, fold(spec, arrays), Tokenizer(source).encode(texts))
