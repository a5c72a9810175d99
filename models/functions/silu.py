"""SiLU: x times its logistic function."""

from __future__ import annotations

from privinf.models.functions._tabled import Tabled, of_torch

ENTRY = Tabled("silu", of_torch("silu"))
