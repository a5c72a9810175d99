"""The equivariant mode, which stands in a package of its own: obfuscation, not encryption."""

from __future__ import annotations

from privinf.equivariant.mode import ENTRY as ENTRY
