"""Commands of a client of a decoder: generate and chat, written to stdout as the words come."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from privinf.cli.ask import Config, Model, Parties, client_of
from privinf.cli.output import JsonFlag, emit_json, note
from privinf.cli.serve import Ca, Cert, Key, NoTls, tls_options

MaxNew = Annotated[int | None, typer.Option("--max-new-tokens", help="The most tokens to generate [64].")]
Temperature = Annotated[
    float | None,
    typer.Option(help="0 takes the most likely token; 1 samples from the model's distribution [0]."),
]
TopK = Annotated[int | None, typer.Option(help="Sample from the k most likely tokens.")]
TopP = Annotated[
    float | None, typer.Option(help="Sample from the most likely tokens whose probabilities add up to this.")
]
Penalty = Annotated[float | None, typer.Option(help="Above 1, tokens already used become less likely [1].")]
Seed = Annotated[int | None, typer.Option(help="Seed for sampling; the same seed gives the same answer.")]
Stop = Annotated[list[str] | None, typer.Option(help="Text that ends the answer; repeatable.")]
Draft = Annotated[
    str | None,
    typer.Option(
        help="none, lookup (guess from the text so far), or a file from `privinf draft`; its success rate is public."
    ),
]
Drafts = Annotated[int | None, typer.Option(help="Tokens to guess in one pass [7].")]
Argmax = Annotated[
    bool | None, typer.Option("--secure-argmax", help="Learn the most likely token and no logits; slower.")
]
Hide = Annotated[
    bool | None, typer.Option("--hide-accepted", help="Hide how many drafts were right; needs more room.")
]
PassDeadline = Annotated[float | None, typer.Option("--deadline", help="Seconds for each pass.")]

Special = Annotated[
    bool,
    typer.Option(
        "--special-tokens",
        help="Turn control tokens spelled in your text (<|im_end|>) into tokens; never for other people's text.",
    ),
]

WISH = (  # what both commands pass on to the SDK as it is
    "max_new_tokens",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "seed",
    "stop",
    "draft",
    "drafts",
    "secure_argmax",
    "hide_accepted",
)


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (generate, chat):
        app.command()(command)


def generate(
    model: Model,
    prompt: Annotated[str | None, typer.Argument(help="The text to continue or answer.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Read the prompt from this UTF-8 file; - is stdin.")
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Continue the prompt as it is, even if the model was shared for conversations."
        ),
    ] = False,
    max_new_tokens: MaxNew = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = None,
    seed: Seed = None,
    stop: Stop = None,
    draft: Draft = None,
    drafts: Drafts = None,
    secure_argmax: Argmax = None,
    hide_accepted: Hide = None,
    special_tokens: Special = False,
    config: Config = None,
    parties: Parties = None,
    deadline: PassDeadline = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
    as_json: JsonFlag = False,
) -> None:
    """Continue a text privately, or answer it if the model was shared for conversations."""
    text = asked_prompt(prompt, file)
    wish = _given(locals())
    with client_of(model, config, parties, deadline, tls_options(ca, cert, key), insecure_no_tls) as client:
        answer = show(client.stream(text, raw=raw, special_tokens=special_tokens, **wish), quiet=as_json)
    if as_json:
        emit_json(document(answer))
    else:
        print_usage(answer)


def chat(
    model: Model,
    system: Annotated[
        str | None,
        typer.Option(help="The system message that the model was shared with (the default); no other works."),
    ] = None,
    max_new_tokens: MaxNew = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = None,
    seed: Seed = None,
    stop: Stop = None,
    draft: Draft = None,
    drafts: Drafts = None,
    secure_argmax: Argmax = None,
    hide_accepted: Hide = None,
    special_tokens: Special = False,
    config: Config = None,
    parties: Parties = None,
    deadline: PassDeadline = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    insecure_no_tls: NoTls = False,
    as_json: JsonFlag = False,
) -> None:
    """Chat privately: each line of stdin is a message; end of input ends the chat.

    Every turn is a new session that reads the whole conversation again. The system message is part of the public
    prefix, so --system must be the one that the model was shared with.
    """
    wish = _given(locals()) | {"special_tokens": special_tokens}
    with client_of(model, config, parties, deadline, tls_options(ca, cert, key), insecure_no_tls) as client:
        turns = _talk(client, system, wish, quiet=as_json)
    if as_json:
        emit_json({"turns": turns})


def _talk(client: Any, system: str | None, wish: dict[str, Any], *, quiet: bool) -> list[dict[str, Any]]:
    """Answer line after line; return what each turn took."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    turns = []
    for line in _lines():
        messages.append({"role": "user", "content": line})
        answer = show(client.stream_chat(messages, **wish), quiet=quiet)
        messages.append({"role": "assistant", "content": answer.text})
        turns.append(document(answer))
        if not quiet:
            print_usage(answer)
    return turns


def _lines() -> Iterator[str]:
    """What a person types, or what a pipe brings; blank lines say nothing."""
    if not sys.stdin.isatty():
        yield from filter(None, (line.strip() for line in sys.stdin))
        return
    import readline  # noqa: F401  # lets the line be edited

    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print()
            return
        if line:
            yield line


def asked_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt of a command's argument, or of its --file; InputError unless it was one of both."""
    from privinf.errors import InputError

    if (prompt is None) == (file is None):
        raise InputError("give a prompt either as an argument or as a file with --file, not both")
    if file is None:
        return str(prompt)
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: byte {error.start} is not UTF-8") from error


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's arguments that say how to continue and were given; the SDK has defaults for the others."""
    return {name: arguments[name] for name in WISH if arguments[name] is not None}


def show(tokens: Any, *, quiet: bool = False) -> Any:
    """Print an answer as it comes; an interrupt on the way frees both parties at once."""
    with tokens:
        for token in tokens:
            if not quiet:
                print(token.text, end="", flush=True)
    if not quiet:
        print()
    return tokens.completion


def document(answer: Any) -> dict[str, Any]:
    """An answer for --json."""
    return {
        "text": answer.text,
        "tokens": list(answer.tokens),
        "finish_reason": answer.finish_reason,
        "stats": asdict(answer.stats),
    }


def print_usage(answer: Any) -> None:
    """One line about what an answer took, and one more if it ended for want of room."""
    stats = answer.stats
    if answer.finish_reason == "full":
        note("the session is full: the answer ends here; share the model for longer sessions (--max-tokens)")
    drafted = f", {stats.accepted} of {stats.drafted} drafts right" if stats.drafted else ""
    note(
        f"{len(answer.tokens)} tokens ({answer.finish_reason}) in {stats.seconds:.1f} s, the first after"
        f" {stats.first_seconds:.1f} s{drafted}; {stats.passes} passes, {stats.rounds} rounds,"
        f" {stats.online_bytes / 1e6:.1f} MB sent by a party, {stats.offline_bytes / 1e6:.1f} MB offline to both"
    )
