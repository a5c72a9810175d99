"""Commands of a client: embed and classify, of texts given as arguments or in a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from privinf.cli.output import JsonFlag, emit_json, note, progress
from privinf.cli.serve import Ca, Cert, Key, NoTls, tls_options

Texts = Annotated[list[str] | None, typer.Argument(help="Texts to ask about.")]
Model = Annotated[Path, typer.Option(help="The client's folder of a shared model.", envvar="PRIVINF_MODEL")]
File = Annotated[Path | None, typer.Option("--file", help="UTF-8 text, one text a line.")]
Config = Annotated[Path | None, typer.Option(help="client.toml with addresses and certificates.")]
Parties = Annotated[str | None, typer.Option(help="host:port,host:port of party 0 and party 1.")]
Deadline = Annotated[float | None, typer.Option(help="Seconds for each query.")]
Truncate = Annotated[bool, typer.Option(help="Cut texts that are too long.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (embed, classify):
        app.command()(command)


def embed(
    model: Model,
    texts: Texts = None,
    file: File = None,
    out: Annotated[
        Path | None, typer.Option(help="Write vectors here as .npy; resumed if interrupted.")
    ] = None,
    config: Config = None,
    parties: Parties = None,
    deadline: Deadline = None,
    truncate: Truncate = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
    as_json: JsonFlag = False,
) -> None:
    """Embed texts privately."""
    lines = asked_texts(texts, file)
    with client_of(model, config, parties, deadline, tls_options(ca, cert, key), insecure_no_tls) as client:
        if out is not None:
            _embed_to_file(client, lines, out, truncate, as_json)
            return
        with progress("embedding", len(lines)) as tick:
            answer = client.embed(lines, truncate=truncate, progress=tick)
    if as_json:
        emit_json({"embeddings": answer.vectors.tolist(), "stats": asdict(answer.stats)})
        return
    for text, vector in zip(lines, answer.vectors, strict=True):
        head = " ".join(f"{v:+.4f}" for v in vector[:4])
        typer.echo(f"{head} ...  {text}")
    _print_stats(answer.stats)


def classify(
    model: Model,
    texts: Texts = None,
    file: File = None,
    config: Config = None,
    parties: Parties = None,
    deadline: Deadline = None,
    truncate: Truncate = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
    as_json: JsonFlag = False,
) -> None:
    """Classify texts privately."""
    lines = asked_texts(texts, file)
    with (
        client_of(model, config, parties, deadline, tls_options(ca, cert, key), insecure_no_tls) as client,
        progress("classifying", len(lines)) as tick,
    ):
        answer = client.classify(lines, truncate=truncate, progress=tick)
    if as_json:
        emit_json({"labels": answer.labels, "logits": answer.logits.tolist(), "stats": asdict(answer.stats)})
        return
    for text, label in zip(lines, answer.labels, strict=True):
        typer.echo(f"{label}\t{text}")
    _print_stats(answer.stats)


def asked_texts(texts: list[str] | None, file: Path | None) -> list[str]:
    """The texts of a command's arguments, or of its --file; InputError unless it was one of both."""
    from privinf.errors import InputError
    from privinf.text import read_lines

    if bool(texts) == (file is not None):
        raise InputError("give texts as arguments, or a file with --file, and not both")
    return read_lines(file) if file is not None else list(texts or [])


def client_of(
    model: Path,
    config: Path | None,
    parties: str | None,
    deadline: float | None,
    tls: dict[str, Path] | None,
    insecure_no_tls: bool,
) -> Any:
    """The SDK's client, from a command's options."""
    from privinf.client import Client

    return Client(
        model,
        config=config,
        parties=parties.split(",") if parties else None,
        deadline=deadline,
        tls=tls,
        insecure_no_tls=insecure_no_tls or None,
    )


def _embed_to_file(client: Any, lines: list[str], out: Path, truncate: bool, as_json: bool) -> None:
    from privinf.batch import embed_file

    with progress("embedding", len(lines)) as tick:
        report = embed_file(client, lines, out, truncate=truncate, progress=tick)
    if as_json:
        emit_json(report)
    else:
        note(f"{report['done']} texts embedded now, {report['resumed']} before: {out}")


def _print_stats(stats: Any) -> None:
    note(
        f"{stats.rounds} rounds; online {stats.online_seconds:.2f} s, {stats.online_bytes / 1e6:.1f} MB sent by a"
        f" party; offline {stats.prepare_seconds:.2f} s, {stats.offline_bytes / 1e6:.1f} MB to both"
    )
