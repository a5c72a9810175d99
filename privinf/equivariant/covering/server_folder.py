"""Writes the server's directory: weights and configuration for plain transformers, and what is public about both.

Its config.json is made of the facts of a shape alone: no special token, no label, no name gets in.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from safetensors.numpy import save_file

from privinf.equivariant.about import FILE, FORMAT, digest
from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.plain import Plain
from privinf.equivariant.key import KeyAbout
from privinf.formats.directory import config_of, stored, stored_name
from privinf.models.families import FAMILIES
from privinf.models.source.tensors import WEIGHTS
from privinf.models.spec import Classifier, Generator, ModelSpec, Patches, Tokens

PUBLIC = ("id", "level", "family", "task", "vocab", "context")  # of a key's facts, what servers may know


def write_server(folder: Path, plain: Plain, covered: Covered, about: KeyAbout) -> None:
    """Write one covered model."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = _covered_spec(plain, covered)
    (folder / "config.json").write_text(json.dumps(_config(spec, covered), indent=1) + "\n")
    arrays = stored(spec, covered.weights, lambda name: name if covered.local else stored_name(name, spec))
    save_file(arrays, folder / WEIGHTS, metadata={"format": "pt"})
    write_about(folder, about, model_sha256=digest(folder / WEIGHTS))


def write_about(folder: Path, about: KeyAbout, **more: object) -> None:
    """Write what is public."""
    public = {name: getattr(about, name) for name in PUBLIC}
    said = {"format": FORMAT, **public, "width": about.server_width, **more}
    (folder / FILE).write_text(json.dumps(said, indent=1) + "\n")


def _covered_spec(plain: Plain, covered: Covered) -> ModelSpec:
    """The model that the server runs, without anything that says what it is about.

    A folded norm leaves a bias. In `session` embedded patches come in as an image of one row, a pixel each, with a
    channel for every value, and tables of embeddings have as few rows as transformers takes.
    """
    spec = replace(plain.spec, width=covered.width, eps=plain.spec.eps * covered.eps_scale)
    if "layer0.attn.q.bias" in covered.weights:
        spec = replace(spec, biases=spec.biases | {"qkv"})
    if isinstance(spec.head, Generator):
        spec = replace(spec, head=Generator(covered.tied))
    elif isinstance(spec.head, Classifier):
        anonymous = () if covered.local else tuple(f"LABEL_{i}" for i in range(len(spec.labels)))
        spec = replace(spec, head=replace(spec.head, labels=anonymous))
    return replace(spec, inputs=_local(spec)) if covered.local else spec


def _local(spec: ModelSpec) -> Tokens | Patches:
    if isinstance(spec.inputs, Patches):
        return Patches(1, spec.inputs.count, 1, 1, spec.width)
    # Encoders take rows behind their tables; a decoder adds its table of positions to whatever rows it is given.
    places = 1 if spec.embed_norm else spec.inputs.places
    return Tokens(1, places=places, types=min(spec.inputs.types, 1))


def _config(spec: ModelSpec, covered: Covered) -> dict[str, object]:
    """What plain transformers needs to build the covered model.

    Special tokens are written as null, as transformers would else assume its defaults.
    """
    config = config_of(spec)
    if covered.local:
        config["architectures"] = [FAMILIES[spec.family].bare]
    if spec.vocab:
        config |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    return config
