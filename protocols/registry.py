"""Named variants, a file each: a registry finds one by its name, and loads it when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Generic, TypeVar

from privinf.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """The entries of a package: module `name` holds one as ENTRY; a module that begins with `_` holds none."""

    def __init__(self, package: str, what: str) -> None:
        self._package, self._what = package, what
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        """Add an entry without a file; ValueError where there is one of this name already."""
        if name in self.names():
            raise ValueError(f"{self._what} {name!r} is there already")
        self._entries[name] = entry
        return entry

    def forget(self, name: str) -> None:
        """Take out what `register` added."""
        del self._entries[name]

    def __getitem__(self, name: str) -> T:
        """ConfigError, with all names that there are, for any other."""
        if name not in self._entries:
            if name not in self.names():
                raise ConfigError(
                    f"{self._what} {name!r} is unknown; choose one of {', '.join(self.names())}"
                )
            self._entries[name] = import_module(f"{self._package}.{name}").ENTRY
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def names(self) -> tuple[str, ...]:
        """Of all entries, in order."""
        folders = import_module(self._package).__path__
        files = (module.name for module in iter_modules(folders))
        return tuple(sorted({*self._entries, *(name for name in files if not name.startswith("_"))}))
