"""GELU, by the hyperbolic tangent, as GPT-2 has it."""

from __future__ import annotations

from privinf.models.functions._tabled import Tabled, of_torch

ENTRY = Tabled("gelu_tanh", of_torch("gelu", approximate="tanh"))
