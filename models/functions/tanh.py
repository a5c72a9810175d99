"""The hyperbolic tangent."""

from __future__ import annotations

from privinf.models.functions._tabled import Tabled, of_torch

ENTRY = Tabled("tanh", of_torch("tanh"))
