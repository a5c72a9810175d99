"""Commands that serve: dealer, party, up, which runs all three on this machine, and serve, for covered models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privinf.cli._options import Model, ServerOptions
from privinf.cli.output import JsonFlag, emit_json, note
from privinf.options import option

if TYPE_CHECKING:
    from privinf.local import LocalParties
    from privinf.protocols.contract import QueryShape

SHAPES: list[str] | None = option(None, "TASK:BATCH:TOKENS to prepare ahead, such as embed:1:32; repeatable.")


@contextmanager
def log_to_the_end(role: str) -> Iterator[None]:
    """Have all that a server says on stderr be lines of its log, the reason of its end too."""
    from privinf.errors import FileError, PrivinfError
    from privinf.parties.logs import Log
    from privinf.parties.stderr import own_stderr

    with own_stderr(role):
        try:
            yield
        except (PrivinfError, OSError) as error:
            known = error if isinstance(error, PrivinfError) else FileError.of(error)
            Log(role).ended(known)
            raise typer.Exit(known.exit_code) from error


def dealer(model: Model, server: ServerOptions) -> None:
    """Run the dealer: it prepares correlated randomness for both parties and never sees a query."""
    from privinf.config import DealerConfig
    from privinf.models.sharing.bundle import dealer_program
    from privinf.parties.serve import DealerServer, serve_until_stopped
    from privinf.protocols import kernels

    with log_to_the_end("dealer"):
        settings = server.settings(DealerConfig)
        kernels.use_threads(settings.threads)
        serve_until_stopped(DealerServer(settings, dealer_program(model)))


def party(
    model: Model,
    server: ServerOptions,
    party: int | None = option(None, "0 or 1."),
    dealer: str | None = option(None, "host:port of the dealer."),
    peer: str | None = option(None, "host:port of party 1; party 0 needs it."),
    store: Path | None = option(None, "Directory for preparations."),
    ahead: int | None = option(None, "Preparations to keep ready for each --shape."),
    shape: list[str] | None = SHAPES,
) -> None:
    """Run party 0 or party 1, which compute on shares."""
    from privinf.config import PartyConfig
    from privinf.models.sharing.bundle import party_program
    from privinf.parties.serve import PartyServer, serve_until_stopped
    from privinf.protocols import kernels

    with log_to_the_end("party"):
        own = {"party": party, "dealer": dealer, "peer": peer, "store": store, "ahead": ahead}
        shapes = tuple(map(parse_shape, shape)) if shape else None
        settings = server.settings(PartyConfig, shapes=shapes, **own)
        kernels.use_threads(settings.threads)
        serve_until_stopped(PartyServer(settings, party_program(model, settings.party)))


def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The server's part: OUT/server of `privinf cover`.")
    ],
    server: ServerOptions,
    threads: int | None = option(None, "Threads for torch; 0 lets it choose [0]."),
    max_sessions: int | None = option(None, "The most generations and sessions at once [8]."),
    max_tokens: int | None = option(
        None, "The most tokens in prompt and answer together; 0 is the model's limit [0]."
    ),
) -> None:
    """Serve a covered model in the equivariant mode, without the key or plain values: obfuscation, not encryption."""
    from privinf.config import EquivariantConfig
    from privinf.equivariant.levels import warn_once
    from privinf.equivariant.serving.server import serve as run

    with log_to_the_end("equivariant"):
        limits = {"threads": threads, "max_sessions": max_sessions, "max_tokens": max_tokens}
        settings = server.settings(EquivariantConfig, **limits)
        warn_once()
        run(folder, settings)


def parse_shape(text: str) -> QueryShape:
    """TASK:BATCH:TOKENS."""
    from privinf.errors import ConfigError
    from privinf.settings import read_shape

    try:
        return read_shape(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a shape: write TASK:BATCH:TOKENS, such as embed:1:32") from error


def up(
    model: Annotated[Path, typer.Argument(help="The directory written by `privinf share`.")],
    work: Path = option(Path(".privinf"), "Keys, stores and logs go here."),
    ahead: int = option(0, "Preparations to keep ready for each --shape."),
    shape: list[str] | None = SHAPES,
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
    local = LocalParties(model, work, ahead=ahead, shapes=shapes)
    with local.alone(), local:
        settings = _client_settings(local, model, work)
        if as_json:
            emit_json(settings)
        else:
            verb = "generate" if read_spec(model / "client").task == "generate" else "embed"
            note(f"serving; ask with: privinf {verb} --model {model}/client --config {work}/client.toml TEXT")
        while not stop.wait(1.0):
            local.require_alive()


def _client_settings(local: LocalParties, model: Path, work: Path) -> dict[str, Any]:
    """Write client.toml, from which the SDK and `privinf embed` reach these parties."""
    from privinf.local import CLIENT_FILE

    tls = {name: str(Path(path).resolve()) for name, path in vars(local.tls()).items()}
    lines = [f'parties = ["{local.addresses[0]}", "{local.addresses[1]}"]']
    lines += [f'dealer = "{local.nodes["dealer"].address}"  # for `privinf status`', "[tls]"]
    lines += [f'{name} = "{path}"' for name, path in tls.items()]
    path = work / CLIENT_FILE
    part = path.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(path)  # whoever waits for it reads it whole
    return {"parties": list(local.addresses), "model": str(model / "client"), "config": str(path)}
