"""The SDK: private embeddings, classes and texts, asked of two parties that learn neither question nor answer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast, overload

import numpy as np
import numpy.typing as npt

from privinf.config import ClientConfig, Tls, load
from privinf.errors import InputError
from privinf.models.decoder_spec import model_kind
from privinf.models.folder import read_about
from privinf.protocols.program import Identity, QueryShape
from privinf.sdk.answers import Classification
from privinf.sdk.asked import listed, seconds
from privinf.sdk.async_tokens import AsyncTokenStream, collect
from privinf.sdk.completions import Completion, TokenStream
from privinf.sdk.decoder_client import DecoderSide, Message, Prompt, make_wish
from privinf.sdk.encoder_client import EncoderSide
from privinf.sdk.transport import AsyncLink, Link, PartyStatus, Stats

F32 = npt.NDArray[np.float32]
GivenTls = Tls | dict[str, Path]  # paths named ca, cert and key add to what file and environment say
Progress = Callable[[int], None]
Mode = Literal["private", "equivariant"]


@dataclass(frozen=True)
class Usage:
    """What an answer took: seconds by the client's clock, counts per party; offline and online apart.

    `online_bytes` are sent by one party in one direction; `offline_bytes` are the preparations of both.
    """

    queries: int = 0
    rounds: int = 0
    seconds: float = 0.0
    online_seconds: float = 0.0
    offline_seconds: float = 0.0
    prepare_seconds: float = 0.0
    online_bytes: int = 0
    offline_bytes: int = 0
    query_bytes: int = 0
    session_ids: tuple[str, ...] = ()

    def plus(self, stats: Stats) -> Usage:
        """Add one query."""
        slowest = max(stats.parties, key=lambda party: party.online_seconds)
        return Usage(
            self.queries + 1,
            self.rounds + slowest.rounds,
            self.seconds + stats.seconds,
            self.online_seconds + slowest.online_seconds,
            self.offline_seconds + max(party.offline_seconds for party in stats.parties),
            self.prepare_seconds + max(party.prepare_seconds for party in stats.parties),
            self.online_bytes + max(party.online_bytes for party in stats.parties),
            self.offline_bytes + sum(party.preparation_bytes for party in stats.parties),
            self.query_bytes + stats.query_bytes,
            (*self.session_ids, stats.session_id),
        )


@dataclass(frozen=True)
class Embeddings:
    """`vectors` is (texts, width) float32, in the order of the texts."""

    vectors: F32 = field(repr=False)
    stats: Usage

    def __len__(self) -> int:
        return len(self.vectors)


class _Base:
    """What both clients share: the model's public facts, tokenising, sharing and adding up."""

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        parties: Sequence[str] | None = None,
        tls: GivenTls | None = None,
        deadline: float | None = None,
        insecure_no_tls: bool | None = None,
        config: str | Path | None = None,
    ) -> None:
        self._config = client_config(
            parties, tls=tls, deadline=deadline, insecure_no_tls=insecure_no_tls, config=config
        )
        read_about(Path(model), "client")  # says what is wrong with a directory that is no shared model
        self._side: EncoderSide | DecoderSide = (
            DecoderSide(model) if model_kind(model) == "decoder" else EncoderSide(model)
        )
        self._seen: set[QueryShape] = set()
        self._dial()

    def _dial(self) -> None:
        """Make the link of this face; nothing is sent yet."""
        raise TypeError("use Client or AsyncClient")

    @property
    def identity(self) -> Identity:
        """Model, plan and version that both parties must attest."""
        return self._side.bundle.identity

    @property
    def _encoder(self) -> EncoderSide:
        if isinstance(self._side, EncoderSide):
            return self._side
        raise InputError("this model generates: use generate or chat")

    @property
    def _decoder(self) -> DecoderSide:
        if isinstance(self._side, DecoderSide):
            return self._side
        raise InputError("this model is an encoder: use embed or classify")

    def check(self, texts: str | Iterable[str], **options: Any) -> None:
        """Raise InputError for the first text that the model cannot take; options as for `embed`. Nothing is asked."""
        self._encoder.tokenizer.encode(listed(texts), **options)

    def _warn(self, shape: QueryShape, timeout: float | None) -> None:
        """Say once of each shape that it is dear, or cannot be answered in time; small ones are not looked at."""
        from privinf import speed
        from privinf.sdk import costs

        if shape in self._seen or shape.batch * shape.tokens <= costs.SMALL_ROWS:
            return
        self._seen.add(shape)
        deadline = self._config.deadline if timeout is None else timeout
        cost = costs.query_cost(self._encoder.bundle, shape)
        if said := costs.warning(shape, cost, deadline, speed.stored()):
            warnings.warn(said, costs.CostWarning, stacklevel=4)

    def _classes(self, logits: F32, stats: Usage) -> Classification:
        spec = self._encoder.bundle.spec
        return Classification(logits, spec.labels, spec.says, stats)


