"""What comes back of one call to the server: replies as they come, or a typed error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc

from privinf.errors import ConnectError, DeadlineExceeded, MismatchError, Overloaded, PeerLost, PrivinfError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.status import attribute, restore
from privinf.sdk.patience import Patience

T = TypeVar("T")
Reply = TypeVar("Reply")

NAME = "server"  # in messages


class Replies(Generic[Reply]):
    """The replies of one call; to be read by one thread at a time, dropped by any.

    `begin` makes the call; given `patience`, one that the server has no room for, and so has not begun, is made again.
    `changed` is called where the server cannot be reached, or turns out to be another: what is known of it is old.
    """

    def __init__(
        self,
        peer: Peer,
        begin: Callable[[], Any],
        changed: Callable[[], None],
        patience: Patience | None = None,
    ) -> None:
        self._peer, self._begin, self._changed, self._patience = peer, begin, changed, patience
        self._call, self._dropped = begin(), threading.Event()
        self._heard = self._late = False

    def whole(self) -> Reply:
        """The one reply of a call that has one; who stops waiting drops the call."""
        try:
            reply: Reply = self._told(lambda: self._call.result())
            return reply
        finally:
            self.cancel()  # makes no difference to one that is over

    def take(self, seconds: float | None = None) -> Reply | None:
        """The next reply, or None after the last; `seconds` bounds this wait, beside the deadline of the whole call."""
        watch = None if seconds is None else threading.Timer(seconds, self._expire)
        if watch is not None:
            watch.start()
        try:
            reply: Reply | None = self._told(lambda: next(self._call, None))
        finally:
            if watch is not None:
                watch.cancel()
        self._heard = True
        return reply

    def cancel(self) -> None:
        """Drop the call; the server is free of it at once."""
        self._dropped.set()
        self._call.cancel()

    def leave(self) -> None:
        """Let the call end by itself, once the server knows that there is no more: dropped, it looks like a failure."""
        self._call.add_done_callback(lambda _: None)  # keeps it until then

    def _expire(self) -> None:
        self._late = True
        self.cancel()

    def _told(self, read: Callable[[], T]) -> T:
        while True:
            try:
                return read()
            except (grpc.RpcError, grpc.FutureCancelledError) as error:
                cause = self._cause(error)
                if isinstance(cause, DeadlineExceeded) and self._patience is not None:
                    self._patience.late(self._heard)
                if not isinstance(cause, Overloaded) or self._heard or self._patience is None:
                    raise cause from error
                self._again(self._patience, cause)

    def _again(self, patience: Patience, refusal: Overloaded) -> None:
        """Make the call once more after a pause, unless it is dropped meanwhile."""
        if not self._dropped.wait(patience.pause(refusal)):
            try:
                self._call = self._begin()
            except DeadlineExceeded:
                patience.late()
                raise
        if self._dropped.is_set():
            self._call.cancel()

    def _cause(self, error: BaseException) -> PrivinfError:
        if self._late:
            return attribute(DeadlineExceeded(f"{NAME}: it gave no answer in time"), NAME)
        if not isinstance(error, grpc.RpcError):
            return attribute(PeerLost("the query was dropped"), NAME)
        known = restore(error, NAME, peer=self._peer)
        if not isinstance(known, ConnectError | MismatchError):
            return known
        self._changed()
        if self._heard and isinstance(known, ConnectError):  # it is not the address or the certificate
            return attribute(PeerLost(f"{NAME}: it went away amid the answer; ask again"), NAME)
        return known
