"""The weights of a shared model as its owner can still open them: with the folders of all roles in one place."""

from __future__ import annotations

import os
from pathlib import Path

from privinf.errors import ModelError
from privinf.models.programs.layout import Layout
from privinf.models.sharing import folder
from privinf.models.sharing.bundle import Bundle, known
from privinf.protocols.ring import U64


def opened(shared: str | os.PathLike[str], bundle: Bundle[Layout]) -> dict[str, U64]:
    """All tensors that the parties hold, as ring elements; ModelError where a folder is not there."""
    folders = {role: Path(shared) / role for role in folder.roles(bundle.scheme.topology)}
    tensors = known(folders["party0"], bundle.layout)
    return tensors | bundle.scheme.opened(bundle, folders) if bundle.layout.masked else tensors


def require_whole(shared: str | os.PathLike[str]) -> Path:
    """The directory that `privinf share` wrote, in which the folders of all roles are."""
    whole = Path(shared)
    missing = [
        role for role in ("client", "party0", "party1") if not (whole / role / "bundle.json").is_file()
    ]
    if missing:
        raise ModelError(
            f"{whole} lacks {', '.join(missing)}: give the directory that `privinf share` wrote, before its "
            "folders go to their roles"
        )
    return whole
