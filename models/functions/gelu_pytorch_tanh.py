"""The same as gelu_new, by another name in configurations."""

from __future__ import annotations

from privinf.models.functions.gelu_new import ENTRY as ENTRY
