"""The directories of a shared model, one for each role: what is written into them, and how it is read back."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from privinf import __version__
from privinf.errors import FileError, ModelError
from privinf.protocols import prg
from privinf.protocols.contract import PROTOCOL, Topology
from privinf.protocols.ring import U64, Shape

FORMAT = 5
VERSION = f"{__version__}, protocol {PROTOCOL}"  # of what roles say to each other, attested by all
WEIGHTS, DIGEST = "weights.safetensors", ".sha256"
Mode = Literal["private", "public"]


def parties(topology: Topology) -> tuple[str, ...]:
    """The folders of those that compute."""
    return tuple(f"party{index}" for index in range(topology.parties))


def roles(topology: Topology) -> tuple[str, ...]:
    """The folders of all roles."""
    return ("client", *(("dealer",) if topology.dealer else ()), *parties(topology))


def begin(
    source: Path,
    folders: Mapping[str, Path],
    about: Mapping[str, object],
    files: Sequence[str],
    plan: str,
) -> str:
    """Fill every role's directory with its public part; return the fresh random id of this sharing."""
    sharing = secrets.token_hex(16)
    described = {
        "format": FORMAT,
        "version": __version__,
        "model": f"{source.resolve().name}-{sharing[:8]}",
        "sharing": sharing,
        **about,
    }
    for role, folder in folders.items():
        _write_public(source, folder, {**described, "role": role}, files, plan)
    return sharing


def _write_public(
    source: Path, target: Path, about: Mapping[str, object], files: Sequence[str], plan: str
) -> None:
    target.mkdir(parents=True, mode=0o700)
    for name in files:
        if (source / name).is_file():
            copy(source / name, target / name)
    (target / "bundle.json").write_text(json.dumps(about, indent=1))
    (target / "plan.json").write_text(plan)


def copy(source: Path, target: Path) -> None:
    """Copy one file, its folder too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def write_tensors(path: Path, tensors: Mapping[str, U64]) -> None:
    """A party's tensors with their digest: shares are multiplied by them, and one wrong bit is a wrong answer."""
    save_file(dict(tensors), path)
    path.with_suffix(DIGEST).write_text(_digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_seed(path: Path, seed: bytes) -> None:
    """A seed of weight masks, for its owner's eyes alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(seed)


def read_about(path: Path, role: str | None = None) -> tuple[dict[str, Any], str]:
    """What bundle.json says, and the text of plan.json; ModelError names what is missing or damaged.

    `role` is whose folder it must be, if that matters.
    """
    try:
        about = json.loads((path / "bundle.json").read_text())
        plan = (path / "plan.json").read_text()
        if about["format"] != FORMAT:
            raise ModelError(
                f"{path}: bundle format {about['format']} is not {FORMAT}: share the model again"
            )
        mode, found, *_ = (about[key] for key in ("weights", "role", "sharing", "model", "protocol"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"{path} is not a shared model ({error.filename} is missing): run `privinf share`"
        ) from error
    except OSError as error:
        raise FileError.unread(error.filename or path, error) from error
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}/bundle.json is damaged: share the model again") from error
    if mode not in ("private", "public"):
        raise ModelError(f"{path}: unknown kind of weights {mode!r}")
    if role is not None:
        require_role(path, found, role)
    return about, plan


def require_role(path: Path, found: str, role: str) -> None:
    """ModelError for another role's folder, which says where this one's is."""
    if role != found:
        beside = path.resolve().parent / role
        right = beside if beside.is_dir() else f"the folder {role} of the same shared model"
        raise ModelError(f"{path} is {found}'s folder, not {role}'s: give it {right}")


def read_tensors(path: Path, shapes: Mapping[str, Shape]) -> dict[str, U64]:
    """A party's weights as they were written, whose names and shapes must be these."""
    tensors = load(path)
    try:
        written = path.with_suffix(DIGEST).read_text().strip()
    except FileNotFoundError as error:
        raise ModelError(f"{path.with_suffix(DIGEST)} is missing: share the model again") from error
    except OSError as error:
        raise FileError.unread(path.with_suffix(DIGEST), error) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.with_suffix(DIGEST)} is damaged: share the model again") from error
    if _digest(path) != written:
        raise ModelError(
            f"{path} is damaged: it is not what was shared. Copy the folder again, or share again"
        )
    if {name: array.shape for name, array in tensors.items()} != dict(shapes):
        raise ModelError(f"{path} does not fit the model's configuration: share the model again")
    if any(array.dtype != np.uint64 for array in tensors.values()):
        raise ModelError(f"{path} holds no ring elements: share the model again")
    return tensors


def load(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: share the model again") from error
    except OSError as error:
        raise FileError.unread(path, error) from error
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged: share the model again") from error


def read_seed(path: Path) -> bytes:
    """A seed of weight masks."""
    try:
        seed = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: is this the directory of this role?") from error
    except OSError as error:
        raise FileError.unread(path, error) from error
    if len(seed) != prg.SEED_BYTES:
        raise ModelError(f"{path} is damaged: share the model again")
    return seed
