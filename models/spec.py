"""Reads what a Hugging Face directory says about an encoder, and refuses by name what it cannot mean here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from privinf.errors import ModelError
from privinf.models.families import FAMILIES, HARMLESS_KEYS, Family, Head, Name
from privinf.models.sentence import (
    Pooling,
    Sentence,
    TextRules,
    read_sentence,
    refuse_cross_encoder,
    tokenizer_limit,
)
from privinf.models.settings import Keys, activation, architecture, epsilon, read_object, size

PLAIN = TextRules()
# What a head's numbers mean: one label of all, any number of them, or numbers in their own right.
Says = Literal["label", "labels", "score", "measure"]
PROBLEMS: dict[object, Says] = {
    "single_label_classification": "label",
    "multi_label_classification": "labels",
    "regression": "measure",
}


@dataclass(frozen=True)
class EncoderSpec:
    """Everything public about an encoder: its shapes, its activation, what follows its last layer."""

    layers: int
    width: int
    heads: int
    ffn: int
    vocab: int
    max_tokens: int
    type_vocab: int
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    pooling: Pooling | None = None
    normalize: bool = False
    labels: tuple[str, ...] = ()
    head: Head = "none"
    family: Name = "bert"
    says: Says = "label"
    dimension: int | None = None  # to which embeddings are cut
    texts: TextRules = PLAIN

    @property
    def longest(self) -> int:
        """Tokens that a text may have: positions that there are, unless the model's files cut texts earlier."""
        return min(self.max_tokens, self.texts.longest or self.max_tokens)

    @property
    def answer_width(self) -> int:
        """Numbers that a text is answered with."""
        return len(self.labels) or self.dimension or self.width

    @property
    def sums(self) -> bool:
        """Whether an answer is made of all real rows: of the first one alone otherwise."""
        return self.head == "none" and self.pooling != "cls"

    @property
    def names(self) -> Family:
        """What the family calls its parts, and how it counts positions."""
        return FAMILIES[self.family]


Spec = EncoderSpec


def read_spec(directory: str | os.PathLike[str]) -> EncoderSpec:
    """Reads config.json and the files of sentence-transformers that are there; the weights need not be."""
    folder = Path(directory)
    path = folder / "config.json"
    config = read_object(path)
    name = _family(config, path)
    family = FAMILIES[name]
    Keys(family.config, family.read_keys, family.fixed_keys, HARMLESS_KEYS).check(config, path)
    width = size(config, "hidden_size", path)
    heads = size(config, "num_attention_heads", path)
    if width % heads:
        raise ModelError(f"{path}: hidden_size {width} is not a multiple of num_attention_heads {heads}")
    head = family.classes[architecture(config, tuple(family.classes), path)]
    if head == "none":
        sentence = read_sentence(folder, width)
    else:
        refuse_cross_encoder(folder, config)
        sentence = Sentence(None, False, None, TextRules(tokenizer_limit(folder)))
    labels = read_labels(config, path) if head == "bert-classifier" else ()
    return EncoderSpec(
        layers=size(config, "num_hidden_layers", path),
        width=width,
        heads=heads,
        ffn=size(config, "intermediate_size", path),
        vocab=size(config, "vocab_size", path),
        max_tokens=_positions(config, family, path),
        type_vocab=size(config, "type_vocab_size", path, default=2) if family.typed else 0,
        activation=activation(config, "hidden_act", path, "gelu"),
        layer_norm_eps=epsilon(config, "layer_norm_eps", path, 1e-12),
        pooling=sentence.pooling,
        normalize=sentence.normalize,
        labels=labels,
        head=head,
        family=name,
        says=read_meaning(config, labels, path),
        dimension=sentence.dimension,
        texts=sentence.texts,
    )


def _family(config: dict[str, Any], path: Path) -> Name:
    given = config.get("model_type")
    for name in FAMILIES:
        if given == name:
            return name
    accepted = ", ".join(map(repr, FAMILIES))
    raise ModelError(f"{path}: model_type {given!r} is not supported; accepted: {accepted}")


def _positions(config: dict[str, Any], family: Family, path: Path) -> int:
    """How many tokens a text may have."""
    rows = size(config, "max_position_embeddings", path)
    if rows <= family.first_position:
        raise ModelError(f"{path}: max_position_embeddings must be above {family.first_position}, not {rows}")
    return rows - family.first_position


def read_labels(config: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Names of classes, in their order; transformers leaves id2label out where it is its default of two labels."""
    given = config.get("id2label")
    if given is None:
        return tuple(f"LABEL_{i}" for i in range(size(config, "num_labels", path, default=2)))
    names = [given.get(str(i)) for i in range(len(given))] if isinstance(given, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path}: id2label must map '0', '1', ... to names")
    return tuple(str(name) for name in names)


def read_meaning(config: dict[str, Any], labels: tuple[str, ...], path: Path) -> Says:
    """What the numbers of a head mean, as transformers' own pipeline takes them; a single one is a score."""
    given = config.get("problem_type")
    if given is not None and given not in PROBLEMS:
        raise ModelError(
            f"{path}: problem_type {given!r} is not supported; accepted: {', '.join(map(str, PROBLEMS))}"
        )
    meant = PROBLEMS.get(given, "label")
    return "score" if len(labels) == 1 and meant == "label" else meant
