"""A link to both parties whose calls wait in threads, as those of an AsyncClient do."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from privinf.config import ClientConfig
from privinf.protocols.contract import Advance, QueryShape, SessionShape
from privinf.sdk.call import Call
from privinf.sdk.passes import Generation
from privinf.sdk.threads import Threads
from privinf.sdk.transport import Link


class AsyncLink:
    """A cancelled task drops its query or generation at both parties."""

    def __init__(self, config: ClientConfig) -> None:
        self.link, self._threads = Link(config), Threads()

    async def run(self, shape: QueryShape, shares: Any, deadline: float | None = None) -> Any:
        return await self._threads.run(lambda call: self.link.run(shape, shares, call), Call(deadline))

    async def generate(self, shape: SessionShape, call: Call | None = None) -> Generation:
        return await self._threads.run(lambda call: self.link.generate(shape, call), call or Call())

    async def step(self, generation: Generation, advance: Advance, shares: Any) -> Any:
        call = Call()
        call.begun(generation)
        return await self._threads.run(lambda _: generation.step(advance, shares), call)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.link.connect)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await asyncio.to_thread(self.link.close)
        self._threads.close()
