"""Noise on embedding and head, which makes answers inexact and seeds of a known-plaintext attack less worth.

Llama takes it under key matrices wider than the model; families with LayerNorm, which takes means off, under the square
covers of the level `cover`.
"""

from __future__ import annotations

from dataclasses import dataclass

from privinf.equivariant.covering.draw import F64, Draw
from privinf.errors import ConfigError

# Beyond that mixing, the Gaussian part may outweigh the rotation, and its inverse be large.
LIMITS = {"alpha_e": (0, 10), "alpha_h": (0, 10), "padding": (2, 4096), "mixing": (0, 0.4)}


@dataclass(frozen=True)
class Noise:
    """How much; AloePri takes 1.0, 0.2, 128 and 0.3 for billions of weights, which small models do not survive.

    Attributes:
        alpha_e: standard deviation of the noise on embeddings, in those of the embeddings.
        alpha_h: the same for the head.
        padding: by how many columns at least each of the two halves of a key matrix is wider; Llama only.
        mixing: weight of all in a key matrix that is not a rotation; Llama only.
    """

    alpha_e: float = 0.1
    alpha_h: float = 0.1
    padding: int = 64
    mixing: float = 0.1

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:  # NaN lies nowhere
                raise ConfigError(f"{name} is a number from {least} to {most}, not {value}")


def noisy(x: F64, alpha: float, draw: Draw) -> F64:
    """x with noise of `alpha` times its own standard deviation."""
    return x + alpha * x.std() * draw.normal(*x.shape) if alpha else x
