"""Computes a model's answers with transformers in float32: what every answer in shares is compared with."""

from __future__ import annotations

import os
from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import ConfigError, InputError
from privinf.models.families import FAMILIES
from privinf.models.source.checkpoint import read_spec
from privinf.models.spec import Classifier, Generator, Pool

Array = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


class Reference:
    """A model directory as transformers runs it: eager attention, one text at a time, nothing padded."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        import torch
        import transformers

        self.spec = read_spec(directory)
        self._directory = directory
        kind = getattr(transformers, FAMILIES[self.spec.family].architecture(self.spec.task))
        options = {"attn_implementation": "eager", "dtype": torch.float32, "local_files_only": True}
        self._model: Any = kind.from_pretrained(directory, **options).eval()
        if isinstance(self.spec.head, Generator):
            # What the directory says about generation may penalise or forbid tokens; here the likeliest one comes.
            ends = list(self.spec.head.eos) or None
            self._model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=0)

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids as transformers' own tokenizer gives them."""
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(self._directory, local_files_only=True)
        return [np.array(tokenizer(text)["input_ids"], dtype=np.int32) for text in texts]

    def states(self, ids: Sequence[Ids]) -> list[Array]:
        """The last layer's output for each list of token ids, (tokens, width)."""
        encoder = self._model if isinstance(self.spec.head, Pool) else self._model.base_model
        return [self._run(encoder, row).last_hidden_state[0].numpy() for row in ids]

    def embeddings(self, texts: Sequence[str]) -> Array:
        """Sentence embeddings, (texts, width): pooled and normalised as the directory says."""
        pool = self.spec.head
        if not isinstance(pool, Pool) or pool.kind is None:
            raise ConfigError("this model names no pooling (1_Pooling/config.json), so it embeds no sentence")
        states = self.states(self.ids(texts))
        pooled: Array = np.stack([s.mean(axis=0) if pool.kind == "mean" else s[0] for s in states])
        if pool.unit:
            pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return pooled[:, : self.spec.answer_width]

    def classes(self, texts: Sequence[str]) -> Array:
        """What the classifier puts out before the softmax, (texts, labels)."""
        if not isinstance(self.spec.head, Classifier):
            raise ConfigError("this model has no classifier, so it gives no logits")
        return np.stack([self._run(self._model, row).logits[0].numpy() for row in self.ids(texts)])

    def logits(self, ids: Sequence[Ids], prefix: Sequence[int] = ()) -> list[Array]:
        """What each token of each sequence says about the next one, (tokens, vocab); all come after `prefix`."""
        feeds = [self._feed(row, prefix) for row in ids]
        return [
            self._run(self._model, feed, use_cache=False, logits_to_keep=len(row)).logits[0].numpy()
            for row, feed in zip(ids, feeds, strict=True)
        ]

    def generate(self, ids: Sequence[int], count: int, prefix: Sequence[int] = ()) -> list[int]:
        """The likeliest tokens one after another: `count` of them, or fewer up to the one that ends the text."""
        import torch

        feed = self._feed(ids, prefix)
        room = self.spec.max_tokens - len(feed)
        if min(count, room) < 1:
            return []
        options = {"max_new_tokens": min(count, room), "do_sample": False}
        given = torch.from_numpy(feed.astype(np.int64))[None]
        made = self._model.generate(given, attention_mask=torch.ones_like(given), **options)
        return [int(token) for token in made[0, len(feed) :]]

    def _feed(self, ids: Sequence[int] | Ids, prefix: Sequence[int]) -> Ids:
        feed = np.array([*prefix, *ids], dtype=np.int32)
        _require_length(feed, self.spec.max_tokens)
        return feed

    @staticmethod
    def _run(model: Any, ids: Ids, **options: Any) -> Any:
        import torch

        with torch.inference_mode():
            return model(input_ids=torch.from_numpy(ids.astype(np.int64))[None], **options)


def _require_length(feed: Sized, most: int) -> None:
    if not 0 < len(feed) <= most:
        raise InputError(f"{len(feed)} tokens, where the model takes 1 to {most}")
