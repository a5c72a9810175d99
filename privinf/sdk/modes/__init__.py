"""The modes of a client by name: each is a module of this package, whose ENTRY opens the client's part of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from privinf.protocols.registry import Registry
from privinf.sdk.backend import Backend
from privinf.sdk.connection import Connection


@dataclass(frozen=True)
class Mode:
    """`options` are the fields of GenerationOptions that it knows; `open` reads the folder and dials nothing yet."""

    options: frozenset[str]
    open: Callable[[Path, Connection], Backend]


MODES: Registry[Mode] = Registry("privinf.sdk.modes", "mode")
