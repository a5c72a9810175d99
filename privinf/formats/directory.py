"""Writes a model that came in another format, or was trained here, as a plain Hugging Face directory."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
from safetensors.numpy import save_file

from privinf.errors import ConfigError
from privinf.models.families import FAMILIES
from privinf.models.source.checkpoint import tensors
from privinf.models.source.tensors import WEIGHTS
from privinf.models.spec import ModelSpec

Array = npt.NDArray[np.float32]

HEADS = (
    "lm_head.",
    "classifier.",
    "cls_classifier.",
    "distillation_classifier.",
)  # beside the model proper, not in it


def occupied(folder: Path) -> bool:
    """Whether anything is there but an empty directory."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def require_new(folder: Path) -> None:
    """Refuse a directory that holds anything: what is there is never overwritten or mixed."""
    if occupied(folder):
        raise ConfigError(f"{folder} exists and is not empty: choose another directory, or remove it")


def config_of(spec: ModelSpec) -> dict[str, object]:
    """What config.json says of a model, but for its special tokens."""
    family = FAMILIES[spec.family]
    named = {"model_type": spec.family, "architectures": [family.architecture(spec.task)]}
    return {**named, "dtype": "float32", **family.write(spec)}


def stored_name(theirs: str, spec: ModelSpec) -> str:
    """A tensor's whole name in the file: models with a head keep the rest under a prefix."""
    bare = spec.task == "embed" or theirs.startswith(HEADS)
    return theirs if bare else FAMILIES[spec.family].prefix + theirs


def stored(spec: ModelSpec, weights: Mapping[str, Array], name: Callable[[str], str]) -> dict[str, Array]:
    """Weights under our names as the file has them, under what `name` makes of the family's names."""
    parts: dict[str, dict[int, Array]] = defaultdict(dict)
    for ours, tensor in tensors(spec).items():
        if ours in weights:
            parts[name(tensor.theirs)][tensor.part] = tensor.stored(weights[ours])
    return {
        theirs: np.ascontiguousarray(np.concatenate([found[i] for i in sorted(found)], axis=-1))
        for theirs, found in parts.items()
    }


def write_model(folder: Path, spec: ModelSpec, weights: Mapping[str, Array]) -> None:
    """Fill an existing folder with a model that has no tokenizer; weights are under our names, as `load` reads them."""
    _write_json(folder / "config.json", config_of(spec))
    _write_weights(folder, stored(spec, weights, lambda theirs: stored_name(theirs, spec)))


@dataclass(frozen=True)
class Converted:
    """All that a directory holds: `special` names token ids that config, generation and tokenizer share."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Array]
    tokenizer: tokenizers.Tokenizer
    special: Mapping[str, int]  # bos, eos, pad, unk
    ends: tuple[int, ...]
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
        _write_weights(folder, self.tensors)

    def _tokenizer_config(self) -> dict[str, Any]:
        named = {f"{name}_token": self.tokenizer.id_to_token(i) for name, i in self.special.items()}
        template = {} if self.chat_template is None else {"chat_template": self.chat_template}
        limit = next(self.config[k] for k in ("max_position_embeddings", "n_positions") if k in self.config)
        about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": limit}
        return {**about, "clean_up_tokenization_spaces": False, **named, **template}


def _write_weights(folder: Path, arrays: Mapping[str, Array]) -> None:
    path = folder / WEIGHTS
    # transformers opens no file that does not name its format.
    save_file(dict(arrays), path, metadata={"format": "pt"})
    path.chmod((folder / "config.json").stat().st_mode)  # the library lets only the owner read


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
