"""Commands of a client: embed and classify, of texts given as arguments or in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from privinf.cli.output import JsonFlag, emit_json, note, progress
from privinf.cli.serve import Ca, Cert, Key, NoTls, tls_options

Texts = Annotated[list[str] | None, typer.Argument(help="Texts.")]
Model = Annotated[Path, typer.Option(help="The client's folder of a shared model.", envvar="PRIVINF_MODEL")]
File = Annotated[Path | None, typer.Option("--file", help="UTF-8 text, one text a line; - is stdin.")]
Config = Annotated[
    Path | None, typer.Option(help="client.toml with addresses and certificates.", envvar="PRIVINF_CONFIG")
]
Parties = Annotated[str | None, typer.Option(help="host:port,host:port of party 0 and party 1.")]
Deadline = Annotated[float | None, typer.Option(help="Seconds for each query.")]
Truncate = Annotated[bool, typer.Option(help="Truncate texts that are too long.")]
PromptName = Annotated[
    str | None,
    typer.Option(help="Which of the model's prompts to put before each text [the model's default]."),
]
Special = Annotated[
    bool,
    typer.Option(
        "--special-tokens",
        help="Turn control tokens spelled in the text ([SEP]) into tokens; never for other people's text.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (embed, classify):
        app.command()(command)


def embed(
    model: Model,
    texts: Texts = None,
    file: File = None,
    out: Annotated[Path | None, typer.Option(help="Write vectors here as .npy; run again to resume.")] = None,
    config: Config = None,
    parties: Parties = None,
    deadline: Deadline = None,
    truncate: Truncate = False,
    prompt_name: PromptName = None,
    special_tokens: Special = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
    as_json: JsonFlag = False,
) -> None:
    """Embed texts privately."""
    lines = asked_texts(texts, file)
    options = {"truncate": truncate, "prompt_name": prompt_name, "special_tokens": special_tokens}
    with client_of(model, config, parties, deadline, tls_options(ca, cert, key), insecure_no_tls) as client:
        if out is not None:
            _embed_to_file(client, lines, out, options, as_json)
            return
        with progress("embedding", len(lines)) as tick:
            answer = client.embed(lines, progress=tick, **options)
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
    special_tokens: Special = False,
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
        answer = client.classify(lines, truncate=truncate, special_tokens=special_tokens, progress=tick)
    if as_json:
        emit_json(classes(answer))
        return
    for said, text in zip(said_of(answer), lines, strict=True):
        typer.echo(f"{said}\t{text}")
    _print_stats(answer.stats)


def classes(answer: Any) -> dict[str, Any]:
    """A classification for --json."""
    chosen = {"label": "labels", "labels": "label_sets"}.get(answer.says)
    return {
        "says": answer.says,
        "names": answer.names,
        "labels": getattr(answer, chosen) if chosen else None,
        "scores": answer.scores.tolist(),
        "logits": answer.logits.tolist(),
        "stats": asdict(answer.stats),
    }


def said_of(answer: Any) -> Iterator[str]:
    """What a classifier says of each text: labels with their scores, or scores alone."""
    for place, row in enumerate(answer.scores):
        scores = dict(zip(answer.names, row, strict=True))
        if answer.says == "label":
            label = answer.labels[place]
            yield f"{label}\t{scores[label]:.4f}"
        elif answer.says == "labels":
            yield ", ".join(f"{label} {scores[label]:.4f}" for label in answer.label_sets[place]) or "-"
        else:
            yield " ".join(f"{score:.4f}" for score in row)


def asked_texts(texts: list[str] | None, file: Path | None) -> list[str]:
    """The texts of a command's arguments, or of its --file; InputError unless it was one of both."""
    from privinf.errors import InputError
    from privinf.models.text.tokenizer import lines_of, read_lines

    if bool(texts) == (file is not None):
        raise InputError("give texts either as arguments or as a file with --file, not both")
    if file is None:
        return list(texts or [])
    return lines_of(sys.stdin.buffer.read(), "stdin") if str(file) == "-" else read_lines(file)


def client_of(
    model: Path,
    config: Path | None,
    parties: str | None,
    deadline: float | None,
    tls: dict[str, Path] | None,
    insecure_no_tls: bool,
) -> Any:
    """The SDK's client, from a command's options."""
    from privinf.sdk.client import Client

    return Client(
        model,
        config=config,
        parties=parties.split(",") if parties else None,
        deadline=deadline,
        tls=tls,
        insecure_no_tls=insecure_no_tls or None,
    )


def _embed_to_file(client: Any, lines: list[str], out: Path, options: dict[str, Any], as_json: bool) -> None:
    from privinf.sdk.batch import embed_file
    from privinf.sdk.options import Reading

    with progress("embedding", len(lines)) as tick:
        report = embed_file(client, lines, out, Reading(**options), progress=tick)
    if as_json:
        emit_json(report)
    else:
        note(f"{report['done']} texts embedded now, {report['resumed']} before: {out}")


def _print_stats(stats: Any) -> None:
    note(
        f"{stats.rounds} rounds; online {stats.online_seconds:.2f} s, {stats.online_bytes / 1e6:.1f} MB sent by a"
        f" party; offline {stats.prepare_seconds:.2f} s, {stats.offline_bytes / 1e6:.1f} MB to both"
    )
