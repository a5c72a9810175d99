"""Reads single settings out of a model directory's JSON files, and refuses by name what cannot be meant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from privinf.errors import FileError, ModelError
from privinf.models.functions import FUNCTIONS

Config = Mapping[str, Any]
Fixed = Mapping[str, tuple[Any, ...]]  # keys, and the values of each that are accepted, the usual one first


@dataclass(frozen=True)
class Keys:
    """The keys of one class of configurations: those we read, those with few values we implement, the rest."""

    config: str
    read: Set[str]
    fixed: Fixed = field(default_factory=dict)
    harmless: Set[str] = frozenset()

    def check(self, config: Config, path: Path) -> None:
        """Refuses a value that is not implemented, and a key that might mean anything."""
        for key, accepted in self.fixed.items():
            if key in config and config[key] not in accepted:
                raise ModelError(f"{path}: {key} {config[key]!r} is not supported; accepted: {accepted[0]!r}")
        unknown = sorted(set(config) - self.read - set(self.fixed) - self.harmless)
        if unknown:
            raise ModelError(
                f"{path}: unknown keys {', '.join(map(repr, unknown))} could change what the model computes; "
                f"accepted are the keys of {self.config}"
            )


def read_optional(path: Path, keys: Keys | None = None) -> dict[str, Any]:
    """The JSON object in `path`, with these keys alone; empty where there is no such file."""
    config = read_object(path) if path.exists() else {}
    if keys is not None:
        keys.check(config, path)
    return config


def read_json(path: Path) -> Any:
    """The JSON value in `path`, or a ModelError that names the file."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{path} is missing; a Hugging Face directory with config.json is needed") from None
    except OSError as error:
        raise FileError.unread(path, error) from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is not JSON in UTF-8") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a JSON {type(value).__name__}, not an object")
    return value


def size(config: Config, key: str, path: Path, default: int | None = None) -> int:
    """A positive integer."""
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{path}: {key} must be a positive integer, not {value!r}")
    return value


def size_or(config: Config, key: str, default: int, path: Path) -> int:
    """A positive integer that may be null or absent."""
    return default if config.get(key) is None else size(config, key, path)


def flag(config: Config, key: str, path: Path, default: bool) -> bool:
    """A truth value."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise ModelError(f"{path}: {key} must be true or false, not {value!r}")
    return value


def activation(config: Config, key: str, path: Path, default: str) -> str:
    """The name of an activation that we compute."""
    name = config.get(key, default)
    if name not in FUNCTIONS:
        raise ModelError(f"{path}: {key} {name!r} is not supported; accepted: {', '.join(FUNCTIONS.names())}")
    return str(name)


def epsilon(config: Config, key: str, path: Path, default: float) -> float:
    """What is added to a variance."""
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ModelError(f"{path}: {key} must lie between 0 and 1, not {value!r}")
    return float(value)


def architecture(config: Config, accepted: tuple[str, ...], path: Path) -> str:
    """The one class of transformers that the weights belong to; the first accepted one where none is named."""
    names = config.get("architectures") or list(accepted)[:1]
    if not isinstance(names, list) or len(names) != 1 or names[0] not in accepted:
        raise ModelError(
            f"{path}: architectures {names!r} is not supported; accepted: one of {', '.join(accepted)}"
        )
    return str(names[0])
