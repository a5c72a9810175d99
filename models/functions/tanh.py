"""The hyperbolic tangent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privinf.models.functions._tabled import Tabled

if TYPE_CHECKING:
    import torch


def _clear(x: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.tanh(x)


ENTRY = Tabled("tanh", _clear)
