"""Reads a plain model that can be covered, whatever its family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from privinf.equivariant.about import digest
from privinf.equivariant.covering.draw import F64
from privinf.errors import ConfigError, ModelError
from privinf.models.source import checkpoint
from privinf.models.source.tensors import WEIGHTS, Array
from privinf.models.spec import Classifier, ModelSpec, Patches, Tokens


@dataclass(frozen=True, eq=False)
class Plain:
    """A plain model; weights of linear layers are (in, out), under the names of privinf.models."""

    spec: ModelSpec
    weights: Mapping[str, Array] = field(default_factory=dict, repr=False)

    @property
    def post_norm(self) -> bool:
        """Norms follow the residual sums, so that their gains lie on the residual stream."""
        return self.spec.order == "post"

    @property
    def tied(self) -> bool:
        """The head is the embedding turned around."""
        return self.spec.task == "generate" and self.spec.generator.tied

    def exact(self, name: str) -> F64:
        """One array in float64."""
        return self.weights[name].astype(np.float64)

    def optional(self, name: str) -> F64 | None:
        """One array in float64, where the model has it."""
        return self.exact(name) if name in self.weights else None


def read_plain(model: Path, task: str | None = None) -> Plain:
    """Read shape and weights.

    Raises:
        ModelError: an unsupported architecture or setting, or damaged weights.
        ConfigError: the model is not for this task.
    """
    spec = checkpoint.read_spec(model)
    for wrong, why in _beyond_covers(spec):
        if wrong:
            path = model / "config.json"
            raise ModelError(f"{path}: model_type {spec.family!r} cannot be covered: {why}")
    if task is not None and task != spec.task:
        raise ConfigError(f"{model} is a model to {spec.task}, not to {task}: leave --task out")
    return Plain(*checkpoint.load(model))


def _beyond_covers(spec: ModelSpec) -> Iterator[tuple[bool, str]]:
    """What no cover knows, and a client's own part does not compute."""
    tokens = spec.inputs if isinstance(spec.inputs, Tokens) else None
    yield spec.buckets > 0, "its positions are relative"
    yield tokens is not None and tokens.places not in (0, spec.max_tokens), "its positions begin further on"
    yield spec.order == "post" and (tokens is None or not tokens.types), "it has no segments"
    yield spec.order not in ("pre", "post"), f"its norms stand as in {spec.order}"
    yield (
        isinstance(spec.inputs, Patches) and spec.inputs.front != 1,
        "more than one row goes before its patches",
    )
    dense = spec.head.dense if isinstance(spec.head, Classifier) else None
    yield dense not in (None, "tanh"), f"its pooler has the activation {dense}"
    yield len(set(spec.blocks)) > 1, "its layers differ"
    yield any(block.attention != "softmax" for block in spec.blocks), "its attention is no softmax"


def fingerprint(model: Path) -> str:
    """What tells one plain model from another: SHA-256 over its weights' file and its config.json."""
    return digest(model / WEIGHTS, model / "config.json")
