"""Reads GGUF files of the Llama architecture: every weight as the exact float32 that its file means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from privinf.errors import FileError, ModelError
from privinf.formats.directory import Array, Converted, config_of, stored_name
from privinf.formats.rotary import FAMILY, LAYER, LLAMA, blocks, halves
from privinf.formats.vocabularies import Vocabulary
from privinf.models.source.checkpoint import HEAD, tensors
from privinf.models.spec import Generator, ModelSpec, Tokens

TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
# Keys under the architecture's name that shape the model: those read here, then those with one value we implement.
READ = """
block_count context_length embedding_length feed_forward_length vocab_size rope.freq_base rope.dimension_count
attention.head_count attention.head_count_kv attention.key_length attention.value_length
attention.layer_norm_rms_epsilon tensor_data_layout
"""
FIXED: Mapping[str, tuple[Any, ...]] = {
    "rope.scaling.type": ("none",),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
}
# Our names of tensors by those of a file, beside LAYER.
ENDS = {"token_embd": "embed.token", "output_norm": "head.norm.gain", "output": HEAD}


class _Reader(GGUFReader):
    """The library's reader, which of a file that is cut short or lies would read nothing, again and again."""

    def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
        if int(offset) + np.dtype(dtype).itemsize * int(count) > len(self.data):
            raise ValueError(f"it refers to a byte past its {len(self.data)}")
        return super()._get(offset, dtype, count, override_order)


def read_gguf(source: Path) -> Converted:
    """Reads weights, sizes and tokenizer."""
    fields, stored = _open(source)
    try:
        vocabulary = Vocabulary(fields)
        spec = _spec(fields, len(vocabulary.tokens), stored)
        return _converted(spec, dict(_weights(spec, stored)), vocabulary)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None


def _open(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and tensors by name; the library raises whatever it stumbles over."""
    try:
        reader = _Reader(source)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        return fields, {tensor.name: tensor for tensor in reader.tensors}
    except OSError as error:
        raise FileError.unread(source, error) from None
    except (ValueError, IndexError, KeyError, OverflowError, RecursionError) as error:
        raise ModelError(f"{source} is cut short or not GGUF ({error})") from None


def _spec(fields: Mapping[str, Any], vocab: int, stored: Mapping[str, Any]) -> ModelSpec:
    kind = fields.get("general.architecture")
    if kind != FAMILY:
        raise ModelError(f"architecture {kind!r} is not supported; accepted: {FAMILY!r}")
    prefix = f"{FAMILY}."
    given = {name.removeprefix(prefix): v for name, v in fields.items() if name.startswith(prefix)}
    _check_keys(given)
    heads, width = _count(given, "attention.head_count"), _count(given, "embedding_length")
    kv_heads = _count(given, "attention.head_count_kv", heads)
    head_width = _count(given, "attention.key_length", width // heads)
    same = ("attention.value_length", "rope.dimension_count")
    if heads % kv_heads or head_width % 2 or any(given.get(key, head_width) != head_width for key in same):
        raise ModelError(f"heads of width {head_width}, {heads} over {kv_heads}, are not supported")
    layers = _count(given, "block_count")
    if layers > len(stored):
        raise ModelError(f"{len(stored)} tensors do not make {layers} layers")
    return LLAMA(
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        ffn=_count(given, "feed_forward_length"),
        max_tokens=_count(given, "context_length"),
        eps=_short(given, "attention.layer_norm_rms_epsilon"),
        blocks=blocks(layers, head_width, _short(given, "rope.freq_base", 10000.0)),
        inputs=Tokens(_count(given, "vocab_size", vocab)),
        head=Generator(tied="output.weight" not in stored),
    )


def _check_keys(given: Mapping[str, Any]) -> None:
    for key, accepted in FIXED.items():
        if key in given and given[key] not in accepted:
            raise ModelError(f"{FAMILY}.{key} {given[key]!r} is not supported; accepted: {accepted[0]!r}")
    if unknown := sorted(set(given) - set(READ.split()) - set(FIXED)):
        raise ModelError(f"unknown keys {', '.join(map(repr, unknown))} could change what the model computes")


def _count(given: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = given.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{FAMILY}.{key} must be a positive integer, not {value!r}")
    return value


def _short(given: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """The shortest number that means the same float32: 1e-05, not 9.999999747378752e-06."""
    value = given.get(key, default)
    if not isinstance(value, float) or not 0 < value < float("inf"):
        raise ModelError(f"{FAMILY}.{key} must be a positive number, not {value!r}")
    return float(str(np.float32(value)))


def _weights(spec: ModelSpec, stored: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    wanted = {f"{theirs}.weight": ours for theirs, ours in ENDS.items()}
    if spec.generator.tied:
        del wanted["output.weight"]
    for i in range(spec.layers):
        wanted |= {f"blk.{i}.{theirs}.weight": f"layer{i}.{ours}" for theirs, ours in LAYER.items()}
    if missing := sorted(set(wanted) - set(stored)):
        raise ModelError(f"{len(missing)} tensors are missing, such as {missing[0]!r}")
    if extra := sorted(set(stored) - set(wanted)):
        raise ModelError(f"{len(extra)} tensors are not used here, such as {extra[0]!r}")
    places = tensors(spec)
    for theirs, ours in wanted.items():
        rows = _dequantised(stored[theirs], places[ours].shape)
        yield stored_name(places[ours].theirs, spec), halves(ours, rows, spec)


def _dequantised(tensor: Any, shape: tuple[int, ...]) -> Array:
    kind, found = tensor.tensor_type.name, tuple(int(n) for n in reversed(tensor.shape))
    if kind not in TYPES:
        raise ModelError(f"{tensor.name} is stored as {kind}; accepted: {', '.join(TYPES)}")
    if found != shape:
        raise ModelError(f"{tensor.name} has shape {found}, where the header calls for {shape}")
    return np.ascontiguousarray(dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)


def _converted(spec: ModelSpec, weights: dict[str, Array], vocabulary: Vocabulary) -> Converted:
    if len(vocabulary.tokens) != spec.vocab:
        raise ModelError(
            f"the vocabulary has {len(vocabulary.tokens)} tokens, the embedding {spec.vocab} rows"
        )
    return Converted(
        config=config_of(spec),
        tensors=weights,
        tokenizer=vocabulary.rules(),
        special=vocabulary.special(),
        ends=vocabulary.ends(),
        chat_template=vocabulary.template(),
    )
