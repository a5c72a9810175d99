"""What is dealt to two parties: each comes once, both in time, and both take all of it through bounded pipes."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import grpc

from privinf.config import DealerConfig
from privinf.errors import PartyError, PeerLost, PrivinfError, ProtocolError
from privinf.parties.dealing.pipes import Packer, Pipe, pack
from privinf.parties.rpc.frames import CHUNK
from privinf.parties.rpc.status import attribute
from privinf.parties.stock.digest import Tally
from privinf.protocols.contract import ALL, ID_BYTES, SEED_BYTES, Dealt

END_OF_PASS: Final = b""  # a party that reads on finds it, and does not wait for bytes that never come

Report = Callable[[BaseException], None]  # told of a failure that is a fault of the program


class Delivery:
    """A promise to two parties, with an id: each comes once, and both within so many seconds, or it is over.

    What is dealt to them goes through bounded pipes, once both have come.
    """

    order = b""  # under which it was asked for, if it was

    def __init__(self, config: DealerConfig, what: str, report: Report) -> None:
        self.preparation_id = secrets.token_bytes(ID_BYTES)
        limit = config.queue_chunks * CHUNK
        self._pipes = (Pipe(limit, config.stall_seconds), Pipe(limit, config.stall_seconds))
        self._what, self._report, self._until = what, report, time.monotonic() + config.come_seconds
        self._changed = threading.Condition()
        self._come: set[int] = set()
        self._over = False

    @property
    def overdue(self) -> bool:
        """Whether a party has not come in time."""
        return len(self._come) < 2 and time.monotonic() >= self._until

    def come(self, party: int) -> bool:
        """Let a party in; return whether it is the first."""
        with self._changed:
            if party in self._come:
                raise ProtocolError(f"this {self._what} was already fetched")
            self._come.add(party)
            self._changed.notify_all()
            return len(self._come) == 1

    def abort(self, error: PrivinfError) -> None:
        """End the streams of both parties: what one of them has is worth nothing."""
        for pipe in self._pipes:
            pipe.end(error)
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def begin(self, work: Callable[[], None]) -> None:
        """Deal in a thread of its own, once both have come; a failure is both parties'."""
        threading.Thread(target=self._guarded, args=(work,), name="deal", daemon=True).start()

    def deal(
        self, program: Callable[[tuple[bytes, ...]], Iterator[Dealt]], totals: Sequence[int | None]
    ) -> None:
        """Put into each pipe a new seed, and what the program deals under the two: so many bytes, where it is said."""
        seeds = secrets.token_bytes(SEED_BYTES), secrets.token_bytes(SEED_BYTES)
        packers = [Packer(pipe.put, total) for pipe, total in zip(self._pipes, totals, strict=True)]
        for pipe, seed in zip(self._pipes, seeds, strict=True):
            pipe.put(seed)
        for to, buffer in program(seeds):
            pack(packers if to == ALL else packers[to : to + 1], buffer)
        for packer in packers:
            packer.finish()

    def settle(self) -> None:
        """Wait until both have taken all."""
        for pipe in self._pipes:
            pipe.settle()

    def _meet(self) -> None:
        """Return once both are there, or it is over; raise PeerLost that names the party that did not come."""
        with self._changed:
            if self._changed.wait_for(self._decided, max(0.0, self._until - time.monotonic())):
                return
            missing = ", ".join(f"party{party}" for party in (0, 1) if party not in self._come)
        raise attribute(PeerLost(f"{missing} did not come for its half of a {self._what}"), missing)

    def _decided(self) -> bool:
        return self._over or len(self._come) == 2

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            self._meet()
            work()
        except PrivinfError as error:
            self.abort(error)
        except grpc.RpcError:
            self.abort(PeerLost("party0 left the generation"))
        except Exception as error:  # parties are told its kind alone: the text might hold a value
            self._report(error)
            self.abort(PartyError(f"the dealer's program failed with {type(error).__name__}"))


def stated(messages: Iterator[bytes]) -> Iterator[bytes]:
    """Let a seed and what follows it pass, to the end or END_OF_PASS, and state the digest of the latter after it."""
    seed = next(messages)
    yield seed
    tally = Tally(seed)
    for message in messages:
        yield message
        if message == END_OF_PASS:
            break
        tally.update(message)
    yield tally.digest()
