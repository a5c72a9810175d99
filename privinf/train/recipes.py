"""Finds recipes by name or path, and reads and overrides them, refusing what is no setting of a recipe."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from privinf.errors import ConfigError, FileError
from privinf.options import refuse_unknown
from privinf.train.recipe import Recipe

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FOLDER = "configurations"
LARGEST = 1 << 20  # bytes of a recipe
Table = Mapping[str, Any]
T = TypeVar("T", bound="DataclassInstance")


def names() -> tuple[str, ...]:
    """Of the recipes that ship with privinf."""
    files = resources.files("privinf.train").joinpath(FOLDER).iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def read(name: str, settings: Iterable[str] = ()) -> Recipe:
    """A recipe by its name or its file, with settings like `optimisation.rate=1e-3` in place of what it says.

    Raises:
        ConfigError: no such recipe, or one that is not TOML.
        OptionError: a setting that there is not, of another type, or out of its range.
    """
    return override(made(Recipe, _table(name)), settings)


def _table(name: str) -> Table:
    if name in names():
        text = resources.files("privinf.train").joinpath(f"{FOLDER}/{name}.toml").read_text("utf-8")
    elif (path := Path(name)).suffix == ".toml":
        text = _text(path)
    else:
        raise ConfigError(f"recipe {name!r} is unknown: choose one of {', '.join(names())}, or a file.toml")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not TOML: {error}") from None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path} is larger than {LARGEST} bytes, and no recipe")
        return path.read_text("utf-8")
    except OSError as error:
        raise FileError.unread(path, error) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8, and no recipe") from None


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with some settings changed, each spelled SECTION.NAME=VALUE or NAME=VALUE."""
    table: dict[str, Any] = {}
    for setting in settings:
        place, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(
                f"--set {setting}: write it as section.name=value, such as optimisation.rate=1e-3"
            )
        section, dot, name = place.strip().partition(".")
        into = table.setdefault(section, {}) if dot else table
        into[name if dot else section] = _value(value.strip())
    return changed(recipe, table)


def _value(text: str) -> Any:
    """As TOML takes it; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def changed(recipe: Recipe, table: Table) -> Recipe:
    """The recipe with some of its sections' settings in place of its own."""
    whole = asdict(recipe)
    for key, value in table.items():
        mixed = isinstance(value, Mapping) and isinstance(whole.get(key), dict)
        whole[key] = whole[key] | dict(value) if mixed else value
    return made(Recipe, whole)


def made(kind: type[T], table: Table, where: str = "") -> T:
    """A section from a table: each name and each type is checked."""
    hints = get_type_hints(kind)
    refuse_unknown((f"{where}{name}" for name in table), [f"{where}{name}" for name in hints])
    values = {}
    for name, value in table.items():
        place, wanted = f"{where}{name}", hints[name]
        if isinstance(wanted, type) and is_dataclass(wanted):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{place} is a section of settings, not one: name one of them")
            values[name] = made(wanted, value, f"{place}.")
        else:
            values[name] = _typed(place, value, wanted)
    for item in fields(kind):
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"{where}{item.name} is missing")
    return kind(**values)


def _typed(place: str, value: Any, wanted: Any) -> Any:
    if get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            raise ConfigError(f"{place} must be one of {', '.join(get_args(wanted))}, not {value!r}")
        return value
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted or (wanted is float and value - value != 0):
        raise ConfigError(f"{place} must be {KINDS[wanted]}, not {value!r}")
    return value


KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def document(recipe: Recipe) -> dict[str, Any]:
    """As JSON and checkpoints have it."""
    return asdict(recipe)


def differences(one: Table, other: Table, where: str = "") -> list[str]:
    """The settings in which two documents of recipes differ, by name."""
    found = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{where}{name}.")
        elif json.dumps(a) != json.dumps(b):
            found.append(f"{where}{name}")
    return found


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """The same with another seed."""
    return replace(recipe, seed=seed)
