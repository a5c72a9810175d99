"""Reads a plain model of a family that can be covered, with every fact about its shape that covers depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from privinf.equivariant import vit_checkpoint
from privinf.equivariant.covering.draw import F64
from privinf.errors import ConfigError, ModelError
from privinf.models import checkpoint, decoder_checkpoint
from privinf.models.settings import read_object
from privinf.models.tensors import WEIGHTS, Array, Tensor

Family = Literal["bert", "gpt2", "llama", "vit"]
Task = Literal["embed", "classify", "generate"]
FAMILIES: tuple[Family, ...] = ("bert", "gpt2", "llama", "vit")
CHUNK = 1 << 24


@dataclass(frozen=True, eq=False)
class Plain:
    """A plain model; weights of linear layers are (in, out), under the names of privinf.models.

    Attributes:
        vocab: tokens, 0 for images.
        context: positions at most.
        gated: the feed-forward part multiplies by an activated gate.
        rotary: positions turn queries and keys, instead of a table.
        post_norm: norms follow the residual sums, so that their gains lie on the residual stream.
        labels: names of classes.
        tensors: where transformers keeps each array, and in what form.
    """

    family: Family
    task: Task
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    vocab: int
    context: int
    activation: str
    eps: float
    labels: tuple[str, ...] = ()
    gated: bool = False
    rotary: bool = False
    post_norm: bool = False
    tied: bool = False
    rope_theta: float = 0.0
    types: int = 0
    image: vit_checkpoint.Image | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    weights: Mapping[str, Array] = field(default_factory=dict, repr=False)

    def exact(self, name: str) -> F64:
        """One array in float64."""
        return self.weights[name].astype(np.float64)

    def optional(self, name: str) -> F64 | None:
        """One array in float64, where the model has it."""
        return self.exact(name) if name in self.weights else None


def family_of(model: Path) -> Family:
    """The family that config.json names."""
    path = model / "config.json"
    given = read_object(path).get("model_type")
    for family in FAMILIES:
        if given == family:
            return family
    accepted = ", ".join(map(repr, FAMILIES))
    raise ModelError(f"{path}: model_type {given!r} cannot be covered; accepted: {accepted}")


def read_plain(model: Path, task: str | None = None) -> Plain:
    """Read shape and weights.

    Raises:
        ModelError: an unsupported architecture or setting, or damaged weights.
        ConfigError: the model is not for this task.
    """
    family = family_of(model)
    plain = _bert(model) if family == "bert" else _vit(model) if family == "vit" else _decoder(model)
    if task is not None and task != plain.task:
        raise ConfigError(f"{model} is a model to {plain.task}, not to {task}: leave --task out")
    return plain


def _decoder(model: Path) -> Plain:
    spec, weights = decoder_checkpoint.load_decoder(model)
    return Plain(
        family=spec.family,
        task="generate",
        layers=spec.layers,
        width=spec.width,
        heads=spec.heads,
        kv_heads=spec.kv_heads,
        head_width=spec.head_width,
        ffn=spec.ffn,
        vocab=spec.vocab,
        context=spec.max_tokens,
        activation=spec.activation,
        eps=spec.eps,
        gated=spec.gated,
        rotary=spec.family == "llama",
        tied=spec.tied,
        rope_theta=spec.rope_theta,
        tensors=decoder_checkpoint.decoder_tensors(replace(spec, tied=False)),
        weights=weights,
    )


def _bert(model: Path) -> Plain:
    spec, weights = checkpoint.load_encoder(model)
    return Plain(
        family="bert",
        task="classify" if spec.labels else "embed",
        layers=spec.layers,
        width=spec.width,
        heads=spec.heads,
        kv_heads=spec.heads,
        head_width=spec.width // spec.heads,
        ffn=spec.ffn,
        vocab=spec.vocab,
        context=spec.max_tokens,
        activation=spec.activation,
        eps=spec.layer_norm_eps,
        labels=spec.labels,
        post_norm=True,
        types=spec.type_vocab,
        tensors=checkpoint.tensors(spec, pooler=True),
        weights=weights,
    )


def _vit(model: Path) -> Plain:
    spec, weights = vit_checkpoint.load_vit(model)
    return Plain(
        family="vit",
        task="classify",
        layers=spec.layers,
        width=spec.width,
        heads=spec.heads,
        kv_heads=spec.heads,
        head_width=spec.width // spec.heads,
        ffn=spec.ffn,
        vocab=0,
        context=spec.image.patches + 1,
        activation=spec.activation,
        eps=spec.eps,
        labels=spec.labels,
        image=spec.image,
        tensors=vit_checkpoint.vit_tensors(replace(spec, biased=True)),  # a folded norm leaves a bias
        weights=weights,
    )


def fingerprint(model: Path) -> str:
    """What tells one plain model from another: SHA-256 over its weights' file and its config.json."""
    return digest(model / WEIGHTS, model / "config.json")


def digest(*paths: Path) -> str:
    """SHA-256 over files, one after the other."""
    total = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while piece := file.read(CHUNK):
                    total.update(piece)
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    return total.hexdigest()
