"""Small GPT-2s and Llamas with drawn weights, written and shared as real ones are, and what float32 says of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tokenizers
import torch
from safetensors.numpy import save_file

from privinf.models.clear import ClearDecoder, prefix_cache
from privinf.models.fold import fold
from privinf.models.sharing.folder import Mode
from privinf.models.sharing.share import share_decoder
from privinf.models.source.checkpoint import load, read_spec, tensors
from privinf.sdk.decoder_client import DecoderSide

F32 = npt.NDArray[np.float32]
Family = Literal["gpt2", "llama"]
SPECIAL = ["<unk>", "<s>", "</s>", "<user>", "<bot>"]
LETTERS = " abcdefghijklmnopqrstuvwxyz.,;!?'\n"
TOKENS = [*SPECIAL, *LETTERS]
MAX_TOKENS = 160
NEAR = 0.05  # logits of private answers are as near to float32's, and may change places
ENDS: dict[str, int | None] = {"bos_token_id": 1, "eos_token_id": 2}
CONFIGS: dict[Family, dict[str, Any]] = {
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": len(TOKENS),
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": MAX_TOKENS,
    },
    "llama": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": len(TOKENS),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_TOKENS,
        "rms_norm_eps": 1e-5,
    },
}
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% elif m['role'] == 'user' %}"
    "<user>{{ m['content'] }}{% else %}<bot>{{ m['content'] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)
TEXTS = [
    "the sea is deep, and so is the night",
    "call me a ship",
    "who rides the wind, and why?",
    "calm; calm!",
]


def checkpoint(
    folder: Path, family: Family, *, chat: bool = False, endless: bool = False, seed: int = 0, layers: int = 2
) -> Path:
    """Write a Hugging Face directory; every letter is a token, and `endless` has none that ends a text."""
    folder.mkdir(parents=True)
    changed: dict[str, Any] = ENDS | {"n_layer" if family == "gpt2" else "num_hidden_layers": layers}
    changed |= {"eos_token_id": None} if endless else {}
    (folder / "config.json").write_text(json.dumps(CONFIGS[family] | changed))
    about = {"chat_template": TEMPLATE} if chat else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    _rules().save(str(folder / "tokenizer.json"))
    draw, spec = np.random.default_rng(seed), read_spec(folder)
    wanted = tensors(spec)
    if spec.generator.tied:
        del wanted["head.weight"]
    shapes = {tensor.theirs: tensor.shape for tensor in wanted.values()}
    save_file(
        {name: _drawn(draw, name, shape) for name, shape in shapes.items()}, folder / "model.safetensors"
    )
    return folder


def _drawn(draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> F32:
    gain = len(shape) == 1 and name.endswith(".weight")
    spread = 0.3 if len(shape) == 2 else 0.1
    return (float(gain) + spread * draw.standard_normal(shape)).astype(np.float32)


def _rules() -> tokenizers.Tokenizer:
    ids = {token: i for i, token in enumerate(TOKENS)}
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    rules.decoder = tokenizers.decoders.Fuse()
    rules.add_special_tokens(SPECIAL)
    return rules


def share(source: Path, out: Path, mode: Mode = "private", **options: Any) -> Path:
    """Share a model as `privinf share` does, calibrated on texts of its own kind and on drawn letters."""
    draw = np.random.default_rng(1)
    drawn = ["".join(draw.choice(list(LETTERS[1:-1]), 60)) for _ in range(12)]
    share_decoder(source, out, weights=mode, calibration=[*TEXTS, *drawn], **options)
    return out


class Clear:
    """What float32 says after the public prefix of a shared model."""

    def __init__(self, source: Path, shared: Path) -> None:
        self.side = DecoderSide(shared / "client")
        spec, tensors = load(source)
        weights, prefix = fold(spec, tensors), self.side.bundle.layout.plan.prefix
        self._decoder, self._past = ClearDecoder(spec, weights), prefix_cache(spec, weights, prefix)

    def ids(self, prompt: str | Sequence[int]) -> list[int]:
        """Tokens after the prefix."""
        return self.side.prompt(prompt, raw=False)

    def logits(self, ids: Sequence[int], rows: int = 1) -> F32:
        """What follows each of the last `rows` tokens, (rows, vocab)."""
        self._decoder.rewind(self._past)
        out: F32 = self._decoder.run(torch.tensor([list(ids)]), rows)[0].numpy()
        return out

    def greedy(self, prompt: str | Sequence[int], count: int) -> list[int]:
        """The likeliest tokens, one after another."""
        known = self.ids(prompt)
        for _ in range(count):
            known.append(int(self.logits(known)[0].argmax()))
        return known[-count:]

    def lead(self, prompt: str | Sequence[int], count: int) -> float:
        """By how much the likeliest tokens are ahead of the second, at least."""
        ids = [*self.ids(prompt), *self.greedy(prompt, count)]
        best = np.sort(self.logits(ids[:-1], count), axis=-1)
        return float((best[:, -1] - best[:, -2]).min())

    def agrees(self, prompt: str | Sequence[int], tokens: Sequence[int]) -> bool:
        """Whether each token is the likeliest after those before it, or as good as that."""
        rows = self.logits([*self.ids(prompt), *tokens][:-1], len(tokens))
        return bool((rows.max(-1) - rows[np.arange(len(tokens)), list(tokens)] < NEAR).all())
