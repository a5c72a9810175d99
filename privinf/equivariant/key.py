"""The client's key of a converted model: what undoes its covers, kept in one file that no server ever sees."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from privinf.equivariant.about import damaged, read_written
from privinf.equivariant.levels import LEVELS
from privinf.errors import ConfigError, IntegrityError

FILE, ABOUT = "key.safetensors", "key.json"
FORMAT = 3
Ids = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KeyAbout:
    """What a key says of itself; nothing here is secret.

    Attributes:
        id: of this key and of the server's directory that was made with it, 32 hexadecimal digits.
        level: a name in LEVELS.
        family: of the plain model, a name in privinf.models.families.
        task: embed, classify or generate.
        model: fingerprint of the plain model.
        vocab: tokens, 0 for images.
        width: of the plain model; `server_width` that of the covered one.
        context: positions at most.
        labels: names of classes in the plain order.
        own_sha256: of the client's own part of the model at level session, else empty.
    """

    id: str
    level: str
    family: str
    task: str
    model: str
    vocab: int
    width: int
    server_width: int
    context: int
    labels: tuple[str, ...] = ()
    own_sha256: str = ""
    format: int = FORMAT


@dataclass(frozen=True, eq=False, kw_only=True)
class Covers:
    """What undoes the covers of a model.

    Attributes:
        tokens: the covered id of each plain id, (vocab,), or None where the server sees no ids or images.
        hidden: (width, server_width): covered hidden row = plain row @ hidden, or None where they are plain.
        answer: (server_width, width): plain answer row = covered row @ answer, or None where they are plain.
        labels: (labels, labels): plain logits = covered logits @ labels, or None.
        patches: (patch values, patch values): covered patch = plain patch @ patches, or None.
        places: the covered place of each patch, (patches,), or None.
    """

    tokens: Ids | None = field(default=None, repr=False)
    hidden: F64 | None = field(default=None, repr=False)
    answer: F64 | None = field(default=None, repr=False)
    labels: F64 | None = field(default=None, repr=False)
    patches: F64 | None = field(default=None, repr=False)
    places: Ids | None = field(default=None, repr=False)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is secret, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(Covers)}
        return {name: np.ascontiguousarray(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Key(Covers):
    """A key; it refuses to be shown, compared or pickled."""

    about: KeyAbout

    def __repr__(self) -> str:
        return f"<key {self.about.id[:8]} of level {self.about.level}>"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("keys are not compared")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not pickled; use save")

    def save(self, folder: Path) -> None:
        """Write both files, readable by their owner alone."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = save(self.arrays())
        about = asdict(self.about) | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        write_private(folder / FILE, data)
        write_private(folder / ABOUT, json.dumps(about, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> Key:
        """Read a key.

        Raises:
            ConfigError: there is none, or it is of another format.
            IntegrityError: it is cut short, changed or malformed.
        """
        about, data = _about(folder), read_written(folder / FILE)
        written = about.pop("bytes"), about.pop("sha256")
        if (len(data), hashlib.sha256(data).hexdigest()) != written:
            raise damaged(folder / FILE)
        key = cls(KeyAbout(**{**about, "labels": tuple(about["labels"])}), **_arrays(data, folder / FILE))
        key._check(folder)
        return key

    def _check(self, folder: Path) -> None:
        about, held = self.about, set(self.arrays())
        if missing := sorted(needed(about) - held):
            raise IntegrityError(f"{folder / FILE} lacks {', '.join(missing)}: cover the model again")
        wanted: Mapping[str, tuple[int, ...]] = {
            "tokens": (about.vocab,),
            "hidden": (about.width, about.server_width),
            "answer": (about.server_width, about.width),
            "labels": (len(about.labels),) * 2,
            "places": (about.context - 1,),
        }
        for name, value in self.arrays().items():
            if value.shape != wanted.get(name, value.shape):
                raise IntegrityError(f"{folder / FILE}: {name} has shape {value.shape}, not {wanted[name]}")
            if name in ("tokens", "places") and not _permutes(value):
                raise IntegrityError(f"{folder / FILE}: {name} is not a permutation")


def _permutes(value: np.ndarray) -> bool:
    return value.dtype == np.int64 and np.array_equal(np.sort(value), np.arange(len(value)))


def needed(about: KeyAbout) -> set[str]:
    """The arrays without which answers would be read wrongly; at level session each variant has its own."""
    if LEVELS[about.level].local:
        return set()
    names = {"tokens"} if about.vocab else set()
    if about.task == "classify":
        names.add("labels")
    if LEVELS[about.level].covers:
        names |= {"answer"} if about.task == "embed" else set()
        names |= set() if about.vocab else {"patches", "places"}
    return names


def _about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT
    try:
        about = json.loads(read_written(path))
    except ValueError:
        raise damaged(path) from None
    names = {f.name for f in fields(KeyAbout)} | {"sha256", "bytes"}
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ConfigError(f"{path} is not a key of format {FORMAT}: cover the model again")
    if set(about) != names or about["level"] not in LEVELS or not isinstance(about["labels"], list):
        raise damaged(path)
    return about


def _arrays(data: bytes, path: Path) -> dict[str, Any]:
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise IntegrityError(f"{path} is not safetensors ({error})") from None
    if unknown := sorted(set(arrays) - {f.name for f in fields(Covers)}):
        raise IntegrityError(f"{path} holds {', '.join(unknown)}, which is not part of a key")
    return arrays


def write_private(path: Path, data: bytes) -> None:
    """Write a file that its owner alone may read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
