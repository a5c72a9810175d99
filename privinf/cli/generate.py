"""Commands of a client of a decoder in every mode: generate and chat, written to stdout as the words come."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privinf.cli._options import ClientOptions, Model
from privinf.cli.output import JsonFlag, emit_json, note, read_text
from privinf.options import option
from privinf.sdk.options import GenerationOptions

if TYPE_CHECKING:
    from privinf.sdk.client import Client
    from privinf.sdk.completions import Completion, Token, TokenStream
    from privinf.sdk.several import BatchStream

SPECIAL_TOKENS = option(
    False, "Turn control tokens spelled in your text (<|im_end|>) into tokens; never for other people's text."
)


def generate(
    model: Model,
    options: GenerationOptions,
    reach: ClientOptions,
    prompt: Annotated[
        list[str] | None, typer.Argument(help="The text to continue or answer; several advance together.")
    ] = None,
    file: Path | None = option(None, "Read the prompt from this UTF-8 file; - is stdin."),
    lines: bool = option(False, "Each line of the file is a prompt of its own."),
    raw: bool = option(False, "Continue the prompt as it is, even if the model is for conversations."),
    special_tokens: bool = SPECIAL_TOKENS,
    as_json: JsonFlag = False,
) -> None:
    """Continue a text, or answer it if the model is for conversations.

    Several texts advance together, a pass of all in the rounds of one. With --json a line for each is printed as its
    answer ends: the document of a single answer, with its index.
    """
    texts = asked_prompts(prompt, file, lines)
    given = {"raw": raw, "special_tokens": special_tokens, "timeout": reach.deadline, **vars(options)}
    with closing(reach.client(model)) as client:  # it reads the prompts, and only then connects
        if len(texts) > 1 or lines:
            show_all(client.stream(texts, **given), as_json=as_json)
            return
        stream = client.stream(texts[0], **given)
        show(stream, quiet=as_json)
        answer = stream.completion
    emit_json(asdict(answer)) if as_json else print_usage(answer)


def chat(
    model: Model,
    options: GenerationOptions,
    reach: ClientOptions,
    system: str | None = option(
        None, "The system message. In the private mode the one that the model was shared with, and no other."
    ),
    special_tokens: bool = SPECIAL_TOKENS,
    as_json: JsonFlag = False,
) -> None:
    """Chat: each line of stdin is a message; end of input ends the chat.

    Every turn is a new session that reads the whole conversation again. In the private mode the system message is part
    of the public prefix, so --system must be the one that the model was shared with (the default).
    """
    given = {"special_tokens": special_tokens, "timeout": reach.deadline, **vars(options)}
    client = reach.client(model)
    _require_chat(client, model)
    with client:
        turns = _talk(client, system, given, quiet=as_json)
    if as_json:
        emit_json({"turns": turns})


def _require_chat(client: Client, model: Path) -> None:
    """Refuse a model that holds no conversations before anything is typed."""
    from privinf.sdk.backend import no_chat, other_task

    if (task := client.facts.task) != "generate":
        raise other_task(task, "chat")
    if not client.facts.chat:
        raise no_chat(model)


def _talk(client: Client, system: str | None, given: dict[str, Any], *, quiet: bool) -> list[dict[str, Any]]:
    """Answer line after line; return what each turn took."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    turns = []
    for line in _lines():
        messages.append({"role": "user", "content": line})
        stream = client.stream_chat(messages, **given)
        show(stream, quiet=quiet)
        answer = stream.completion
        messages.append({"role": "assistant", "content": answer.text})
        turns.append(asdict(answer))
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


def asked_prompts(prompts: list[str] | None, file: Path | None, lines: bool) -> list[str]:
    """The prompts of a command's arguments, or of its --file; InputError unless it was one of both."""
    from privinf.cli.ask import asked_texts, require_one
    from privinf.errors import OptionError

    require_one(prompts, file, "prompt")
    if file is None:
        if lines:
            raise OptionError("--lines: this is for prompts of a --file")
        return list(prompts or [])
    return asked_texts(None, file) if lines else [read_text(file)]


def show_all(stream: BatchStream, *, as_json: bool) -> None:
    """Print each of several answers as it ends, with its index; an interrupt on the way frees both parties at once."""
    with stream:
        for index, answer in stream.ended():
            if as_json:
                print(json.dumps({"index": index, **asdict(answer)}), flush=True)
                continue
            print(f"[{index}] {answer.text}", flush=True)
            print_usage(answer)


def show(stream: TokenStream, *, quiet: bool) -> list[Token]:
    """Print an answer as it comes, and return its tokens; an interrupt on the way frees both parties at once."""
    tokens = []
    with stream:
        for token in stream:
            tokens.append(token)
            if not quiet:
                print(token.text, end="", flush=True)
    if not quiet:
        print()
    return tokens


def print_usage(answer: Completion) -> None:
    """One line about what an answer took, and one more if it ended for want of room."""
    if answer.finish_reason == "full":
        note(
            "the session is full: the answer ends here; --max-tokens of `share` or `serve` allows longer ones"
        )
    note(f"{len(answer.tokens)} tokens ({answer.finish_reason}) in {answer.stats}")
