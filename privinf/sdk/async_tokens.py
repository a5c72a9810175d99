"""Tokens of a generation for asyncio: each step waits in a thread, and a cancelled task frees both parties."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Self

from privinf.errors import InputError
from privinf.sdk.async_link import AsyncLink
from privinf.sdk.completions import Completion, GenerationUsage, Token, TokenStream
from privinf.sdk.decoder_client import DecoderSide
from privinf.sdk.generation import Wish
from privinf.sdk.passes import Generation


class AsyncTokenStream:
    """Iterate over it once; `close` it, or leave its `async with`, to drop what is under way."""

    def __init__(
        self, side: DecoderSide, link: AsyncLink, ids: Sequence[int], wish: Wish, timeout: float | None
    ) -> None:
        self._side, self._link, self._ids, self._wish, self._timeout = side, link, ids, wish, timeout
        self._shape = side.shape(ids, wish)
        self._passes: Generation | None = None
        self._tokens: TokenStream | None = None
        self._begun = self._closed = False

    @property
    def completion(self) -> Completion:
        """What came until now."""
        if self._tokens is None:
            return Completion("", (), "length", GenerationUsage())
        return self._tokens.completion

    def __aiter__(self) -> AsyncIterator[Token]:
        return self._run()

    async def _run(self) -> AsyncIterator[Token]:
        if self._begun:
            raise InputError("a stream of tokens can only be iterated once: ask again")
        self._begun = True
        try:
            self._passes = (await self._link.generate(self._shape, wait=self._timeout)).plain
            if self._closed:
                return
            self._tokens = self._side.stream(self._ids, self._wish, self._passes, self._end, self._timeout)
            while (token := await asyncio.to_thread(next, self._tokens, None)) is not None:
                yield token
        finally:
            self.close()

    def _end(self, clean: bool) -> None:
        assert self._passes is not None
        self._passes.close() if clean else self._passes.cancel()

    def close(self) -> None:
        """Drop the generation at both parties, if it is not over; idempotent and immediate."""
        self._closed = True
        over = self._tokens is not None and self._tokens.over
        if self._passes is not None and not over:
            self._passes.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        self.close()


async def collect(tokens: AsyncTokenStream) -> Completion:
    """The whole of a continuation."""
    async for _ in tokens:
        pass
    return tokens.completion
