"""Encoders of the BERT kind, written once: straight-line code over `ops`, which says what arithmetic means."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from privinf.models.spec import EncoderSpec

Value = TypeVar("Value")


class Ops(Protocol):
    """What an interpreter must offer; tensors are its own, names of weights follow the open scopes."""

    def scope(self, name: str) -> AbstractContextManager[None]: ...
    def embed(self, query: Any) -> Any: ...
    def normalise(self, x: Any) -> Any: ...
    def linear(self, x: Any, name: str) -> Any: ...
    def skip(self, y: Any, x: Any) -> Any: ...
    def attend(self, q: Any, k: Any, v: Any, heads: int, relative: bool) -> Any: ...
    def activate(self, x: Any, name: str) -> Any: ...
    def pool(self, x: Any, first: bool) -> Any: ...
    def first(self, x: Any) -> Any: ...
    def answer(self, x: Any) -> Any: ...


def encode(ops: Ops, spec: EncoderSpec, query: Any) -> Any:
    """The last layer's normalised rows (batch, tokens, width), before gain and bias."""
    with ops.scope("embed"):
        x = ops.embed(query)
    for i in range(spec.layers):
        with ops.scope(f"layer{i}"):
            x = layer(ops, spec, x)
    return x


def layer(ops: Ops, spec: EncoderSpec, x: Any) -> Any:
    """One post-LN encoder layer on normalised rows."""
    with ops.scope("attn"):
        q, k, v = (ops.linear(x, name) for name in "qkv")
        mixed = ops.attend(q, k, v, spec.heads, spec.names.buckets > 0)
        x = ops.normalise(ops.skip(ops.linear(mixed, "out"), x))
    with ops.scope("ffn"):
        hidden = ops.activate(ops.linear(x, "up"), spec.activation)
        return ops.normalise(ops.skip(ops.linear(hidden, "down"), x))


def embed(ops: Ops, spec: EncoderSpec, query: Any) -> Any:
    """Sentence embeddings (batch, 1, width), not yet scaled to unit length: in shares of a mean the client divides."""
    x = encode(ops, spec, query)
    with ops.scope("pool"):
        return ops.answer(ops.pool(x, not spec.sums))


def classify(ops: Ops, spec: EncoderSpec, query: Any) -> Any:
    """Logits (batch, 1, labels) of the first token's pooled row."""
    x = encode(ops, spec, query)
    with ops.scope("head"):
        pooled = ops.activate(ops.linear(ops.first(x), "pooler"), "tanh")
        return ops.answer(ops.linear(pooled, "out"))


TASKS = {"embed": embed, "classify": classify}
