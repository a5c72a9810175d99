"""The modes of a client by name: each is a module of this package, whose ENTRY opens the client's part of a model."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from privinf.errors import InputError
from privinf.sdk.backend import Backend
from privinf.sdk.connection import Connection


@dataclass(frozen=True)
class Mode:
    """`options` are the fields of GenerationOptions that it knows; `open` reads the folder and dials nothing yet."""

    options: frozenset[str]
    open: Callable[[Path, Connection], Backend]


_ENTRIES: dict[str, Mode] = {}  # those that were used, and those of others


def register(name: str, mode: Mode) -> Mode:
    """Add a mode of one's own; a name twice is refused."""
    if name in names():
        raise InputError(f"{name!r} is a mode already")
    _ENTRIES[name] = mode
    return mode


def names() -> tuple[str, ...]:
    """What can be chosen."""
    return tuple(sorted({*_ENTRIES, *(module.name for module in pkgutil.iter_modules(__path__))}))


def mode_named(name: str) -> Mode:
    """The mode of that name; it is imported when it is first chosen."""
    if name not in names():
        raise InputError(f"{name!r} is not a mode: choose {' or '.join(names())}")
    if name not in _ENTRIES:
        entry: Mode = import_module(f"{__name__}.{name}").ENTRY
        _ENTRIES[name] = entry
    return _ENTRIES[name]
