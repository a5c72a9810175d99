"""The client's way to both parties: a share to each, and two shares of the answer back."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from privinf.config import ClientConfig
from privinf.errors import ConnectError, DeadlineExceeded, Overloaded
from privinf.parties.rpc.credentials import Peer, dial, warn_insecure
from privinf.parties.rpc.deadline import Deadline, persist
from privinf.parties.rpc.messages import (
    identity_message,
    require_same,
    session_shape_message,
    shape_message,
)
from privinf.protocols.contract import ID_BYTES, Identity, QueryShape, SessionShape
from privinf.sdk.call import Call
from privinf.sdk.outcomes import ROLES, Answer, Pair
from privinf.sdk.passes import Generation
from privinf.sdk.patience import Patience, patiently
from privinf.sdk.query import Run
from privinf.sdk.standing import PartyStatus, attest, status_of
from privinf.v1 import party_pb2

Shares = Pair | Callable[[], Pair]


class Link:
    """Channels to both parties, for any number of threads; nothing is dialled before `connect` or `run`."""

    def __init__(self, config: ClientConfig, identity: Identity | None = None) -> None:
        if config.tls is None:
            warn_insecure()
        self._config, self._identity = config, identity
        self._agreed: Identity | None = None
        self._closed = False
        self._peers = [
            dial(address, role, config.tls, "client")
            for address, role in zip(config.parties, ROLES, strict=True)
        ]

    def connect(self, until: Deadline | None = None) -> Identity:
        """Reach both parties, by `until` at the latest; return the identity they share: ours if we have one."""
        self._require_open()
        if self._agreed is not None:
            return self._agreed
        seconds = self._config.connect_seconds
        if until is not None:
            seconds = min(seconds, until.left("connect"))
        deadline = Deadline.after(seconds)
        first, second = (self._reach(peer, seconds, deadline) for peer in self._peers)
        own = self._identity or first
        require_same(own, first, "party0")
        require_same(own, second, "party1")
        self._agreed = replace(own, role="client")
        return self._agreed

    def run(self, shape: QueryShape, shares: Shares, call: Call | None = None) -> Answer:
        """Send a share to each party; return the two shares of the answer, and what it took.

        The call's seconds are for all of it. A query that no server has room for is asked again until then, with
        shares that are drawn anew if `shares` is a function. One whose shares could have been used is never resent.
        """
        call = call or Call()
        until = call.until(self._config.deadline, call.timeout)
        patience = Patience(until)
        while True:
            run: Run | None = None
            try:
                run = call.begun(self.start(shape, shares() if callable(shares) else shares, until))
                return run.result()
            except Overloaded as refusal:
                seconds = patience.pause(refusal, callable(shares) or run is None or not run.sent)
            except DeadlineExceeded:
                patience.late(run is not None and run.sent)
                raise
            call.sleep(seconds)

    def start(self, shape: QueryShape, shares: Pair, until: Deadline) -> Run:
        """Begin a query without waiting for its answer; it is not asked again."""
        identity, session, left = self.connect(until), secrets.token_bytes(ID_BYTES), until.left("connect")
        opened = party_pb2.InferOpen(
            session_id=session, identity=identity_message(identity), shape=shape_message(shape)
        )
        return Run(self._peers, opened, shares, left, self._forget)

    def generate(self, shape: SessionShape, call: Call | None = None) -> Generation:
        """Begin a generation on both parties, and wait for its place; only its shape is sent before its first step.

        The call's seconds are for that place, during which one that no server has room for is asked again: as long as
        a query may take if they are left out. One that fails is never resumed: begin another.
        """
        call = call or Call()
        waits = call.until(self._config.deadline, call.timeout)
        until = call.until(self._config.session_deadline)
        waits = Deadline(min(until.at, waits.at))
        return patiently(lambda: self._attempt(shape, until, waits, call), waits, call.sleep)

    def _attempt(self, shape: SessionShape, until: Deadline, waits: Deadline, call: Call) -> Generation:
        identity, session = self.connect(waits), secrets.token_bytes(ID_BYTES)
        opened = party_pb2.GenerateOpen(
            session_id=session, identity=identity_message(identity), shape=session_shape_message(shape)
        )
        left, patience = until.left("connect"), waits.left("connect")  # either may have passed
        generation = call.begun(Generation(self._peers, opened, left, self._config.deadline, self._forget))
        generation.admitted(patience)
        return generation

    def _forget(self) -> None:
        """Reach both parties anew before the next query."""
        self._agreed = None

    def status(self) -> tuple[PartyStatus, PartyStatus]:
        """Ask both parties what they have ready."""
        self._require_open()
        first, second = (status_of(peer, self._config.connect_seconds) for peer in self._peers)
        return first, second

    def most_together(self) -> int:
        """How many prompts of one generation both parties let advance together."""
        return max(1, min(status.max_batch for status in self.status()))

    def close(self) -> None:
        """Release the channels; queries under way are dropped."""
        self._closed = True
        for peer in self._peers:
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def _reach(self, peer: Peer, seconds: float, deadline: Deadline) -> Identity:
        return patiently(
            lambda: persist(lambda: attest(peer, deadline.left("connect")), seconds, deadline), deadline
        )

    def _require_open(self) -> None:
        if self._closed:
            raise ConnectError("this client is closed")
