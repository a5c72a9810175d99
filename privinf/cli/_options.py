"""Options of commands: a dataclass declares them once, and a command takes it whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
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


def with_options(*kinds: type) -> Callable[[Command], Command]:
    """Have a command that takes such dataclasses take one option for each of their fields."""

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        whole, parameters = dict[str, type](), list[inspect.Parameter]()
        for name, parameter in inspect.signature(command).parameters.items():
            if hints[name] in kinds:
                whole[name] = hints[name]
                parameters += _parameters(hints[name])
            else:
                kind = inspect.Parameter.KEYWORD_ONLY
                parameters.append(parameter.replace(kind=kind, annotation=hints[name]))

        @wraps(command)
        def run(**given: Any) -> None:
            for name, kind in whole.items():
                values = {item.name: given.pop(item.name) for item in fields(kind)}
                given[name] = kind(**{key: value for key, value in values.items() if value is not None})
            command(**given)

        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameters(kind: type) -> Iterator[inspect.Parameter]:
    """One for each field, with its default and its help."""
    hints = get_type_hints(kind)
    for item in sorted(fields(kind), key=lambda item: item.name not in kind.__annotations__):  # its own first
        typed = item.metadata.get("typed", hints[item.name])
        several = get_origin(typed) is list
        flags = [f"--{item.name.replace('_', '-')}"] if typed is bool else []  # and no --no-...
        default = None if several else item.default
        said = typer.Option(default, *flags, help=item.metadata["help"], envvar=item.metadata.get("envvar"))
        annotation = typed | None if default is None else typed
        keyword = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(item.name, keyword, default=said, annotation=annotation)


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
        from privinf.config import load

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

    def client(self, model: Path) -> Client:
        """The SDK's client."""
        from privinf.sdk.client import Client

        return Client(
            model,
            mode=self.mode,
            parties=self.parties.split(",") if self.parties else None,
            server=self.server,
            tls=self.tls,
            deadline=self.deadline,
            insecure_no_tls=self.insecure_no_tls or None,
            config=self.config,
        )
