"""What a server's directory says of its covered model: public facts, and which key it belongs to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from privinf.equivariant.levels import LEVELS, Level
from privinf.errors import ConfigError, FileError, IntegrityError, ModelError

FILE = "about.json"
WEIGHTS = "model.safetensors"
FORMAT = 2
TASKS = ("embed", "classify", "generate")
FACTS = {"id": str, "level": str, "family": str, "task": str, "width": int, "vocab": int, "context": int}


@dataclass(frozen=True)
class ServerAbout:
    """about.json of a directory that `privinf cover` wrote for the server."""

    id: str
    level: str
    family: str
    task: str
    width: int
    vocab: int
    context: int
    model_sha256: str = ""  # of the folder's own weights; a folder of variants has none

    @property
    def what(self) -> Level:
        """Its level."""
        return LEVELS[self.level]


def read_about(folder: Path) -> ServerAbout:
    """Read about.json.

    Raises:
        ConfigError: it is none, or of another format.
    """
    path = folder / FILE
    try:
        about = json.loads(read_written(path))
    except ValueError:
        raise ConfigError(f"{path} is not JSON: copy it again, or cover the model again") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ConfigError(f"{path} is not of format {FORMAT}: cover the model again")
    return _checked(about, path)


def _checked(about: dict[str, Any], path: Path) -> ServerAbout:
    known = {item.name: about[item.name] for item in fields(ServerAbout) if item.name in about}
    whole = all(isinstance(known.get(name), kind) for name, kind in FACTS.items())
    if not whole or known["level"] not in LEVELS or known["task"] not in TASKS:
        raise ConfigError(f"{path} does not say what it should: cover the model again")
    return ServerAbout(**known)


def check_weights(folder: Path, about: ServerAbout) -> None:
    """Refuse weights that are not those that were written beside about.json."""
    if digest(folder / WEIGHTS) != about.model_sha256:
        raise damaged(folder / WEIGHTS)


def read_written(path: Path) -> bytes:
    """A file of a converted model; ConfigError where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: `privinf cover` writes it") from None
    except OSError as error:
        raise FileError.unread(path, error) from None


def damaged(path: Path) -> IntegrityError:
    """What is said of a file that is not as it was written."""
    return IntegrityError(f"{path} is cut short or changed: copy it again, or cover the model again")


def digest(*paths: Path) -> str:
    """SHA-256 over files, one after the other."""
    total = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: total)
        except FileNotFoundError:
            raise ModelError(f"{path} is missing: cover the model again, or copy all of its folder") from None
        except OSError as error:
            raise FileError.unread(path, error) from None
    return total.hexdigest()
