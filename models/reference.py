"""Computes a model's answer with transformers in float32: what every answer in shares is compared with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import util
from typing import Any

import numpy as np
import numpy.typing as npt

from privinf.errors import ConfigError, MissingExtra
from privinf.models.spec import read_spec

Array = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

CLASSES = {
    ("bert", "none"): "BertModel",
    ("bert", "bert-classifier"): "BertForSequenceClassification",
    ("mpnet", "none"): "MPNetModel",
    ("mpnet", "bert-classifier"): "MPNetForSequenceClassification",
}


class Reference:
    """A model directory as transformers runs it: eager attention, one text at a time, nothing padded."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if util.find_spec("torch") is None or util.find_spec("transformers") is None:
            raise MissingExtra('the reference needs torch and transformers: pip install "privinf[models]"')
        import torch
        import transformers

        self.spec = read_spec(directory)
        kind = getattr(transformers, CLASSES[self.spec.family, self.spec.head])
        options = {"attn_implementation": "eager", "dtype": torch.float32, "local_files_only": True}
        self._model: Any = kind.from_pretrained(directory, **options).eval()
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids as transformers' own tokenizer gives them."""
        return [np.array(self._tokenizer(text)["input_ids"], dtype=np.int32) for text in texts]

    def states(self, ids: Sequence[Ids]) -> list[Array]:
        """The last layer's output for each list of token ids, (tokens, width)."""
        encoder = self._model if self.spec.head == "none" else self._model.base_model
        return [self._run(encoder, row).last_hidden_state[0].numpy() for row in ids]

    def embeddings(self, texts: Sequence[str]) -> Array:
        """Sentence embeddings, (texts, width): pooled and normalised as the directory says."""
        if self.spec.pooling is None:
            raise ConfigError("this model names no pooling (1_Pooling/config.json), so it embeds no sentence")
        states = self.states(self.ids(texts))
        pooled: Array = np.stack([s.mean(axis=0) if self.spec.pooling == "mean" else s[0] for s in states])
        if self.spec.normalize:
            pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return pooled[:, : self.spec.answer_width]

    def logits(self, texts: Sequence[str]) -> Array:
        """What the classifier puts out before the softmax, (texts, labels)."""
        if self.spec.head == "none":
            raise ConfigError("this model has no classifier, so it gives no logits")
        return np.stack([self._run(self._model, row).logits[0].numpy() for row in self.ids(texts)])

    @staticmethod
    def _run(model: Any, ids: Ids) -> Any:
        import torch

        with torch.inference_mode():
            return model(input_ids=torch.from_numpy(ids.astype(np.int64))[None])
