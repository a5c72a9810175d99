"""The client's way to both parties: a share to each, and two shares of the answer back."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import grpc

from privinf.config import ClientConfig
from privinf.errors import ConnectError, MismatchError, PrivinfError
from privinf.outcomes import ROLES, VERDICT_SECONDS, chunks, counted, failure, telling, uninformed
from privinf.outcomes import PartyStats as PartyStats
from privinf.parties.credentials import MESSAGE_LIMIT, Peer, dial, warn_insecure
from privinf.parties.deadline import Deadline, persist
from privinf.parties.messages import (
    identity_message,
    read_identity,
    read_shape,
    require_same,
    session_shape_message,
    shape_message,
)
from privinf.parties.methods import ATTEST_PARTY, INFER, STATUS
from privinf.parties.status import attribute, restore
from privinf.passes import AsyncGeneration, Generation
from privinf.passes import PassStats as PassStats
from privinf.protocols.program import ID_BYTES, Buffer, Identity, QueryShape, SessionShape
from privinf.v1 import common_pb2, party_pb2


@dataclass(frozen=True)
class Stats:
    """What one query took; seconds are those of the client's clock."""

    session_id: str
    seconds: float
    query_bytes: int  # sent to both parties
    result_bytes: int
    parties: tuple[PartyStats, PartyStats]


@dataclass(frozen=True)
class PartyStatus:
    """What a party says of itself: preparations ready by shape, and how much room is taken."""

    role: str
    ready: dict[QueryShape, int]
    sessions: int
    max_sessions: int
    store_bytes: int
    max_store_bytes: int


class Run:
    """A query under way on both parties."""

    def __init__(
        self, calls: Sequence[Any], session: bytes, sent: int, unreached: Callable[[], None]
    ) -> None:
        self._calls, self._session, self._sent, self._unreached = calls, session, sent, unreached
        self._began = time.monotonic()
        self._done: SimpleQueue[int] = SimpleQueue()
        for party, call in enumerate(calls):
            call.add_done_callback(lambda _, party=party: self._done.put(party))

    def cancel(self) -> None:
        """Drop the query at both parties; its preparation is lost."""
        for call in self._calls:
            call.cancel()

    def result(self) -> tuple[bytes, bytes, Stats]:
        """Wait for both shares of the answer; raise what went wrong first, and drop the other half."""
        try:
            return self._gather()
        except PrivinfError as error:
            if isinstance(error, ConnectError):
                self._unreached()
            raise attribute(error, None, self._session) from error.__cause__
        finally:
            self.cancel()

    def _gather(self) -> tuple[bytes, bytes, Stats]:
        replies: dict[int, party_pb2.InferReply] = {}
        for _ in self._calls:
            party = self._done.get()  # each call ends with its deadline at the latest
            try:
                replies[party] = self._calls[party].result()
            except (grpc.RpcError, grpc.FutureCancelledError) as error:
                raise self._cause(failure(error, ROLES[party])) from error
        parties = counted(replies[0].stats), counted(replies[1].stats)
        received = sum(len(reply.result) for reply in replies.values())
        seconds = time.monotonic() - self._began
        stats = Stats(self._session.hex(), seconds, self._sent, received, parties)
        return replies[0].result, replies[1].result, stats

    def _cause(self, first: PrivinfError) -> PrivinfError:
        """A party that was merely left by the other, or waited for it, does not know why: ask the other."""
        if not uninformed(first):
            return first
        try:
            party = self._done.get(timeout=VERDICT_SECONDS)
            self._calls[party].result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            return telling(first, failure(error, ROLES[party]))
        except Empty:
            pass
        return first


