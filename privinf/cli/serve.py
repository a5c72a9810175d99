"""Commands that serve: dealer, party, and up, which runs all three on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from privinf.cli.output import JsonFlag, emit_json, note

Model = Annotated[Path, typer.Option(help="This role's folder of a shared model.", envvar="PRIVINF_MODEL")]
Listen = Annotated[str | None, typer.Option(help="host:port; port 0 picks a free port.")]
File = Annotated[Path | None, typer.Option("--config", help="TOML file; options override it.")]
Ca = Annotated[Path | None, typer.Option(help="Certificate authority.", envvar="PRIVINF_CA")]
Cert = Annotated[Path | None, typer.Option(help="This role's certificate.", envvar="PRIVINF_CERT")]
Key = Annotated[Path | None, typer.Option(help="This role's private key.", envvar="PRIVINF_KEY")]
NoTls = Annotated[
    bool, typer.Option("--insecure-no-tls", help="No TLS: anyone on the network can read and forge messages.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (dealer, party, up):
        app.command()(command)


def tls_options(ca: Path | None, cert: Path | None, key: Path | None) -> dict[str, Path] | None:
    """The three paths as the configuration takes them."""
    given = {name: path for name, path in (("ca", ca), ("cert", cert), ("key", key)) if path is not None}
    return given or None


@contextmanager
def log_to_the_end(role: str) -> Iterator[None]:
    """Have all that a server says on stderr be lines of its log, the reason of its end too."""
    from privinf.cli import FILE_ERROR
    from privinf.errors import PrivinfError
    from privinf.parties.logs import Log
    from privinf.parties.stderr import own_stderr

    with own_stderr(role):
        try:
            yield
        except (PrivinfError, OSError) as error:
            Log(role).ended(error)
            code = error.exit_code if isinstance(error, PrivinfError) else FILE_ERROR
            raise typer.Exit(code) from error


def dealer(
    model: Model,
    config: File = None,
    listen: Listen = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
) -> None:
    """Run the dealer: it prepares correlated randomness for both parties and never sees a query."""
    from privinf.config import DealerConfig, load
    from privinf.models.programs import dealer_program
    from privinf.parties.serve import serve_dealer

    with log_to_the_end("dealer"):
        settings = load(
            DealerConfig,
            config,
            listen=listen,
            tls=tls_options(ca, cert, key),
            insecure_no_tls=insecure_no_tls or None,
        )
        serve_dealer(settings, dealer_program(model))


def party(
    model: Model,
    party: Annotated[int | None, typer.Option(help="0 or 1.")] = None,
    config: File = None,
    listen: Listen = None,
    dealer: Annotated[str | None, typer.Option(help="host:port of the dealer.")] = None,
    peer: Annotated[str | None, typer.Option(help="host:port of party 1; party 0 needs it.")] = None,
    store: Annotated[Path | None, typer.Option(help="Directory for preparations.")] = None,
    ahead: Annotated[int | None, typer.Option(help="Preparations to keep ready for each --shape.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="TASK:BATCH:TOKENS to prepare ahead, such as embed:1:32; repeatable."),
    ] = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
) -> None:
    """Run party 0 or party 1, which compute on shares."""
    from privinf.config import PartyConfig, load
    from privinf.models.programs import party_program
    from privinf.parties.serve import serve_party

    with log_to_the_end("party"):
        settings = load(
            PartyConfig,
            config,
            party=party,
            listen=listen,
            dealer=dealer,
            peer=peer,
            store=store,
            ahead=ahead,
            shapes=tuple(map(parse_shape, shape)) if shape else None,
            tls=tls_options(ca, cert, key),
            insecure_no_tls=insecure_no_tls or None,
        )
        serve_party(settings, party_program(model, settings.party))


def parse_shape(text: str) -> Any:
    """TASK:BATCH:TOKENS."""
    from privinf.errors import ConfigError
    from privinf.protocols.contract import QueryShape

    try:
        task, batch, tokens = text.split(":")
        return QueryShape(task, int(batch), int(tokens))
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a shape: write TASK:BATCH:TOKENS, such as embed:1:32") from error


def up(
    model: Annotated[Path, typer.Argument(help="The directory written by `privinf share`.")],
    work: Annotated[Path, typer.Option(help="Keys, stores and logs go here.")] = Path(".privinf"),
    ahead: Annotated[int, typer.Option(help="Preparations to keep ready for each --shape.")] = 0,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="TASK:BATCH:TOKENS to prepare ahead, such as embed:1:32; repeatable."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run the dealer and both parties on this machine until interrupted. For trying things out: it protects nothing."""
    import signal

    from privinf.local import LocalParties
    from privinf.models.source.checkpoint import read_spec

    shapes = tuple(map(parse_shape, shape or []))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with LocalParties(model, work, ahead=ahead, shapes=shapes) as local:
        settings = _client_settings(local, model, work)
        if as_json:
            emit_json(settings)
        else:
            verb = "generate" if read_spec(model / "client").task == "generate" else "embed"
            note(f"serving; ask with: privinf {verb} --model {model}/client --config {work}/client.toml TEXT")
        while not stop.wait(1.0):
            local.require_alive()


def _client_settings(local: Any, model: Path, work: Path) -> dict[str, Any]:
    """Write client.toml, from which the SDK and `privinf embed` reach these parties."""
    tls = {name: str(Path(path).resolve()) for name, path in vars(local.tls()).items()}
    lines = [f'parties = ["{local.addresses[0]}", "{local.addresses[1]}"]', "[tls]"]
    lines += [f'{name} = "{path}"' for name, path in tls.items()]
    path = work / "client.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"parties": list(local.addresses), "model": str(model / "client"), "config": str(path)}
