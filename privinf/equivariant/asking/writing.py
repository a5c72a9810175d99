"""Continues a prompt: the server chooses covered tokens, or at level session the client chooses plain ones itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from privinf.equivariant import wire
from privinf.equivariant.asking.calls import Opened, read_reply, uncovered
from privinf.equivariant.asking.own_part import OwnPart
from privinf.equivariant.asking.replies import Replies
from privinf.equivariant.asking.texts import most_rows
from privinf.equivariant.key import Key
from privinf.equivariant.wire import F32
from privinf.errors import ProtocolError
from privinf.options import Sampling
from privinf.sampling import Sampler
from privinf.sdk.completions import GenerationUsage
from privinf.sdk.decoding import PassTokens
from privinf.sdk.outcomes import PartyStats, Stats
from privinf.v1 import equivariant_pb2 as pb

_NONE = PartyStats(0, 0.0, 0.0, 0.0, 0, 0, 0)  # there are no parties


@dataclass(frozen=True, kw_only=True)
class CoveredGenerationUsage(GenerationUsage):
    """What a generation took; `query_bytes` were sent and `result_bytes` received, HTTP/2 and TLS not counted."""

    result_bytes: int = 0

    def __str__(self) -> str:
        sent = f"{self.query_bytes} bytes sent, {self.result_bytes} received"
        return f"{self.seconds:.1f} s, the first after {self.first_seconds:.1f} s; {sent}"

    def plus(self, written: PassTokens) -> Self:
        """Add one token."""
        received = sum(stats.result_bytes for stats in written.stats)
        return replace(super().plus(written), result_bytes=self.result_bytes + received)


class Clock:
    """Counts what each token took."""

    def __init__(self, session: str) -> None:
        self._session, self._began = session, time.monotonic()

    def written(self, token: int, sent: int, received: int) -> PassTokens:
        """A token that has just come."""
        now = time.monotonic()
        parties = (_NONE, _NONE)
        stats = Stats(self._session, now - self._began, sent, received, parties)
        self._began = now
        return PassTokens((token,), 0, 0, (stats,))


def received(
    prompt: pb.CoveredPrompt, replies: Replies[pb.CoveredTokens], key: Key, most: int
) -> Iterator[PassTokens]:
    """So many plain tokens as the server chooses their covers."""
    assert key.tokens is not None
    plain, clock, sent = np.argsort(key.tokens), Clock(""), prompt.ByteSize()
    for _ in range(most):
        if (reply := replies.take()) is None:
            raise ProtocolError("server: the answer ended before all of it had come")
        if len(reply.ids) != 1 or reply.ids[0] >= len(plain):
            raise ProtocolError("server: it sent something that is not a token")
        yield clock.written(int(plain[reply.ids[0]]), sent, reply.ByteSize())
        sent = 0


class Chooser:
    """Writes at level session: embeds, uncovers, and chooses."""

    def __init__(self, own: OwnPart, opened: Opened) -> None:
        self._own, self._opened, self._key = own, opened, opened.key

    def write(self, ids: Sequence[int], sampling: Sampling, most: int) -> Iterator[PassTokens]:
        """Token after token, so many."""
        sampler, clock, seen, given = Sampler(sampling), Clock(self._key.about.id), list(ids), list(ids)
        for _ in range(most):
            hidden, sent, come = self._read(given, len(seen) - len(given))
            token = sampler.choose(self._own.logits(hidden)[0], seen)
            yield clock.written(token, sent, come)
            seen.append(token)
            given = [token]

    def _read(self, ids: Sequence[int], first: int) -> tuple[F32, int, int]:
        """The last one's hidden row, and the bytes sent and received for it."""
        assert self._key.hidden is not None
        size, sent, come, reply = most_rows(self._key.about), 0, 0, pb.CoveredRows()
        for start in range(0, len(ids), size):
            rows = self._own.token_rows(ids[start : start + size], first + start) @ self._key.hidden
            step = pb.CoveredStep(rows=wire.rows_message(rows))
            reply = self._opened.answer(step)
            sent, come = sent + step.ByteSize(), come + reply.ByteSize()
        row = read_reply(reply, (1, self._key.about.server_width))
        return uncovered(row, self._key.answer), sent, come
