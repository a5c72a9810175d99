"""One BERT encoder layer (post-LN) and its operators, as JAX functions for SPU."""

import math
from collections.abc import Callable
from typing import Any

import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]
from workloads import BERT_BASE, EPSILON, LAYER, VIT_LAYER, VIT_LITE, Shape


def gelu_puma(x: Any) -> Any:
    """GELU in four segments, as in PUMA (Dong et al., 2023)."""
    square, cube = x * x, x * x * x
    fourth, sixth = square * square, cube * cube
    low = -0.011034134030615728 * cube - 0.11807612951181953 * square
    low = low - 0.42226581151983866 * x - 0.5054031199708174
    middle = 0.0018067462606141187 * sixth - 0.037688200365904236 * fourth + 0.3603292692789629 * square
    middle = middle + 0.5 * x + 0.008526321541038084
    below_4, below_195, above_3 = x < -4.0, x < -1.95, x > 3.0
    return above_3 * x + (below_4 ^ below_195) * low + (below_195 ^ above_3 ^ True) * middle


def gelu_tanh(x: Any) -> Any:
    """JAX's tanh form of GELU."""
    return jax.nn.gelu(x, approximate=True)


def gelu_erf(x: Any) -> Any:
    """JAX's exact GELU, through SPU's erf."""
    return jax.nn.gelu(x, approximate=False)


GELUS: dict[str, Callable[[Any], Any]] = {"puma": gelu_puma, "tanh": gelu_tanh, "erf": gelu_erf}


def normalise(x: Any) -> Any:
    """LayerNorm of the last axis, without gain and bias."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON)


def softmax(x: Any) -> Any:
    """Softmax of the last axis."""
    return jax.nn.softmax(x, axis=-1)


def make_layer(shape: Shape, gelu: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The layer as a JAX function of its input and weights."""

    def split(x: Any) -> Any:
        return x.reshape(shape.tokens, shape.heads, -1).transpose(1, 0, 2)

    def norm(x: Any, w: Any, name: str) -> Any:
        return normalise(x) * w[f"{name}_scale"] + w[f"{name}_shift"]

    def layer(x: Any, w: Any) -> Any:
        query, key, value = (split(x @ w[f"{name}_w"] + w[f"{name}_b"]) for name in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(shape.width // shape.heads)
        mixed = (softmax(scores) @ value).transpose(1, 0, 2)
        mixed = mixed.reshape(shape.tokens, shape.width)
        x = norm(x + mixed @ w["mix_w"] + w["mix_b"], w, "norm1")
        hidden = gelu(x @ w["up_w"] + w["up_b"])
        return norm(x + hidden @ w["down_w"] + w["down_b"], w, "norm2")

    return layer


def make_vit(gelu: Callable[[Any], Any], mix: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """ViT-Lite's block as a JAX function of its input and weights."""
    shape = VIT_LITE

    def split(x: Any) -> Any:
        return x.reshape(shape.tokens, shape.heads, -1).transpose(1, 0, 2)

    def layer(x: Any, w: Any) -> Any:
        rows = normalise(x) * w["norm1_scale"] + w["norm1_shift"]
        query, key, value = (split(rows @ w[f"{name}_w"]) for name in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(shape.width // shape.heads)
        mixed = (mix(scores) @ value).transpose(1, 0, 2).reshape(shape.tokens, shape.width)
        x = normalise(x + mixed @ w["mix_w"] + w["mix_b"]) * w["norm2_scale"] + w["norm2_shift"]
        return x + gelu(x @ w["up_w"] + w["up_b"]) @ w["down_w"] + w["down_b"]

    return layer


def functions(gelu: str) -> dict[str, Callable[[Any, Any], Any]]:
    """What each workload runs, of its input and weights."""
    return {
        LAYER: make_layer(BERT_BASE, GELUS[gelu]),
        VIT_LAYER + "softmax": make_vit(GELUS[gelu], softmax),
        VIT_LAYER + "scaling": make_vit(GELUS[gelu], lambda x: x / VIT_LITE.tokens),
        "ring-gemm-128x768x3072": lambda x, w: x @ w["weight"],
        "comparison-128x3072": lambda x, w: x >= 0.0,
        "gelu-128x3072": lambda x, w: GELUS[gelu](x),
        "softmax-12x128x128": lambda x, w: softmax(x),
        "layernorm-128x768": lambda x, w: normalise(x),
    }