class Link:
    """Channels to both parties, for any number of threads; nothing is dialled before `connect` or `run`."""

    def __init__(self, config: ClientConfig, identity: Identity | None = None) -> None:
        if config.tls is None:
            warn_insecure()
        self._config, self._identity = config, identity
        self._lock = threading.Lock()
        self._agreed: Identity | None = None
        self._closed = False
        self._peers = [
            dial(address, role, config.tls, "client", MESSAGE_LIMIT)
            for address, role in zip(config.parties, ROLES, strict=True)
        ]

    def connect(self) -> Identity:
        """Reach both parties and return the identity they share; it must be ours if we were given one."""
        self._require_open()
        if self._agreed is not None:
            return self._agreed
        seconds = self._config.connect_seconds
        deadline = Deadline.after(seconds)
        first, second = (
            persist(lambda peer=peer: self._attest(peer, deadline), seconds, deadline)  # type: ignore[misc]
            for peer in self._peers
        )
        require_same(first, second, "party1")
        if self._identity is not None:
            require_same(self._identity, first, "party0")
        self._agreed = first
        return first

    def run(
        self, shape: QueryShape, shares: tuple[Buffer, Buffer], deadline: float | None = None
    ) -> tuple[bytes, bytes, Stats]:
        """Send a share to each party; return the two shares of the answer, and what it took.

        `deadline` is in seconds, for all of it. A query that fails is never resent: share it anew.
        """
        return self.start(shape, shares, deadline).result()

    def start(self, shape: QueryShape, shares: tuple[Buffer, Buffer], deadline: float | None = None) -> Run:
        """Begin a query without waiting for its answer."""
        until = Deadline.after(self._config.deadline if deadline is None else deadline)
        identity, session, left = self.connect(), secrets.token_bytes(ID_BYTES), until.left("connect")
        opened = party_pb2.InferOpen(
            session_id=session, identity=identity_message(identity), shape=shape_message(shape)
        )
        calls = [
            INFER.on(peer).future(_requests(opened, share), timeout=left, metadata=peer.metadata)
            for peer, share in zip(self._peers, shares, strict=True)
        ]
        return Run(calls, session, sum(memoryview(share).nbytes for share in shares), self._forget)

    def generate(self, shape: SessionShape, deadline: float | None = None) -> Generation:
        """Begin a generation on both parties; nothing but its shape is sent before its first step.

        `deadline` is in seconds, for all of it. One that fails is never resumed: begin another.
        """
        until = Deadline.after(self._config.session_deadline if deadline is None else deadline)
        identity, session = self.connect(), secrets.token_bytes(ID_BYTES)
        opened = party_pb2.GenerateOpen(
            session_id=session, identity=identity_message(identity), shape=session_shape_message(shape)
        )
        left = until.left("connect")
        return Generation(self._peers, opened, left, self._config.deadline, self._forget)

    def _forget(self) -> None:
        """Reach both parties anew before the next query."""
        self._agreed = None

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """Ask both parties what they have ready."""
        first, second = (self._status(peer) for peer in self._peers)
        return first, second

    def close(self) -> None:
        """Release the channels; queries under way are dropped."""
        with self._lock:
            self._closed = True
        for peer in self._peers:
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attest(self, peer: Peer, deadline: Deadline) -> Identity:
        attest = ATTEST_PARTY.on(peer)
        try:
            reply: common_pb2.AttestReply = attest(
                common_pb2.AttestRequest(), timeout=deadline.left("connect"), metadata=peer.metadata
            )
        except grpc.RpcError as error:
            raise restore(error, peer.role, phase="connect") from error
        if reply.role != peer.role:
            raise attribute(MismatchError(f"{peer.address} is {reply.role}, not {peer.role}"), peer.role)
        return read_identity(reply.identity)

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectError("this link is closed")

    def _status(self, peer: Peer) -> PartyStatus:
        self._require_open()
        try:
            reply: party_pb2.StatusReply = STATUS.on(peer)(
                party_pb2.StatusRequest(), timeout=self._config.connect_seconds, metadata=peer.metadata
            )
        except grpc.RpcError as error:
            raise restore(error, peer.role, phase="connect") from error
        ready = {read_shape(item.shape): item.count for item in reply.ready}
        room = reply.store_bytes, reply.max_store_bytes
        return PartyStatus(peer.role, ready, reply.sessions, reply.max_sessions, *room)


class AsyncLink:
    """The same for asyncio; a cancelled task drops its query at both parties."""

    def __init__(self, config: ClientConfig, identity: Identity | None = None) -> None:
        self._link = Link(config, identity)

    async def connect(self) -> Identity:
        """Reach both parties and return the identity they share."""
        return await asyncio.to_thread(self._link.connect)

    async def run(
        self, shape: QueryShape, shares: tuple[Buffer, Buffer], deadline: float | None = None
    ) -> tuple[bytes, bytes, Stats]:
        """Send a share to each party; return the two shares of the answer, and what it took."""
        starting = asyncio.ensure_future(asyncio.to_thread(self._link.start, shape, shares, deadline))
        try:
            run = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_cancel_started)
            raise
        try:
            return await asyncio.to_thread(run.result)
        except asyncio.CancelledError:
            run.cancel()
            raise

    async def generate(self, shape: SessionShape, deadline: float | None = None) -> AsyncGeneration:
        """Begin a generation on both parties."""
        starting = asyncio.ensure_future(asyncio.to_thread(self._link.generate, shape, deadline))
        try:
            return AsyncGeneration(await asyncio.shield(starting))
        except asyncio.CancelledError:
            starting.add_done_callback(_cancel_started)
            raise

    async def status(self) -> tuple[PartyStatus, PartyStatus]:
        """Ask both parties what they have ready."""
        return await asyncio.to_thread(self._link.status)

    async def close(self) -> None:
        """Release the channels; queries under way are dropped."""
        await asyncio.to_thread(self._link.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _cancel_started(starting: asyncio.Future[Run] | asyncio.Future[Generation]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().cancel()


def _requests(opened: party_pb2.InferOpen, share: Buffer) -> Iterator[party_pb2.InferRequest]:
    yield party_pb2.InferRequest(open=opened)
    for chunk in chunks(share):
        yield party_pb2.InferRequest(chunk=chunk)
