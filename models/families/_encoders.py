"""Encoders as BERT's descendants are written down: their keys, their sizes, and their layers' names in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from privinf.errors import ModelError
from privinf.models.families import Family
from privinf.models.families._common import (
    FIXED,
    HARMLESS_KEYS,
    blocks,
    classifier,
    even_heads,
    linear,
    meaning,
    named,
    norm,
)
from privinf.models.source.reading import Config, Fixed, Keys, activation, epsilon, size
from privinf.models.source.sentences import read_sentence, refuse_cross_encoder, tokenizer_limit
from privinf.models.source.tensors import Tensor
from privinf.models.spec import BlockSpec, Classifier, ModelSpec, Pool, Task, TextRules, Tokens

# Keys that shape the forward pass.
READ = """
model_type architectures hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act
layer_norm_eps id2label num_labels problem_type
"""
READ_KEYS = frozenset(READ.split())
# Keys that shape it too, and that have one value we implement.
FIXED_IN_TEXTS: Fixed = {
    **FIXED,
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
}
ALL = frozenset(("qkv", "out", "ffn", "norm", "head"))
BUFFER = "embeddings.position_ids"  # which older versions of transformers stored: 0, 1, 2, ...
POOLER, NORM = "pooler.dense", "output.LayerNorm"


@dataclass(frozen=True)
class Encoder:
    """What tells one of them apart.

    attention: names of its projections, and of the LayerNorm behind them, inside a layer. first: row of the position
    table that the first token takes. buckets: of relative positions.
    """

    family: str
    attention: Mapping[str, str]
    norm: str
    classifier: tuple[str, str]
    typed: bool = False
    first: int = 0
    pad: int = 0
    buckets: int = 0

    def entry(self, config: str, classes: Mapping[str, Task], fixed: Fixed | None = None) -> Family:
        """The family by transformers' names of its configuration and classes, first the one without a head."""
        sizes = {"vocab_size", "max_position_embeddings"} | ({"type_vocab_size"} if self.typed else set())
        return Family(
            keys=Keys(config, READ_KEYS | sizes, {**FIXED_IN_TEXTS, **(fixed or {})}, HARMLESS_KEYS),
            classes=classes,
            bare=next(iter(classes)),
            prefix=f"{self.family}.",
            read=self.read,
            write=self.write,
            tensors=self.tensors,
            counted=BUFFER,
        )

    def read(self, config: Config, path: Path, task: Task) -> ModelSpec:
        """Of config.json and of what sentence-transformers wrote beside it."""
        width, heads = size(config, "hidden_size", path), size(config, "num_attention_heads", path)
        rows = size(config, "max_position_embeddings", path)
        if rows <= self.first:
            raise ModelError(f"{path}: max_position_embeddings must be above {self.first}, not {rows}")
        block = BlockSpec(activation(config, "hidden_act", path, "gelu"))
        head, texts = self._head(config, path, task, width)
        types = size(config, "type_vocab_size", path, default=2) if self.typed else 0
        return ModelSpec(
            family=self.family,
            width=width,
            heads=heads,
            kv_heads=heads,
            head_width=even_heads(width, heads, ("hidden_size", "num_attention_heads"), path),
            ffn=size(config, "intermediate_size", path),
            max_tokens=rows - self.first,
            order="post",
            norm="layer",
            eps=epsilon(config, "layer_norm_eps", path, 1e-12),
            blocks=blocks(block, config, "num_hidden_layers", path),
            inputs=Tokens(size(config, "vocab_size", path), self.pad, rows, types, texts),
            head=head,
            biases=ALL,
            buckets=self.buckets,
            embed_norm=True,
        )

    def _head(
        self, config: Config, path: Path, task: Task, width: int
    ) -> tuple[Pool | Classifier, TextRules]:
        if task == "embed":
            meaning(config, (), path)  # nothing here obeys it, and none that is unknown is passed over
            return read_sentence(path.parent, width)
        refuse_cross_encoder(path.parent, config)
        return classifier(config, path, "tanh"), TextRules(tokenizer_limit(path.parent))

    def write(self, spec: ModelSpec) -> dict[str, object]:
        """The keys that say this."""
        types = {"type_vocab_size": spec.tokens.types} if self.typed else {}
        return {
            "hidden_size": spec.width,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "intermediate_size": spec.ffn,
            "vocab_size": spec.vocab,
            "max_position_embeddings": spec.tokens.places,
            "hidden_act": spec.blocks[0].activation,
            "layer_norm_eps": spec.eps,
            **types,
            **named(spec.labels),
        }

    def tensors(self, spec: ModelSpec) -> Iterator[tuple[str, Tensor]]:
        """All arrays; one without a head may store its pooler all the same."""
        width, tokens = spec.width, spec.tokens
        yield "embed.token", Tensor("embeddings.word_embeddings.weight", (tokens.vocab, width))
        yield "embed.position", Tensor("embeddings.position_embeddings.weight", (tokens.places, width))
        if self.typed:
            yield "embed.type", Tensor("embeddings.token_type_embeddings.weight", (tokens.types, width))
        yield from norm("embed.norm", "embeddings.LayerNorm", width)
        if spec.buckets:
            yield "relative", Tensor("encoder.relative_attention_bias.weight", (spec.buckets, spec.heads))
        for i in range(spec.layers):
            yield from layer(f"layer{i}", f"encoder.layer.{i}", spec, self.attention, (self.norm, NORM))
        if spec.labels:
            dense, last = self.classifier
            yield from linear("pooler", dense, width, width)
            yield from linear("head", last, width, len(spec.labels))
        else:
            yield from linear("pooler", POOLER, width, width, optional=True)


def projections(inside: str) -> dict[str, str]:
    """Names of an attention's projections in a layer, as BERT has them."""
    names = {"q": f"{inside}.query", "k": f"{inside}.key", "v": f"{inside}.value"}
    return {**names, "out": "attention.output.dense"}


def layer(
    ours: str, theirs: str, spec: ModelSpec, attention: Mapping[str, str], norms: tuple[str, str]
) -> Iterator[tuple[str, Tensor]]:
    """A layer by the names of its attention's projections, and of both norms."""
    width, ffn = spec.width, spec.ffn
    for part, name in attention.items():
        biased = ("out" if part == "out" else "qkv") in spec.biases
        yield from linear(f"{ours}.attn.{part}", f"{theirs}.{name}", width, width, biased=biased)
    yield from norm(f"{ours}.attn.norm", f"{theirs}.{norms[0]}", width)
    yield from linear(f"{ours}.ffn.up", f"{theirs}.intermediate.dense", width, ffn)
    yield from linear(f"{ours}.ffn.down", f"{theirs}.output.dense", ffn, width)
    yield from norm(f"{ours}.ffn.norm", f"{theirs}.{norms[1]}", width)
