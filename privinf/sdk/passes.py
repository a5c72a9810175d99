"""A generation as its client sees it: passes asked of both parties, one after the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from queue import Empty
from typing import Self

from privinf.errors import ConnectError, DeadlineExceeded, PeerLost, PrivinfError, ProtocolError
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.methods import GENERATE
from privinf.parties.rpc.status import attribute
from privinf.protocols.contract import Advance
from privinf.sdk.outcomes import ROLES, VERDICT_SECONDS, Answer, Forget, Pair, chunks, telling, uninformed
from privinf.sdk.underway import Underway
from privinf.v1 import party_pb2

_CLOSE_SECONDS = 2.0  # how long both parties may take to end in good order

_Item = party_pb2.GenerateReply | PrivinfError  # what comes of a call: replies, at last an error


class Generation(Underway[party_pb2.GenerateRequest, party_pb2.GenerateReply]):
    """A generation under way on both parties; a context manager, whose exit ends it.

    Steps are for one thread at a time, `cancel` for any. One that failed is over: nothing of it is sent again.
    """

    def __init__(
        self,
        peers: Sequence[Peer],
        opened: party_pb2.GenerateOpen,
        seconds: float,
        pass_seconds: float,
        forget: Forget,
    ) -> None:
        self._pass_seconds = pass_seconds
        self._sent: deque[tuple[float, int]] = deque()  # of the passes whose replies are due: when, bytes
        self._asked = self._answered = 0
        self._over = False
        self._counts = [0, 0]  # replies that have come from each
        self._replies: tuple[deque[_Item], ...] = (deque(), deque())
        super().__init__(GENERATE, peers, party_pb2.GenerateRequest(open=opened), seconds, forget)

    def admitted(self, seconds: float) -> None:
        """Wait until both parties have begun it; raise what went wrong first. Only its shape is sent till then."""
        try:
            until = time.monotonic() + seconds
            for _ in self._calls:
                party, item = self._next(until, f"no free place within {seconds:g} s")
                if isinstance(item, PrivinfError):
                    raise self._cause(party, item)
        except PrivinfError as error:
            raise self._failed(error) from error.__cause__

    def step(self, advance: Advance, shares: Pair, timeout: float | None = None) -> Answer:
        """Run the next pass; return both shares of its answer.

        advance: which rows of the pass before stay in the cache, and which row each of its own follows.
        timeout: in seconds, for this pass; the configured deadline of a query if it is left out.
        """
        self.send(advance, shares)
        return self.receive(timeout)

    def send(self, advance: Advance, shares: Pair) -> None:
        """Ask for the next pass without waiting.

        Only a part of the prompt, which has no result, may be followed by another before its reply.
        """
        self._require_open()
        self._sent.append((time.monotonic(), sum(memoryview(share).nbytes for share in shares)))
        step = party_pb2.PassOpen(index=self._asked, kept=advance.kept, after=advance.after)
        self._asked += 1
        for outgoing, share in zip(self._outgoing, shares, strict=True):
            outgoing.put(party_pb2.GenerateRequest(step=step))
            for chunk in chunks(share):
                outgoing.put(party_pb2.GenerateRequest(chunk=chunk))

    def receive(self, timeout: float | None = None) -> Answer:
        """Wait for the replies to the oldest pass without them; raise what went wrong first."""
        self._require_open()
        if not self._sent:
            raise ProtocolError("no pass was requested")
        try:
            return self._gather(self._pass_seconds if timeout is None else timeout)
        except PrivinfError as error:
            raise self._failed(error) from error.__cause__

    def cancel(self) -> None:
        """Drop it at both parties, at once; no step is taken any more."""
        self._over = True
        super().cancel()

    def close(self) -> None:
        """End it: both parties may say for a moment that they have, then it is dropped. Idempotent."""
        if not self._over:
            self._over = True
            until = time.monotonic() + _CLOSE_SECONDS
            for outgoing in self._outgoing:
                outgoing.put(None)
            for reader in self._readers:
                reader.join(max(0.0, until - time.monotonic()))
        self.cancel()

    def end(self, clean: bool) -> None:
        """Close it where all went well, else drop it."""
        self.close() if clean else self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *failure: object) -> None:
        self.end(kind is None)

    def _require_open(self) -> None:
        if self._over:
            raise ConnectError("this generation is over")

    def _gather(self, timeout: float) -> Answer:
        until = time.monotonic() + timeout
        while True:
            for party, replies in enumerate(self._replies):
                if replies and isinstance(error := replies[0], PrivinfError):
                    raise self._cause(party, error)
            if all(self._replies):
                break
            party, item = self._next(until, f"pass {self._answered} took longer than {timeout:g} s")
            self._replies[party].append(item)
        first, second = (self._reply(party) for party in range(2))
        self._answered += 1
        return self._answer(*self._sent.popleft(), first, second)

    def _reply(self, party: int) -> party_pb2.GenerateReply:
        reply = self._replies[party].popleft()
        assert not isinstance(reply, PrivinfError)
        if reply.index != self._answered:
            raise attribute(ProtocolError(f"pass {reply.index} for {self._answered}"), ROLES[party])
        return reply

    def _next(self, until: float, late: str) -> tuple[int, _Item]:
        try:
            return self._arrived.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            raise DeadlineExceeded(late) from None

    def _cause(self, party: int, first: PrivinfError) -> PrivinfError:
        """A party that was merely left by the other, or waited for it, does not know why: ask the other."""
        until, theirs = time.monotonic() + VERDICT_SECONDS, self._replies[1 - party]
        late = isinstance(first, DeadlineExceeded)
        while late or (isinstance(first, PeerLost) and first.party == ROLES[1 - party]):
            if theirs and isinstance(verdict := theirs[-1], PrivinfError):
                return telling(first, verdict)
            try:
                arrived, item = self._arrived.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                break
            self._replies[arrived].append(item)
        return first

    def _follow(self, party: int) -> party_pb2.GenerateReply:
        admitted = False
        for reply in self._calls[party]:
            if reply.admitted and not admitted:
                admitted = True
            elif self._counts[party] >= self._asked:
                raise ProtocolError("a pass was answered that was not requested")
            else:
                self._counts[party] += 1
            self._arrived.put((party, reply))
        raise PeerLost(f"{ROLES[party]} ended the generation")

    def _read(self, party: int) -> _Item:
        """Pass on what comes from a party; its failure also ends the wait of the other for it."""
        last = super()._read(party)
        known = isinstance(last, PrivinfError) and not uninformed(last)
        if known and self._counts[party] <= self._counts[1 - party]:
            self._calls[1 - party].cancel()
        return last
