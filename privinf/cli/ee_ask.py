"""Commands of a client of the equivariant mode: embed, classify and generate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from privinf.cli.ask import PromptName, Special, Truncate, asked_texts, classes, said_of
from privinf.cli.generate import (
    MaxNew,
    Penalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    asked_prompt,
    document,
    show,
)
from privinf.cli.output import JsonFlag, emit_json, note, progress
from privinf.cli.serve import Ca, Cert, Key, NoTls, tls_options

Model = Annotated[
    Path, typer.Option(help="The client's part: OUT/client of `ee convert`.", envvar="PRIVINF_MODEL")
]
Server = Annotated[str | None, typer.Option(help="host:port of the server.")]
Texts = Annotated[list[str] | None, typer.Argument(help="Texts.")]
File = Annotated[Path | None, typer.Option("--file", help="UTF-8 text, one text a line; - is stdin.")]
Config = Annotated[Path | None, typer.Option(help="TOML file with address and certificates.")]
Deadline = Annotated[float | None, typer.Option(help="Seconds for each query.")]
WISH = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed", "stop")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (embed, classify, generate):
        app.command()(command)


def embed(
    model: Model,
    texts: Texts = None,
    file: File = None,
    out: Annotated[Path | None, typer.Option(help="Write vectors here as .npy.")] = None,
    server: Server = None,
    config: Config = None,
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
    """Embed texts under cover."""
    lines = asked_texts(texts, file)
    with (
        _client(model, server, config, deadline, tls_options(ca, cert, key), insecure_no_tls) as client,
        progress("embedding", len(lines)) as tick,
    ):
        options = {"truncate": truncate, "prompt_name": prompt_name, "special_tokens": special_tokens}
        answer = client.embed(lines, progress=tick, **options)
    if out is not None:
        import numpy as np

        np.save(out, answer.vectors)
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
    images: Annotated[
        Path | None, typer.Option(help="A .npy of float32 (images, channels, height, width), preprocessed.")
    ] = None,
    server: Server = None,
    config: Config = None,
    deadline: Deadline = None,
    truncate: Truncate = False,
    special_tokens: Special = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
    as_json: JsonFlag = False,
) -> None:
    """Classify texts or images under cover."""
    asked = asked_texts(texts, file) if images is None else _images(images, texts, file)
    with (
        _client(model, server, config, deadline, tls_options(ca, cert, key), insecure_no_tls) as client,
        progress("classifying", len(asked)) as tick,
    ):
        answer = client.classify(asked, truncate=truncate, special_tokens=special_tokens, progress=tick)
    if as_json:
        emit_json(classes(answer))
        return
    names = asked if images is None else [f"image {place}" for place in range(len(asked))]
    for said, name in zip(said_of(answer), names, strict=True):
        typer.echo(f"{said}\t{name}")
    _print_stats(answer.stats)


def generate(
    model: Model,
    prompt: Annotated[str | None, typer.Argument(help="The text to continue or answer.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Read the prompt from this UTF-8 file; - is stdin.")
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Continue the prompt as it is, even if the model has a chat template."),
    ] = False,
    max_new_tokens: MaxNew = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = None,
    seed: Seed = None,
    stop: Stop = None,
    special_tokens: Special = False,
    server: Server = None,
    config: Config = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds for the whole answer.")] = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
    as_json: JsonFlag = False,
) -> None:
    """Continue a text under cover, or answer it if the model has a chat template."""
    given = locals()
    wish = {name: given[name] for name in WISH if given[name] is not None}
    text, tls = asked_prompt(prompt, file), tls_options(ca, cert, key)
    with _client(model, server, config, None, tls, insecure_no_tls) as client:
        wish |= {"raw": raw, "special_tokens": special_tokens, "timeout": deadline}
        answer = show(client.stream(text, **wish), quiet=as_json)
    if as_json:
        emit_json(document(answer))
        return
    stats = answer.stats
    note(
        f"{len(answer.tokens)} tokens ({answer.finish_reason}) in {stats.seconds:.1f} s, the first after"
        f" {stats.first_seconds:.1f} s; {stats.query_bytes} bytes sent, {stats.result_bytes} received"
    )


def _client(
    model: Path,
    server: str | None,
    config: Path | None,
    deadline: float | None,
    tls: dict[str, Path] | None,
    insecure_no_tls: bool,
) -> Any:
    from privinf.sdk.client import Client

    return Client(
        model,
        mode="equivariant",
        server=server,
        config=config,
        deadline=deadline,
        tls=tls,
        insecure_no_tls=insecure_no_tls or None,
    )


def _images(images: Path, texts: list[str] | None, file: Path | None) -> Any:
    import numpy as np

    from privinf.errors import InputError

    if texts or file:
        raise InputError("give either texts or --images, not both")
    try:
        return np.load(images, allow_pickle=False)
    except (OSError, ValueError):
        raise InputError(f"{images} cannot be read as a .npy file of numbers") from None


def _print_stats(stats: Any) -> None:
    note(
        f"{stats.queries} queries in {stats.seconds:.2f} s; {stats.query_bytes} bytes sent,"
        f" {stats.result_bytes} received"
    )
