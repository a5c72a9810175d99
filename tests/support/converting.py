"""Random Llamas, vocabularies and texts for the tests of conversion."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from privinf.errors import ModelError
from privinf.formats.convert import convert

Values = npt.NDArray[np.float32]
IDS = [3, 1, 4, 1, 5, 9, 2, 6]
TEXTS = [
    "",
    "a",
    " ",
    "   ",
    "Call me Ishmael. Some years ago, never mind how long",
    "don't 3's we'll",
    "naïve émigré — “quotes” 漢字 😀",
    "tabs\tand\r\nbreaks\n\n",
    "1851 was 12 % 3.14",
    "a\x00b",
    "def f(x):\n    return x**2  # square",
]


def random_llama(**options: Any) -> Any:
    sizes = {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 16,
        "rms_norm_eps": 1e-5,
    }
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes | options)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def neighbours(rows: Values, heads: int) -> Values:
    """Rows of queries or keys as llama2.c and GGUF order them: what turns together lies side by side."""
    return rows.reshape(heads, 2, -1, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)


def logits(directory: Path) -> Values:
    model = transformers.LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return run(model)


def run(model: Any) -> Values:
    with torch.inference_mode():
        values: Values = model(torch.tensor([IDS])).logits[0].numpy()
    return values


def refusal(source: Path, **options: Any) -> str:
    target = source.parent / "refused"
    with pytest.raises(ModelError) as caught:
        convert(source, target, **options)
    assert not target.exists()
    assert source.name in str(caught.value) or "tokenizer.bin" in str(caught.value)
    return str(caught.value)


LETTERS = "abcdefghijklmnopqrstuvwxyzé漢.,"


def pieces(seed: int = 1) -> list[tuple[str, float]]:
    """A vocabulary of bytes, letters and random joins of pieces, each joined piece with a score of its own."""
    rng = random.Random(seed)
    bytes_ = [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
    made = [" ", *LETTERS]
    while len(made) < 120:
        joined = rng.choice(made) + rng.choice(made)
        if joined not in made and len(joined) < 7:
            made.append(joined)
    scores = rng.sample(range(1, 1000), len(made))
    return [
        ("<unk>", 0.0),
        ("\n<s>\n", 0.0),
        ("\n</s>\n", 0.0),
        *bytes_,
        *zip(made, map(float, scores), strict=True),
    ]


def greedy(text: str, vocab: list[tuple[str, float]]) -> list[int]:
    """The algorithm of llama2.c, over pieces of text alone."""
    known = {piece: i for i, (piece, _) in enumerate(vocab) if i >= 259}
    ids = [known[" "]] if text else []
    for letter in text:
        ids += [known[letter]] if letter in known else [byte + 3 for byte in letter.encode()]
    while True:
        joins = [known.get(vocab[a][0] + vocab[b][0], 0) if min(a, b) >= 259 else 0 for a, b in pairwise(ids)]
        best = max((at for at, i in enumerate(joins) if i), key=lambda at: vocab[joins[at]][1], default=-1)
        if best < 0:
            return [1, *ids]
        ids[best : best + 2] = [joins[best]]


def check_weights(out: Path, folder: Path, name: str) -> None:
    options = {"gguf_file": name, "dtype": torch.float32, "local_files_only": True}
    state = transformers.AutoModelForCausalLM.from_pretrained(folder, **options).state_dict()
    ours = load_file(out / "model.safetensors")
    assert set(ours) | {"lm_head.weight"} == set(state)
    for tensor, values in ours.items():
        np.testing.assert_array_equal(values, state[tensor].numpy(), err_msg=tensor)
