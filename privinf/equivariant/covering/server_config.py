"""Writes the server's config.json from the facts of a shape alone: no special token, no label, no name gets in."""

from __future__ import annotations

from dataclasses import replace

from privinf.equivariant.covering.covered import Covered
from privinf.equivariant.covering.plain import Plain
from privinf.formats.directory import config_of
from privinf.models.families import FAMILIES
from privinf.models.spec import Classifier, Generator, ModelSpec, Patches, Tokens


def covered_spec(plain: Plain, covered: Covered) -> ModelSpec:
    """The model that the server runs, without anything that says what it is about.

    A folded norm leaves a bias. In `session` embedded patches come in as an image of one row, a pixel each, with a
    channel for every value, and tables of embeddings have as few rows as transformers takes.
    """
    spec = replace(plain.spec, width=covered.width, eps=covered.eps)
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


def server_config(plain: Plain, covered: Covered) -> dict[str, object]:
    """What plain transformers needs to build the covered model.

    Special tokens are written as null, as transformers would else assume its defaults.
    """
    spec = covered_spec(plain, covered)
    config = config_of(spec)
    if covered.local:
        config["architectures"] = [FAMILIES[spec.family].bare]
    if spec.vocab:
        config |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    return config
