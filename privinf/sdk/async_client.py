"""The SDK for asyncio: the same questions, each of which may be cancelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from privinf.sdk.answers import Classification
from privinf.sdk.asked import listed, seconds
from privinf.sdk.async_link import AsyncLink
from privinf.sdk.async_tokens import AsyncTokenStream, collect
from privinf.sdk.base_client import F32, BaseClient, Embeddings, Usage
from privinf.sdk.completions import Completion
from privinf.sdk.decoder_client import Message, Prompt, make_wish
from privinf.sdk.transport import PartyStatus


class AsyncClient(BaseClient):
    """`Client` for asyncio; a cancelled call drops its query at both parties."""

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
