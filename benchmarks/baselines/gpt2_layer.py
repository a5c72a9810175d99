"""One decode step of GPT-2-small-shaped layers (pre-LN), as a JAX function for SPU.

SPU runs one operator after the other and each waits for its messages, so what can go side by side is one operator here.
"""

from collections.abc import Callable
from typing import Any

import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]
import numpy as np
from bert_layer import gelu_tanh, softmax
from gpt2_step import EPSILON, HEADS, WIDTH, Step
from spu.experimental import make_cached_var  # type: ignore[import-not-found]

# SPU multiplies a batch one matrix after the other: one for each head sends 50 messages more than one for all, and one
# for all costs twice the processor time. Four heads in one were quickest or near it in both protocols on every network.
GROUPS = 3
SIDE = HEADS // GROUPS
OWN = np.repeat(np.eye(SIDE, dtype=bool), WIDTH // HEADS, axis=1)  # (heads of a group, their columns)
LOW = (-0.5054031199708174, -0.42226581151983866, -0.11807612951181953, -0.011034134030615728, 0.0, 0.0)
MIDDLE = (0.008526321541038084, 0.5, 0.3603292692789629, 0.0, -0.037688200365904236, 0.0018067462606141187)


def gelu_puma(x: Any) -> Any:
    """PUMA's four segments of one row; its polynomials, comparisons and choices are an operator each."""
    square = x * x
    cube_and_fourth = jnp.concatenate([x, square]) * square
    powers = jnp.concatenate([x, square, cube_and_fourth, cube_and_fourth[1:] * square])
    factors = np.array([LOW, MIDDLE], np.float32)  # of powers 0, 1, 2, 3, 4 and 6
    polynomials = (powers * factors[:, 1:, None]).sum(1) + factors[:, :1]
    below = jnp.concatenate([x + 4.0, x + 1.95, x - 3.0]) < 0.0
    chosen = jnp.concatenate([below[:1] ^ below[1:2], below[1:2] ^ below[2:], below[2:] ^ True])
    return (chosen * jnp.concatenate([polynomials, x])).sum(0, keepdims=True)


GELUS: dict[str, Callable[[Any], Any]] = {"puma": gelu_puma, "tanh": gelu_tanh}


def normalise(x: Any) -> Any:
    """LayerNorm of one row, without scale and shift."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON)


def attend(query: Any, keys: Any, values: Any) -> Any:
    """Attention of one row: queries of a group stand in a block diagonal, so that its heads are one product."""
    rows = jnp.broadcast_to(query.reshape(GROUPS, 1, -1), (GROUPS, *OWN.shape))
    keys, values = (each.reshape(len(each), GROUPS, -1) for each in (keys, values))
    weights = softmax(jnp.where(OWN, rows, 0.0) @ keys.transpose(1, 2, 0))  # (groups, heads, keys)
    mixed = weights @ values.transpose(1, 0, 2)  # (groups, heads, columns of all heads)
    return jnp.where(OWN, mixed, 0.0).sum(1).reshape(1, WIDTH)


def make_step(step: Step, gelu: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The step as a JAX function of the token's row and of folded weights and cache."""

    def layer(x: Any, w: dict[str, Any]) -> tuple[Any, Any, Any]:
        def linear(y: Any, name: str) -> Any:
            # In SEMI2K a cached weight's mask is opened once, at the first token, not at each; ABY3 opens none.
            return y @ make_cached_var(w[f"{name}_w"]) + w[f"{name}_b"]

        query, key, value = jnp.split(linear(normalise(x), "qkv"), 3, axis=1)
        keys, values = jnp.concatenate([w["keys"], key]), jnp.concatenate([w["values"], value])
        x = x + linear(attend(query, keys, values), "mix")
        return x + linear(gelu(linear(normalise(x), "up")), "down"), key, value

    def run(x: Any, w: dict[str, Any]) -> Any:
        new = []
        for i in range(step.layers):
            start = f"{i}."
            own = {name.removeprefix(start): value for name, value in w.items() if name.startswith(start)}
            x, key, value = layer(x, own)
            new += [key, value]
        return jnp.concatenate([x, *new])

    return run
