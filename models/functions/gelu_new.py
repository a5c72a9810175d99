"""GELU, by the hyperbolic tangent, as GPT-2 has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privinf.models.functions._tabled import Tabled

if TYPE_CHECKING:
    import torch


def _clear(x: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.gelu(x, approximate="tanh")


ENTRY = Tabled("gelu_tanh", _clear)
