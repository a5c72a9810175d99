"""The weights of a shared model as its owner can still open them: with the folders of all roles in one place."""

from __future__ import annotations

import os
from pathlib import Path

from privinf.errors import ModelError
from privinf.models.engines.stores import mask_share
from privinf.models.programs.layout import Layout
from privinf.models.sharing.bundle import EMBEDDINGS, Bundle
from privinf.models.sharing.folder import WEIGHTS, read_seed, read_tensors
from privinf.protocols.ring import U64


def opened(shared: str | os.PathLike[str], bundle: Bundle[Layout]) -> dict[str, U64]:
    """All tensors that the parties hold, without their masks; ModelError where a folder is not there."""
    folder, layout = Path(shared), bundle.layout
    shapes = layout.masked or layout.model.shapes()
    tensors = read_tensors(folder / "party0" / WEIGHTS, shapes)
    apart = {name: shape for name, shape in layout.model.shapes().items() if name not in shapes}
    known = read_tensors(folder / "party0" / EMBEDDINGS, apart) if apart else {}
    for party in () if layout.public else (0, 1):
        seed = read_seed(folder / f"party{party}" / "mask.seed")
        tensors = {
            name: value - mask_share(seed, bundle.sharing, name, value.shape)
            for name, value in tensors.items()
        }
    return tensors | known


def require_whole(shared: str | os.PathLike[str]) -> Path:
    """The directory that `privinf share` wrote, in which the folders of all roles are."""
    folder = Path(shared)
    missing = [
        role for role in ("client", "party0", "party1") if not (folder / role / "bundle.json").is_file()
    ]
    if missing:
        raise ModelError(
            f"{folder} lacks {', '.join(missing)}: give the directory that `privinf share` wrote, before its "
            "folders go to their roles"
        )
    return folder
