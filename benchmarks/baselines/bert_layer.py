"""One BERT encoder layer (post-LN) as a JAX function for SPU, and a NumPy reference to check it against."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Weights = dict[str, FloatArray]

EPSILON = 1e-12  # BERT's, below the fixed point's step: it only guards the float reference


@dataclass(frozen=True)
class Shape:
    """Dimensions of the layer."""

    tokens: int
    width: int
    heads: int
    ffn: int


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


def make_layer(shape: Shape, gelu: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The layer as a JAX function of its input and weights."""

    def split(x: Any) -> Any:
        return x.reshape(shape.tokens, shape.heads, -1).transpose(1, 0, 2)

    def normalise(x: Any, scale: Any, shift: Any) -> Any:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + EPSILON) * scale + shift

    def layer(x: Any, w: Any) -> Any:
        query, key, value = (split(x @ w[f"{name}_w"] + w[f"{name}_b"]) for name in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(shape.width // shape.heads)
        mixed = (jax.nn.softmax(scores, axis=-1) @ value).transpose(1, 0, 2)
        mixed = mixed.reshape(shape.tokens, shape.width)
        x = normalise(x + mixed @ w["mix_w"] + w["mix_b"], w["norm1_scale"], w["norm1_shift"])
        hidden = gelu(x @ w["up_w"] + w["up_b"])
        return normalise(x + hidden @ w["down_w"] + w["down_b"], w["norm2_scale"], w["norm2_shift"])

    return layer


def reference(x: FloatArray, w: Weights, heads: int) -> npt.NDArray[np.float64]:
    """The same layer in NumPy, head by head in float64 with exact GELU, to check the answer against."""

    def normalise(y: Any, name: str) -> Any:
        spread = np.sqrt(y.var(axis=-1, keepdims=True) + EPSILON)
        return (y - y.mean(axis=-1, keepdims=True)) / spread * w[f"{name}_scale"] + w[f"{name}_shift"]

    y = x.astype(np.float64)
    projected = [y @ w[f"{name}_w"] + w[f"{name}_b"] for name in ("query", "key", "value")]
    mixed = []
    for query, key, value in zip(*(np.split(each, heads, axis=1) for each in projected), strict=True):
        weights = np.exp(query @ key.T / math.sqrt(query.shape[1]))
        mixed.append(weights / weights.sum(axis=-1, keepdims=True) @ value)
    y = normalise(y + np.concatenate(mixed, axis=1) @ w["mix_w"] + w["mix_b"], "norm1")
    hidden = y @ w["up_w"] + w["up_b"]
    hidden = hidden * 0.5 * (1.0 + np.vectorize(math.erf)(hidden / math.sqrt(2.0)))
    result: npt.NDArray[np.float64] = normalise(y + hidden @ w["down_w"] + w["down_b"], "norm2")
    return result


def make_inputs(shape: Shape) -> tuple[FloatArray, Weights]:
    """A seeded input and weights spread so that scores and activations reach past GELU's outer segments."""
    random = np.random.default_rng(7)

    def normal(spread: float, *size: int) -> FloatArray:
        return random.normal(0.0, spread, size).astype(np.float32)

    sizes = {name: (shape.width, shape.width) for name in ("query", "key", "value", "mix")}
    sizes |= {"up": (shape.width, shape.ffn), "down": (shape.ffn, shape.width)}
    weights: Weights = {}
    for name, (rows, columns) in sizes.items():
        weights[f"{name}_w"] = normal(1.2 / math.sqrt(rows), rows, columns)
        weights[f"{name}_b"] = normal(0.02, columns)
    for name in ("norm1", "norm2"):
        weights[f"{name}_scale"] = 1.0 + normal(0.1, shape.width)
        weights[f"{name}_shift"] = normal(0.1, shape.width)
    return normal(1.0, shape.tokens, shape.width), weights
