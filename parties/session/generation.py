"""One generation on one party, once the two have met: pass after pass, as the client asks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from privinf.errors import InputError, MismatchError, ProtocolError
from privinf.parties.rpc.frames import Kind
from privinf.parties.rpc.parts import WHOLE_LIMIT, parse
from privinf.parties.session.feeder import Feeder, Prepared
from privinf.parties.session.greeting import Session
from privinf.parties.session.inbox import Inbox
from privinf.parties.session.journal import Journal
from privinf.protocols.contract import Advance, PartySession
from privinf.v1 import party_pb2


@dataclass
class Generation:
    """What a pass is made of: the program's session, its feeder, the client's requests, the other party."""

    session: PartySession
    feeder: Feeder
    inbox: Inbox
    met: Session
    journal: Journal | None
    passes: int = 0

    def run(self) -> Iterator[party_pb2.GenerateReply]:
        """Answer passes until the client wants no more."""
        for index in itertools.count():
            step = self.inbox.step(index)
            if step is None:
                return
            yield self._pass(step)
            self.passes += 1

    def _pass(self, step: party_pb2.PassOpen) -> party_pb2.GenerateReply:
        due = self.session.result_bytes(step.index)
        if due > WHOLE_LIMIT:
            raise InputError(f"a share of this answer exceeds {WHOLE_LIMIT} bytes")
        query, asked = self.inbox.share(self.session.query_bytes(step.index)), time.monotonic()
        prepared = self.feeder.take()
        before, began = self.met.counts, time.monotonic()
        self._announce(step, prepared)
        result = self._journalled(step, query, prepared)
        self.met.only.link.settle()
        self.feeder.settle(prepared)
        if len(result) != due:
            raise ProtocolError("the program's result has another size than it says")
        waited = prepared.content.waited
        stats = self.met.stats(
            began + waited, began - asked + waited, prepared.seconds, prepared.nbytes, before
        )
        return party_pb2.GenerateReply(index=step.index, result=result, stats=stats)

    def _announce(self, step: party_pb2.PassOpen, prepared: Prepared) -> None:
        """Say what we were told of the pass; what the other was told is read with its first part."""
        ours = party_pb2.Pass(
            index=step.index, kept=step.kept, after=step.after, retired=prepared.order.retired
        )
        link = self.met.only.link
        link.say(Kind.PASS, ours.SerializeToString())
        link.expect(Kind.PASS, partial(_compare, ours))

    def _journalled(self, step: party_pb2.PassOpen, query: memoryview, prepared: Prepared) -> bytes:
        advance = Advance(tuple(step.kept), tuple(step.after))
        if self.journal is not None:
            self.session.journal = partial(self.journal.opened, self.feeder.dealt.preparation_id, step.index)
        try:
            return self.session.evaluate(advance, query, prepared.content, self.met)
        finally:
            if self.journal is not None:
                self.journal.flush()


def _compare(ours: party_pb2.Pass, payload: memoryview) -> None:
    """Refuse a pass that client or dealer described to the other party in another way."""
    theirs = parse(party_pb2.Pass, bytes(payload))
    for field in ("index", "kept", "after", "retired"):
        if getattr(ours, field) != getattr(theirs, field):
            raise MismatchError(f"pass {ours.index}: the other party was told differently of {field}")
