"""The SDK: private embeddings, classes and texts, asked of two parties that learn neither question nor answer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast, overload

from privinf.errors import InputError
from privinf.sdk.answers import Classification
from privinf.sdk.asked import listed, seconds
from privinf.sdk.base_client import F32, BaseClient, Embeddings, GivenTls, Progress, Usage
from privinf.sdk.completions import Completion, TokenStream
from privinf.sdk.decoder_client import Message, Prompt, make_wish
from privinf.sdk.transport import Link, PartyStatus

Mode = Literal["private", "equivariant"]


class Client(BaseClient):
    """Asks both parties; `model` is the client directory written by `privinf share`.

    Use it as a context manager. Errors are those of `privinf.errors`; a failed query is never resent,
    as its shares must not be used twice: call again.

    With mode="equivariant" this gives `privinf.equivariant.client.EquivariantClient` instead, whose one server is told
    obfuscated values, not shares: `model` is then the client directory of `privinf ee convert`, `server` an address.
    """

    def __new__(cls, model: str | os.PathLike[str], *, mode: Mode = "private", **options: Any) -> Self:
        if mode == "private":
            return super().__new__(cls)
        if mode != "equivariant":
            raise InputError(f"{mode!r} is not a mode: choose private or equivariant")
        from privinf.equivariant.client import EquivariantClient

        return cast(Self, EquivariantClient(model, **options))  # no Client: __init__ is not called on it

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        mode: Mode = "private",
        server: str | None = None,
        parties: Sequence[str] | None = None,
        tls: GivenTls | None = None,
        deadline: float | None = None,
        insecure_no_tls: bool | None = None,
        config: str | Path | None = None,
    ) -> None:
        if server is not None:
            raise InputError('server is an address of mode="equivariant"; the private mode needs parties')
        super().__init__(
            model, parties=parties, tls=tls, deadline=deadline, insecure_no_tls=insecure_no_tls, config=config
        )

    def _dial(self) -> None:
        self._link = Link(self._config, self.identity)

    def embed(
        self,
        texts: str | Iterable[str],
        *,
        truncate: bool = False,
        prompt_name: str | None = None,
        special_tokens: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Embeddings:
        """Embed a text or several.

        Args:
            texts: their vectors come in the same order; one text is a list of one.
            truncate: cut texts that are longer than the model takes, instead of refusing them.
            prompt_name: which of the model's prompts goes before each text; by default the one that the model names.
            special_tokens: let "[SEP]" in a text be the control token and not five characters. Never for text
                of others.
            timeout: the deadline of each query in seconds.
            progress: is told of texts done.
        """
        options = {"truncate": truncate, "prompt_name": prompt_name, "special_tokens": special_tokens}
        vectors, stats = self._ask("embed", texts, timeout, progress, **options)
        return Embeddings(vectors, stats)

    def classify(
        self,
        texts: str | Iterable[str],
        *,
        truncate: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Classification:
        """Classify a text or several with the model's head; options as for `embed`."""
        options = {"truncate": truncate, "special_tokens": special_tokens}
        logits, stats = self._ask("classify", texts, timeout, progress, **options)
        return self._classes(logits, stats)

    @overload
    def generate(
        self,
        prompt: Prompt,
        *,
        stream: Literal[True],
        raw: bool = ...,
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> TokenStream: ...
    @overload
    def generate(
        self,
        prompt: Prompt,
        *,
        stream: Literal[False] = ...,
        raw: bool = ...,
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> Completion: ...
    def generate(
        self,
        prompt: Prompt,
        *,
        stream: bool = False,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> TokenStream | Completion:
        """Continue a prompt.

        Args:
            prompt: a text, or token ids that follow the public prefix as they are. A model that was shared for
                conversations takes a text as a user's message, unless it is `raw`.
            stream: iterate over tokens as they come, instead of waiting for all.
            special_tokens: let a text or a message mean the control tokens that it spells, such as "<|im_end|>", which
                are mere characters otherwise. Never for text of others. Those of the chat template count always.
            timeout: seconds for each pass, and for the place before the first.
            wish: max_new_tokens, temperature (0 is greedy), top_k, top_p, repetition_penalty, seed, stop,
                draft ("lookup", a file of `privinf draft`, or an object with `propose`), drafts (how many a pass),
                hide_accepted, secure_argmax.

        Raises:
            InputError: an empty prompt, one that is too long, a token that is none, an option out of range.
        """
        tokens = self._written(self._decoder.prompt(prompt, raw, special_tokens), timeout, wish)
        return tokens if stream else _whole(tokens)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: Literal[True],
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> TokenStream: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: Literal[False] = ...,
        special_tokens: bool = ...,
        timeout: float | None = ...,
        **wish: Any,
    ) -> Completion: ...
    def chat(
        self,
        messages: Sequence[Message],
        *,
        stream: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> TokenStream | Completion:
        """Answer a conversation, a list of {"role": ..., "content": ...}; the rest is as for `generate`."""
        tokens = self._written(self._decoder.conversation(messages, special_tokens), timeout, wish)
        return tokens if stream else _whole(tokens)

    def _written(self, ids: Sequence[int], timeout: float | None, options: dict[str, Any]) -> TokenStream:
        wish, timeout = make_wish(vocab=self._decoder.bundle.spec.vocab, **options), seconds(timeout)
        passes = self._link.generate(self._decoder.shape(ids, wish), wait=timeout)

        def end(clean: bool) -> None:
            passes.close() if clean else passes.cancel()

        try:
            return self._decoder.stream(ids, wish, passes, end, timeout)
        except BaseException:  # what the stream refuses must not leave the parties waiting
            passes.cancel()
            raise

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return self._link.status()

    def _ask(
        self,
        task: str,
        texts: str | Iterable[str],
        timeout: float | None,
        progress: Progress | None,
        **options: Any,
    ) -> tuple[F32, Usage]:
        asked, timeout = listed(texts), seconds(timeout)
        requests = self._encoder.requests(task, asked, **options)
        rows, usage = self._encoder.rows(len(asked)), Usage()
        for request in requests:
            self._encoder.bundle.layout.check(request.shape)
            self._warn(request.shape, timeout)
            shares = partial(self._encoder.shares, request)
            first, second, stats = self._link.run(request.shape, shares, timeout)
            rows[list(request.places)] = self._encoder.decode(request, first, second)
            usage = usage.plus(stats)
            if progress is not None:
                progress(len(request.places))
        return rows, usage

    def close(self) -> None:
        """Release the connections; idempotent."""
        self._link.close()

    def __enter__(self) -> Self:
        self._link.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _whole(tokens: TokenStream) -> Completion:
    with tokens:
        for _ in tokens:
            pass
    return tokens.completion