def client_config(
    parties: Sequence[str] | None = None,
    *,
    tls: GivenTls | None = None,
    deadline: float | None = None,
    insecure_no_tls: bool | None = None,
    config: str | Path | None = None,
) -> ClientConfig:
    """Arguments win over PRIVINF_* variables, those over the file `config`, or else the one of PRIVINF_CONFIG."""
    addresses = None if parties is None else tuple(parties)
    if addresses is not None and len(addresses) != 2:
        raise InputError("two parties are needed: their addresses as host:port")
    config = config or os.environ.get("PRIVINF_CONFIG") or None
    return load(
        ClientConfig, config, parties=addresses, tls=tls, deadline=deadline, insecure_no_tls=insecure_no_tls
    )


class Client(_Base):
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
            raise InputError(f"{mode!r} is no mode: private or equivariant")
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


class AsyncClient(_Base):
    """The same for asyncio; a cancelled call drops its query at both parties."""

    def _dial(self) -> None:
        self._link = AsyncLink(self._config, self.identity)

    async def embed(
        self,
        texts: str | Iterable[str],
        *,
        truncate: bool = False,
        prompt_name: str | None = None,
        special_tokens: bool = False,
        timeout: float | None = None,
    ) -> Embeddings:
        """Embed a text or several; options as for `Client.embed`."""
        options = {"truncate": truncate, "prompt_name": prompt_name, "special_tokens": special_tokens}
        vectors, stats = await self._ask("embed", texts, timeout, **options)
        return Embeddings(vectors, stats)

    async def classify(
        self,
        texts: str | Iterable[str],
        *,
        truncate: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
    ) -> Classification:
        """Classify a text or several with the model's head; options as for `Client.embed`."""
        options = {"truncate": truncate, "special_tokens": special_tokens}
        logits, stats = await self._ask("classify", texts, timeout, **options)
        return self._classes(logits, stats)

    async def generate(
        self,
        prompt: Prompt,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> Completion:
        """Continue a prompt; options as for `Client.generate`. A cancelled call frees both parties."""
        return await collect(
            self.stream(prompt, raw=raw, special_tokens=special_tokens, timeout=timeout, **wish)
        )

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> Completion:
        """Answer a conversation; options as for `Client.generate`."""
        return await collect(
            self.stream_chat(messages, special_tokens=special_tokens, timeout=timeout, **wish)
        )

    def stream(
        self,
        prompt: Prompt,
        *,
        raw: bool = False,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> AsyncTokenStream:
        """Iterate over the tokens of a continuation: `async for token in client.stream(...)`."""
        return self._streamed(self._decoder.prompt(prompt, raw, special_tokens), timeout, wish)

    def stream_chat(
        self,
        messages: Sequence[Message],
        *,
        special_tokens: bool = False,
        timeout: float | None = None,
        **wish: Any,
    ) -> AsyncTokenStream:
        """Iterate over the tokens of an answer to a conversation."""
        return self._streamed(self._decoder.conversation(messages, special_tokens), timeout, wish)

    def _streamed(
        self, ids: Sequence[int], timeout: float | None, options: dict[str, Any]
    ) -> AsyncTokenStream:
        wish, timeout = make_wish(vocab=self._decoder.bundle.spec.vocab, **options), seconds(timeout)
        return AsyncTokenStream(self._decoder, self._link, ids, wish, timeout)

    async def status(self) -> tuple[PartyStatus, PartyStatus]:
        """What both parties have ready."""
        return await self._link.status()

    async def _ask(
        self, task: str, texts: str | Iterable[str], timeout: float | None, **options: Any
    ) -> tuple[F32, Usage]:
        asked, timeout = listed(texts), seconds(timeout)
        rows, usage = self._encoder.rows(len(asked)), Usage()
        for request in self._encoder.requests(task, asked, **options):
            self._encoder.bundle.layout.check(request.shape)
            self._warn(request.shape, timeout)
            shares = partial(self._encoder.shares, request)
            first, second, stats = await self._link.run(request.shape, shares, timeout)
            rows[list(request.places)] = self._encoder.decode(request, first, second)
            usage = usage.plus(stats)
        return rows, usage

    async def close(self) -> None:
        """Release the connections; idempotent."""
        await self._link.close()

    async def __aenter__(self) -> Self:
        await self._link.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _whole(tokens: TokenStream) -> Completion:
    with tokens:
        for _ in tokens:
            pass
    return tokens.completion
