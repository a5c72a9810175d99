"""The client's way to both parties for asyncio: what blocks runs in threads, and a cancelled task drops its query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self, TypeVar

from privinf.config import ClientConfig
from privinf.errors import Overloaded
from privinf.protocols.contract import Identity, QueryShape, SessionShape
from privinf.sdk.passes import AsyncGeneration, Generation
from privinf.sdk.patience import Patience
from privinf.sdk.query import Run, Stats
from privinf.sdk.transport import Link, PartyStatus, Shares, Wanted, drawn

ASYNC_CALLS: Final = 32  # of one AsyncLink at the parties at once; others wait here

T = TypeVar("T")
B = TypeVar("B", Run, Generation)


class AsyncLink:
    """A `Link` for asyncio; a cancelled task drops its query at both parties."""

    def __init__(self, config: ClientConfig, identity: Identity | None = None) -> None:
        self._link = Link(config, identity)
        # Threads of its own: what waits for a place must not hold those in which others work on.
        self._pool = ThreadPoolExecutor(ASYNC_CALLS, thread_name_prefix="privinf")
        self._room = asyncio.Semaphore(ASYNC_CALLS)

    async def connect(self) -> Identity:
        """Reach both parties and return the identity they share."""
        return await asyncio.to_thread(self._link.connect)

    async def run(
        self, shape: QueryShape, shares: Shares, deadline: float | None = None
    ) -> tuple[bytes, bytes, Stats]:
        """Send a share to each party, again while no server has room; return the two shares of the answer."""
        until = self._link.until(deadline)
        patience = Patience(until)
        while True:
            async with self._room:
                run = await self._begun(lambda: self._link._start(shape, drawn(shares), until))
                try:
                    return await self._wait(run.result)
                except asyncio.CancelledError:
                    run.cancel()
                    raise
                except Overloaded as refusal:
                    seconds = patience.pause(refusal, callable(shares) or not run.sent)
            await asyncio.sleep(seconds)

    async def _wait(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _begun(self, begin: Callable[[], B]) -> B:
        """Begin something in a thread; a task that is cancelled meanwhile drops it."""
        starting = asyncio.ensure_future(self._wait(begin))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_cancel_begun)
            raise

    async def generate(
        self, shape: SessionShape, deadline: float | None = None, wait: float | None = None
    ) -> AsyncGeneration:
        """Begin a generation on both parties, and wait for its place."""
        wanted = Wanted()
        async with self._room:
            try:
                begun = await self._begun(lambda: self._link._generate(shape, deadline, wait, wanted))
            except asyncio.CancelledError:
                wanted.give_up()
                raise
            return AsyncGeneration(begun)

    async def status(self) -> tuple[PartyStatus, PartyStatus]:
        """Ask both parties what they have ready."""
        return await asyncio.to_thread(self._link.status)

    async def close(self) -> None:
        """Release the channels; queries under way are dropped."""
        await asyncio.to_thread(self._link.close)
        self._pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _cancel_begun(starting: asyncio.Future[B]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().cancel()
