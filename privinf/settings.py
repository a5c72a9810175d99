"""Reads the configuration of a role: arguments win over the environment, that over a TOML file, that over defaults."""

from __future__ import annotations

import difflib
import os
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from privinf.addresses import Address
from privinf.config import PREFIX, ROLES, Config, Tls, read_address
from privinf.errors import ConfigError, FileError
from privinf.protocols.contract import QueryShape


def load(kind: type[Config], path: str | os.PathLike[str] | None = None, **explicit: Any) -> Config:
    """Return a configuration: arguments win over the environment, that over the file, that over defaults."""
    told = {name: value for name, value in explicit.items() if value is not None}
    values = _read(
        kind, _from_file(kind, Path(path)) if path is not None else {}, lambda name: f"{path}: {name}"
    )
    _merge(values, _read(kind, _from_environment(kind), lambda name: PREFIX + name.upper()))
    _merge(values, _read(kind, told, lambda name: f"{name} (--{name.replace('_', '-')})"))
    return _build(kind, values, "the configuration")


def _read(kind: type[Config], values: Mapping[str, Any], named: Callable[[str], str]) -> dict[str, Any]:
    """Convert what one source says, and name the source of what cannot be; a table of certificates waits for others."""
    hints = get_type_hints(kind)
    return {
        name: value if name == "tls" or name not in hints else _convert(hints[name], value, named(name))
        for name, value in values.items()
    }


def _from_file(kind: type[Config], path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FileError.unread(path, error) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: byte {error.start} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    _refuse_unknown(set(values), {item.name for item in fields(kind)}, str(path))
    return values


def _from_environment(kind: type[Config]) -> dict[str, Any]:
    """Read PRIVINF_*; a slip of one of our names is refused, others are someone else's."""
    tls = {item.name for item in fields(Tls)}
    known = {item.name for role in ROLES for item in fields(role)} - {"tls"} | tls
    ours = {item.name for item in fields(kind)}
    values: dict[str, Any] = {}
    for variable, text in os.environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX):
            continue
        if name in tls:
            values.setdefault("tls", {})[name] = text
        elif name in ours - {"tls"}:
            values[name] = text
        elif name not in known and (close := difflib.get_close_matches(name, known, 1, 0.75)):
            raise ConfigError(f"{variable} is unknown: did you mean {PREFIX}{close[0].upper()}?")
    return values


def _merge(values: dict[str, Any], above: Mapping[str, Any]) -> None:
    below, over = values.get("tls"), above.get("tls")
    values.update(above)
    if isinstance(below, dict) and isinstance(over, dict):
        values["tls"] = below | over


def _build(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    hints = get_type_hints(kind)
    _refuse_unknown(set(values), set(hints), where)
    needed = [item.name for item in fields(kind) if item.default is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ConfigError(f"{where} lacks {', '.join(missing)}{_ways(kind, missing)}")
    return kind(**{name: _convert(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _ways(kind: type[Any], names: Sequence[str]) -> str:
    """How what is missing can be given; a shape is written as a whole."""
    if kind not in (*ROLES, Tls):
        return ""
    flags = " and ".join(f"--{name.replace('_', '-')}" for name in names)
    variables = " and ".join(PREFIX + name.upper() for name in names)
    return f": give {flags}, {variables}, or --config with a file that sets it"


def _refuse_unknown(given: set[str], known: set[str], where: str) -> None:
    for name in sorted(given - known):
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(sorted(known))}"
        raise ConfigError(f"{where}: {name} is unknown: {hint}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Turn a value of TOML, or the text of a variable, into the field's type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(arguments[0], value, where)
    if origin is tuple:
        return _convert_tuple(arguments[0], value, where)
    if hint in (int, float) and isinstance(value, bool):  # bool is an int to Python, never to us
        raise _unfit(where, hint, value)
    if isinstance(value, hint):
        return value
    if hint is Address and isinstance(value, str):
        return read_address(value, where)
    if hint in (Tls, QueryShape) and isinstance(value, Mapping):
        return _build(hint, value, where)
    convert = _FROM_TEXT.get(hint)
    if hint is float and isinstance(value, int):
        return float(value)
    if convert is None or not isinstance(value, str):
        raise _unfit(where, hint, value)
    try:
        return convert(value)
    except (ValueError, KeyError) as error:
        raise _unfit(where, hint, value) from error


_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    Address: "an address, host:port",
    Tls: "a table of ca, cert and key",
    QueryShape: "a shape, such as embed:1:32",
    tuple: "a list",
    list: "a list",
    str: "text",
    dict: "a table",
}


def _unfit(where: str, hint: type[Any], value: object) -> ConfigError:
    """A value of the wrong kind, which may be a secret in the wrong place and is not shown."""
    found = "other text" if type(value) is str else _KINDS.get(type(value), type(value).__name__)
    return ConfigError(f"{where}: {_KINDS[hint]} is needed, not {found}")


def _convert_tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = [item for item in value.split(",") if item] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise _unfit(where, tuple, value)
    return tuple(_convert(hint, item, where) for item in items)


def read_shape(text: str) -> QueryShape:
    """TASK:BATCH:TOKENS, as in embed:1:128; ValueError for anything else."""
    task, batch, tokens = text.split(":")
    return QueryShape(task, int(batch), int(tokens))


_FROM_TEXT: dict[Any, Callable[[str], Any]] = {
    bool: lambda text: {"1": True, "true": True, "0": False, "false": False}[text.lower()],
    int: int,
    float: float,
    Path: Path,
    QueryShape: read_shape,
}
