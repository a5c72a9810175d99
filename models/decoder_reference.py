"""Computes a decoder's logits and texts with transformers in float32: what answers in shares are compared with."""

from __future__ import annotations

import os
from collections.abc import Sequence, Sized
from importlib import util
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import InputError, MissingExtra
from privinf.models.decoder_spec import read_decoder_spec

Array = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}


class DecoderReference:
    """A model directory as transformers runs it: eager attention, one sequence at a time, nothing padded."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if util.find_spec("torch") is None or util.find_spec("transformers") is None:
            raise MissingExtra('the reference needs torch and transformers: pip install "privinf[models]"')
        import torch
        import transformers

        self.spec = read_decoder_spec(directory)
        self._directory = directory
        kind = getattr(transformers, CLASSES[self.spec.family])
        options = {"attn_implementation": "eager", "dtype": torch.float32, "local_files_only": True}
        self._model: Any = kind.from_pretrained(directory, **options).eval()
        # What the directory says about generation may penalise or forbid tokens; here the likeliest one comes.
        ends = list(self.spec.eos) or None
        self._model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=0)

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids as transformers' own tokenizer gives them."""
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(self._directory, local_files_only=True)
        return [np.array(tokenizer(text)["input_ids"], dtype=np.int32) for text in texts]

    def logits(self, ids: Sequence[Ids], prefix: Sequence[int] = ()) -> list[Array]:
        """What each token of each sequence says about the next one, (tokens, vocab); all come after `prefix`."""
        return [self._logits(row, prefix) for row in ids]

    def generate(self, ids: Sequence[int], count: int, prefix: Sequence[int] = ()) -> list[int]:
        """The likeliest tokens one after another: `count` of them, or fewer up to the one that ends the text."""
        import torch

        feed = torch.tensor([[*map(int, prefix), *map(int, ids)]])
        room = self.spec.max_tokens - self._length(feed[0])
        if min(count, room) < 1:
            return []
        options = {"max_new_tokens": min(count, room), "do_sample": False}
        made = self._model.generate(feed, attention_mask=torch.ones_like(feed), **options)
        return [int(token) for token in made[0, feed.shape[1] :]]

    def _logits(self, ids: Ids, prefix: Sequence[int]) -> Array:
        import torch

        feed = torch.tensor([[*map(int, prefix), *map(int, ids)]])
        self._length(feed[0])
        with torch.inference_mode():
            rows: Array = self._model(feed, use_cache=False, logits_to_keep=len(ids)).logits[0].numpy()
        return rows

    def _length(self, feed: Sized) -> int:
        if not 0 < len(feed) <= self.spec.max_tokens:
            raise InputError(f"{len(feed)} tokens, where the model takes 1 to {self.spec.max_tokens}")
        return len(feed)
