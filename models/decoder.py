"""Decoders of the GPT-2 and Llama kinds, written once: straight-line code over `ops`, which gives it a meaning."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from privinf.models.decoder_spec import DecoderSpec


class DecoderOps(Protocol):
    """What an interpreter must offer; the residual is its own kind of value, as are normalised rows.

    An interpreter is made for one pass: it holds the cache, and knows which slots a row may attend to.
    """

    def scope(self, name: str) -> AbstractContextManager[None]: ...
    def embed(self, query: Any) -> Any: ...
    def normalise(self, x: Any) -> Any: ...
    def linear(self, x: Any, name: str) -> Any: ...
    def add(self, x: Any, y: Any) -> Any: ...
    def attend(self, q: Any, k: Any, v: Any) -> Any: ...
    def activate(self, x: Any, name: str) -> Any: ...
    def gate(self, x: Any, y: Any, name: str) -> Any: ...
    def last(self, x: Any, rows: int) -> Any: ...
    def answer(self, x: Any) -> Any: ...


def extend(ops: DecoderOps, spec: DecoderSpec, query: Any) -> Any:
    """Run rows through all layers, each of which adds a key and a value a row to the cache: the residual."""
    with ops.scope("embed"):
        x = ops.embed(query)
    for i in range(spec.layers):
        with ops.scope(f"layer{i}"):
            x = block(ops, spec, x)
    return x


def block(ops: DecoderOps, spec: DecoderSpec, x: Any) -> Any:
    """One pre-norm layer."""
    with ops.scope("attn"):
        rows = ops.normalise(x)
        q, k, v = (ops.linear(rows, name) for name in "qkv")
        x = ops.add(x, ops.linear(ops.attend(q, k, v), "out"))
    with ops.scope("ffn"):
        rows = ops.normalise(x)
        if spec.gated:
            hidden = ops.gate(ops.linear(rows, "gate"), ops.linear(rows, "up"), spec.activation)
        else:
            hidden = ops.activate(ops.linear(rows, "up"), spec.activation)
        return ops.add(x, ops.linear(hidden, "down"))


def predict(ops: DecoderOps, spec: DecoderSpec, query: Any, rows: int) -> Any:
    """What follows each of the last `rows` rows: logits (1, rows, vocab), or what `answer` makes of them."""
    x = extend(ops, spec, query)
    with ops.scope("head"):
        return ops.answer(ops.linear(ops.normalise(ops.last(x, rows)), "out"))
