"""Checkpoints: a safetensors file that appears whole or not at all; what is no tensor is JSON in its header."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from privinf.errors import FileError, InputError

FILE = "checkpoint.safetensors"
VERSION = 1
ABOUT = "privinf"  # the key of the header under which the JSON lies
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what is no tensor: where the run stands, its recipe and its history."""

    tensors: dict[str, npt.NDArray[Any]]
    about: dict[str, Any]

    def part(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Its tensors under `prefix/`, without that."""
        return {
            name.removeprefix(f"{prefix}/"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(f"{prefix}/")
        }


def write(path: Path, tensors: Arrays, about: Mapping[str, Any]) -> None:
    """Replace the file at once: after a crash there is the old one or the new one."""
    text = json.dumps({"version": VERSION, **about})
    whole = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    replace(path, save(whole, {ABOUT: text}))


def replace(path: Path, data: bytes) -> None:
    """Write a file under another name, force it to disk, and give it its own."""
    try:
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FileError.unwritten(path, error) from error


def write_json(path: Path, document: Any) -> None:
    """A document, whole or not at all."""
    replace(path, json.dumps(document, indent=1).encode() + b"\n")


def digest(path: Path) -> str:
    """SHA-256 of a file; FileError where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError.unread(path, error) from None


def read(path: Path) -> Checkpoint | None:
    """What was written last; none where nothing was.

    Raises:
        InputError: the file is damaged, or of another version.
    """
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})[ABOUT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = about["version"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError.unread(path, error) from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}): remove it to begin again") from None
    if version != VERSION:
        raise InputError(f"{path} is of version {version}, not {VERSION}: remove it to begin again")
    return Checkpoint(tensors, about)
