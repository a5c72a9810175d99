"""Options of commands: a dataclass declares them once, and a command takes it whole."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

import typer

from privinf.options import option
from privinf.sdk.options import ModeName

if TYPE_CHECKING:
    from privinf.config import Config
    from privinf.sdk.client import Client

Command = Callable[..., None]
Model = Annotated[
    Path, typer.Option(help="This role's folder of a shared or a covered model.", envvar="PRIVINF_MODEL")
]


def with_options(command: Command) -> Command:
    """Have a command take what `option` declares: its own defaults, and fields of dataclasses that it takes whole."""
    hints = get_type_hints(command, include_extras=True)
    whole = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    parameters = list[inspect.Parameter]()
    for name, parameter in inspect.signature(command).parameters.items():
        if name in whole:
            parameters += _parameters(whole[name])
        else:
            parameters.append(_parameter(name, hints[name], parameter.default))

    @wraps(command)
    def run(**given: Any) -> None:
        for name, kind in whole.items():
            values = {item.name: given.pop(item.name) for item in fields(kind)}
            given[name] = kind(**{key: value for key, value in values.items() if value is not None})
        command(**given)

    run.__dict__["__signature__"] = inspect.Signature(parameters)
    return run


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    """One for each field, with its default and its help."""
    hints = get_type_hints(kind)
    for item in sorted(fields(kind), key=lambda item: item.name not in kind.__annotations__):  # its own first
        yield _parameter(item.name, hints[item.name], item)


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    """One option, as `option` declares it or as typer takes it."""
    if isinstance(default, Field):
        spelled = dict(default.metadata)
        hint = spelled.pop("typed", hint)
        flags = [spelled.pop("flag", f"--{name.replace('_', '-')}")]  # of a bool no --no-...
        value = None if get_origin(hint) is list else default.default
        hint = hint | None if value is None else hint
        default = typer.Option(value, *flags, **spelled)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def refuse(names: Iterable[str], why: str) -> None:
    """Raise ConfigError for options that were given and mean nothing here."""
    from privinf.errors import ConfigError

    if flags := [f"--{name.replace('_', '-')}" for name in names]:
        raise ConfigError(f"{', '.join(flags)}: this is for {why}")


@dataclass(frozen=True)
class TlsOptions:
    """A role's certificate."""

    ca: Path | None = option(None, "Certificate authority.", envvar="PRIVINF_CA")
    cert: Path | None = option(None, "This role's certificate.", envvar="PRIVINF_CERT")
    key: Path | None = option(None, "This role's private key.", envvar="PRIVINF_KEY")
    insecure_no_tls: bool = option(False, "No TLS: anyone on the network can read and forge messages.")

    @property
    def tls(self) -> dict[str, Path] | None:
        """The three paths as the configuration takes them."""
        paths = {"ca": self.ca, "cert": self.cert, "key": self.key}
        return {name: path for name, path in paths.items() if path is not None} or None


@dataclass(frozen=True)
class ServerOptions(TlsOptions):
    """What every server is told."""

    config: Path | None = option(None, "TOML file; options override it.")
    listen: str | None = option(None, "host:port; port 0 picks a free port.")

    def settings(self, kind: type[Config], **given: Any) -> Config:
        """Its configuration, with the options that are its own."""
        from privinf.settings import load

        given |= {"listen": self.listen, "tls": self.tls, "insecure_no_tls": self.insecure_no_tls or None}
        return load(kind, self.config, **given)


@dataclass(frozen=True)
class ClientOptions(TlsOptions):
    """How a client reaches its servers, and how long it waits."""

    mode: ModeName = option(
        "private",
        "private: two parties that learn nothing; equivariant: one server at plain speed, obfuscation alone.",
    )
    config: Path | None = option(
        None, "client.toml with addresses and certificates.", envvar="PRIVINF_CONFIG"
    )
    parties: str | None = option(None, "Private mode: host:port,host:port of party 0 and party 1.")
    server: str | None = option(None, "Equivariant mode: host:port of the server.")
    deadline: float | None = option(
        None, "Seconds for each query or pass; in the equivariant mode for a whole answer."
    )

    def settings(self, kind: type[Config], **given: Any) -> Config:
        """The configuration of a command that asks without a model."""
        _quiet_handshakes()
        from privinf.sdk.connection import Connection

        return Connection(**self._told()).settings(kind, **given)

    def client(self, model: Path) -> Client:
        """The SDK's client."""
        _quiet_handshakes()
        from privinf.sdk.client import Client

        return Client(model, mode=self.mode, **self._told())

    def _told(self) -> dict[str, Any]:
        """What says how the servers are reached."""
        return {
            "parties": self.parties.split(",") if self.parties else None,
            "server": self.server,
            "tls": self.tls,
            "deadline": self.deadline,
            "insecure_no_tls": self.insecure_no_tls or None,
            "config": self.config,
        }


def _quiet_handshakes() -> None:
    """Leave what gRPC prints of failed handshakes to our own errors, which say it; it reads this when it is loaded."""
    if "grpc" not in sys.modules:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
