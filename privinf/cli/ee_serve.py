"""Commands of the equivariant mode's operator: serve, and keygen for its two roles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privinf.cli.output import JsonFlag, emit_json, note
from privinf.cli.serve import Ca, Cert, File, Key, Listen, NoTls, log_to_the_end, tls_options


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (serve, keygen):
        app.command()(command)


def serve(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The server's part: OUT/server of `ee convert`.")
    ],
    config: File = None,
    listen: Listen = None,
    threads: Annotated[int | None, typer.Option(help="Threads for torch; 0 lets it choose [0].")] = None,
    max_sessions: Annotated[
        int | None, typer.Option(help="The most generations and sessions at once [8].")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="The most tokens in prompt and answer together; 0 is the model's limit [0]."),
    ] = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
) -> None:
    """Serve a covered model, without the key or plain values; obfuscation, not encryption."""
    from privinf.config import EquivariantConfig, load
    from privinf.equivariant.levels import warn_once
    from privinf.equivariant.serving.server import serve as run

    with log_to_the_end("equivariant"):
        settings = load(
            EquivariantConfig,
            config,
            listen=listen,
            threads=threads,
            max_sessions=max_sessions,
            max_tokens=max_tokens,
            tls=tls_options(ca, cert, key),
            insecure_no_tls=insecure_no_tls or None,
        )
        warn_once()
        run(folder, settings)


def keygen(
    out: Annotated[Path, typer.Option(help="Directory for the authority and both roles' certificates.")],
    host: Annotated[
        list[str] | None, typer.Option(help="Host name or address of the server; repeatable.")
    ] = None,
    days: Annotated[int, typer.Option(help="How many days the certificates are valid.")] = 365,
    force: Annotated[bool, typer.Option(help="Overwrite what exists.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Create a certificate authority for this mode, and certificates for its server and its clients."""
    from privinf.keys import EQUIVARIANT_ROLES, LOCAL_HOSTS
    from privinf.keys import keygen as run

    paths = run(out, host or LOCAL_HOSTS, days=days, force=force, roles=EQUIVARIANT_ROLES)
    if as_json:
        emit_json({name: str(path) for name, path in paths.items()})
        return
    note("move equivariant.key to the server, client.key to the client, and ca.key away from both")
    typer.echo(out)
