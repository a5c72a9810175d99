"""The weights of a shared model as its owner can still open them: with the folders of all roles in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from privinf.errors import ModelError
from privinf.models.decoder_bundle import EMBEDDINGS, DecoderBundle
from privinf.models.folder import Mode, read_seed, read_tensors
from privinf.models.weights import mask_share
from privinf.protocols.ring import U64, Shape


def opened(
    shared: str | os.PathLike[str], shapes: Mapping[str, Shape], mode: Mode, sharing: str
) -> dict[str, U64]:
    """All tensors that the parties hold, without their masks; ModelError where a folder is not there."""
    folder = Path(shared)
    tensors = read_tensors(folder / "party0" / "weights.safetensors", shapes)
    if mode == "public":
        return tensors
    for party in (0, 1):
        seed = read_seed(folder / f"party{party}" / "mask.seed")
        tensors = {
            name: value - mask_share(seed, sharing, name, value.shape) for name, value in tensors.items()
        }
    return tensors


def opened_decoder(shared: str | os.PathLike[str], bundle: DecoderBundle) -> dict[str, U64]:
    """The same of a decoder, whose embeddings may lie apart."""
    masked, shapes = bundle.masked(), bundle.shapes()
    if bundle.layout.public:
        return opened(shared, shapes, "public", bundle.sharing)
    apart = {name: shape for name, shape in shapes.items() if name not in masked}
    known = read_tensors(Path(shared) / "party0" / EMBEDDINGS, apart) if apart else {}
    return opened(shared, masked, "private", bundle.sharing) | known


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
