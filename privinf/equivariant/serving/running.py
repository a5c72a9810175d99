"""Runs a covered model with plain transformers; nothing here knows that it is covered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from safetensors import SafetensorError

from privinf.equivariant.about import ServerAbout, check_weights
from privinf.equivariant.serving.turns import Turn
from privinf.equivariant.wire import F32, Ids
from privinf.errors import ModelError
from privinf.models.families import FAMILIES

A = TypeVar("A", Ids, F32)

PIECE = 512  # rows of a prompt that are read in one go
_LOST = torch.finfo(torch.float32).min
_KINDS = {"embed": "AutoModel", "generate": "AutoModelForCausalLM"}
_CLASSIFIERS = {True: "AutoModelForSequenceClassification", False: "AutoModelForImageClassification"}


def load_model(folder: Path, about: ServerAbout) -> Any:
    """The model of a server's directory, in float32.

    Raises:
        ModelError: it does not load, or lacks a tensor.
        IntegrityError: its weights are not those that about.json names.
    """
    check_weights(folder, about)
    kind = _KINDS.get(about.task, _CLASSIFIERS[about.vocab > 0])
    if about.family not in FAMILIES or about.task not in FAMILIES[about.family].classes.values():
        raise ModelError(f"{folder}: task {about.task} of family {about.family} is not served")
    model, told = _loaded(folder, "AutoModel" if about.what.local else kind)
    if told["missing_keys"] or told["mismatched_keys"]:
        lost = sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]]))[:3]
        raise ModelError(f"{folder}/model.safetensors lacks {', '.join(lost)}: cover the model again")
    return model.eval().requires_grad_(False)


def _loaded(folder: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what does not fit is said by us, and refused
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if type(config) not in transformers.MODEL_MAPPING:
            raise ModelError(
                f"{folder}/config.json: {type(config).__name__} has no base model: cover the model again"
            )
        made = inspect.signature(transformers.MODEL_MAPPING[type(config)].__init__).parameters
        bare = {"add_pooling_layer": False} if kind == "AutoModel" and "add_pooling_layer" in made else {}
        model, told = getattr(transformers, kind).from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **bare,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} does not load in transformers ({type(error).__name__})") from error
    return model, told


@torch.inference_mode()
def embed(model: Any, texts: Sequence[Ids], pooling: str) -> F32:
    """Pooled last hidden rows, (texts, width)."""
    given = _padded(texts)
    return _numpy(pooled(model(**given).last_hidden_state, given["attention_mask"], pooling))


@torch.inference_mode()
def classify(model: Any, asked: Sequence[Ids] | F32) -> F32:
    """Logits of texts, or of images (images, channels, height, width)."""
    if isinstance(asked, np.ndarray):
        return _numpy(model(pixel_values=torch.from_numpy(asked)).logits)
    return _numpy(model(**_padded(asked)).logits)


def image_shape(model: Any) -> tuple[int, int, int]:
    """Channels, height and width of what it takes."""
    size = model.config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return model.config.num_channels, height, width


@torch.inference_mode()
def encode_patches(model: Any, rows: F32) -> F32:
    """First last hidden row of images that come as embedded patches, (images, width).

    The model takes them as images one pixel high, with a channel for every value.
    """
    pixels = torch.from_numpy(rows).transpose(1, 2)[:, :, None, :]
    return _numpy(model(pixel_values=pixels).last_hidden_state[:, 0])


@torch.inference_mode()
def encode_rows(model: Any, rows: F32, lengths: Sequence[int], pooling: str) -> F32:
    """Pooled last hidden rows of texts that come as what the encoder's first layer takes, (texts, width)."""
    mask = _real(rows.shape[1], lengths)
    added = torch.where(mask, 0.0, _LOST)[:, None, None, :]
    hidden = model.encoder(torch.from_numpy(rows), attention_mask=added).last_hidden_state
    return _numpy(pooled(hidden, mask, pooling))


def pooled(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """The mean of a text's own rows, or its first."""
    if pooling == "cls":
        return hidden[:, 0]
    kept = mask[:, :, None].to(hidden.dtype)
    return (hidden * kept).sum(1) / kept.sum(1)


class CachedSequence:
    """One sequence under way through a decoder, with its cache."""

    def __init__(self, model: Any) -> None:
        self._model = model
        cache = transformers.DynamicCache(config=model.config)
        self._cache: dict[str, Any] = {_cache_name(model): cache, "use_cache": True}
        self.tokens = self.passes = 0

    @torch.inference_mode()
    def read_ids(self, ids: Ids) -> F32:
        """Read on; return the last one's logits, (vocab,)."""
        self.tokens, self.passes = self.tokens + len(ids), self.passes + 1
        given = torch.from_numpy(ids)[None]
        answer = self._model(input_ids=given, logits_to_keep=1, **self._cache)
        return _numpy(answer.logits[0, -1])

    @torch.inference_mode()
    def read_rows(self, rows: F32) -> F32:
        """Read on; return the last one's hidden row, (1, width)."""
        self.tokens, self.passes = self.tokens + len(rows), self.passes + 1
        answer = self._model(inputs_embeds=torch.from_numpy(rows)[None], **self._cache)
        return _numpy(answer.last_hidden_state[0, -1:])

    def close(self) -> None:
        """Let go of all, whoever still holds this: a failure's traceback may for a while."""
        self._model, self._cache = None, {}


def in_pieces(read: Callable[[A], F32], given: A, turn: Turn) -> F32:
    """Read on in pieces, between which others have their turn, and a client that left is noticed."""
    for start in range(0, len(given), PIECE):
        with turn():
            answer = read(given[start : start + PIECE])
    return answer


def _cache_name(model: Any) -> str:
    """What this release of transformers calls the argument."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _padded(texts: Sequence[Ids]) -> dict[str, torch.Tensor]:
    """Ids (texts, longest), and which of them are real; what stands where none is makes no difference."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(text) for text in texts], batch_first=True)
    real = _real(ids.shape[1], [len(text) for text in texts])
    return {"input_ids": ids, "attention_mask": real.long()}


def _real(longest: int, lengths: Sequence[int]) -> torch.Tensor:
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def _numpy(values: torch.Tensor) -> F32:
    array: F32 = values.to(torch.float32).contiguous().numpy()
    return array
