"""GELU, by the error function."""

from __future__ import annotations

from privinf.models.functions._tabled import Tabled, of_torch

ENTRY = Tabled("gelu", of_torch("gelu"))
