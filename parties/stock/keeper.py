"""Keeps preparations ready on party 0, which decides for both parties which one a query uses."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc

from privinf.config import PartyConfig
from privinf.errors import PeerLost, ProtocolError
from privinf.parties.logs import Log
from privinf.parties.rpc.credentials import Peer
from privinf.parties.rpc.deadline import Deadline
from privinf.parties.rpc.life import Life
from privinf.parties.rpc.messages import identity_message, shape_message
from privinf.parties.rpc.methods import PREFETCH, RECONCILE
from privinf.parties.rpc.status import attribute, restore
from privinf.parties.stock.fetch import DealerLink
from privinf.parties.stock.record import Record
from privinf.parties.stock.store import Place, PreparationStore
from privinf.protocols.contract import ID_BYTES, QueryShape
from privinf.v1 import party_pb2

_RECONCILE_SECONDS = 10.0
_VERDICT_SECONDS = 2.0  # how long to wait for what party 1 has to say of a preparation that failed here
_BACKOFF = (0.1, 2.0)


class Keeper:
    """Hands each ready preparation to one query, and has new ones made: ahead in a thread, or on demand."""

    def __init__(
        self, config: PartyConfig, store: PreparationStore, dealer: DealerLink, other: Peer, log: Log
    ) -> None:
        self._config, self._store = config, store
        self._dealer, self._other, self._log = dealer, other, log
        self._rooms = {shape: dealer.room(shape) for shape in config.shapes if config.ahead}
        self._epoch = secrets.token_bytes(ID_BYTES)
        self._changed = threading.Condition()
        self._ready: dict[bytes, QueryShape] = {}
        self._coming: Counter[QueryShape] = Counter()  # being made ahead
        self._waiting: Counter[QueryShape] = Counter()  # queries that wait for one of those
        self._unconfirmed = {record.preparation_id: record.shape for record in store.held()}
        self._gone: set[bytes] = set()
        self._unsettled = True  # the first thing is to agree with party 1
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to make preparations ahead."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a fetch under way is lost."""
        self._stopped.set()
        self.wake()
        self._thread.join(timeout=1.0)

    def obtain(self, shape: QueryShape, life: Life, fresh: bool = False) -> bytes:
        """Return the id of a preparation that both parties hold and no other query is given.

        A call that ends meanwhile gets none: what was being fetched for it alone is dropped by both. Where all that was
        stored may be spoilt, a `fresh` one is not.
        """
        life.on_end(self.wake)
        with self._changed:
            while not fresh:
                life.require()
                ready = next((each for each, its in self._ready.items() if its == shape), None)
                if ready is not None:
                    del self._ready[ready]
                    self._changed.notify_all()
                    return ready
                if self._coming[shape] <= self._waiting[shape]:
                    break
                self._wait(shape, life.deadline)
        return self._prepare(shape, life)

    def wake(self) -> None:
        """Look again whether something is lacking: room was given back."""
        with self._changed:
            self._changed.notify_all()

    def discard(self, preparation_id: bytes) -> None:
        """Give up a preparation that a query did not finish with, here and on party 1."""
        with self._changed:
            self._gone.add(preparation_id)
            self._unsettled = True
        try:
            self._store.burn([preparation_id])
        finally:
            self.wake()  # not before: the room is free only now

    def _wait(self, shape: QueryShape, deadline: Deadline) -> None:
        self._waiting[shape] += 1
        try:
            self._changed.wait(deadline.left("offline"))
        finally:
            self._waiting[shape] -= 1

    def _prepare(self, shape: QueryShape, life: Life) -> bytes:
        """Have both parties fetch a new preparation at the same time."""
        try:
            with self._dealer.order(shape, self._epoch, life) as (place, record):
                try:
                    self._fetch_both(place, record, life)
                    life.require()
                except BaseException:
                    self.discard(record.preparation_id)
                    life.require()
                    raise
        finally:
            self.wake()  # if nothing came of it, its place is free only now
        return record.preparation_id

    def _fetch_both(self, place: Place, record: Record, life: Life) -> None:
        theirs = self._asked(record, life)

        def on_end(cancel: Callable[[], None]) -> None:
            theirs.add_done_callback(partial(_end_if_failed, cancel))
            life.on_end(cancel)

        try:
            self._dealer.fetch(place, record, life.deadline, on_end)
        except (PeerLost, ProtocolError):
            # If party 1 fails first, the dealer ends our stream too; or it was dropped before we came.
            _result(theirs, _VERDICT_SECONDS)
            raise
        else:
            _result(theirs)
        finally:
            theirs.cancel()

    def _asked(self, record: Record, life: Life) -> grpc.Future[Any]:
        """Have party 1 fetch its half."""
        request = party_pb2.PrefetchRequest(
            preparation_id=record.preparation_id,
            identity=identity_message(record.identity),
            shape=shape_message(record.shape),
            epoch=record.epoch,
        )
        theirs: grpc.Future[Any] = PREFETCH.on(self._other).future(
            request, timeout=life.deadline.left("offline"), metadata=self._other.metadata
        )
        life.on_end(theirs.cancel)
        return theirs

    def _run(self) -> None:
        pause = _BACKOFF[0]
        while not self._stopped.is_set():
            try:
                self._step()
                pause = _BACKOFF[0]
            except Exception as error:  # of the program too: the next preparation may do better
                self._log.failure("keeper", error)
                self._stopped.wait(pause)
                pause = min(2 * pause, _BACKOFF[1])

    def _step(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped.is_set() or self._unsettled or self._lacking())
            unsettled, shape = self._unsettled, self._lacking()
            if self._stopped.is_set():
                return
        if unsettled:
            self._reconcile()
        elif shape is not None:
            self._make_ahead(shape)

    def _lacking(self) -> QueryShape | None:
        """Return the shape of which the fewest are ready, if that is too few and one more has room."""
        ahead, fits, counts = self._config.ahead, self._store.fits, Counter(self._ready.values())
        short = [shape for shape, room in self._rooms.items() if counts[shape] < ahead and fits(room)]
        return min(short, key=lambda shape: counts[shape], default=None)

    def _make_ahead(self, shape: QueryShape) -> None:
        with self._changed:
            self._coming[shape] += 1
        made: dict[bytes, QueryShape] = {}
        try:
            preparation_id = self._prepare(shape, Life(Deadline.after(self._config.prepare_seconds)))
            made[preparation_id] = shape
            self._log.info("prepared", shape=shape, preparation=preparation_id.hex())
        finally:
            with self._changed:
                self._coming[shape] -= 1
                self._ready |= made
                self._changed.notify_all()

    def _reconcile(self) -> None:
        """Agree with party 1 on what both hold: the rest is burnt on both sides."""
        with self._changed:
            self._unsettled = False
            gone, ours = set(self._gone), {*self._ready, *self._unconfirmed}
        request = party_pb2.ReconcileRequest(epoch=self._epoch, held=sorted(ours), gone=sorted(gone))
        try:
            reply = RECONCILE.on(self._other)(
                request, timeout=_RECONCILE_SECONDS, metadata=self._other.metadata
            )
        except grpc.RpcError as error:
            with self._changed:
                self._unsettled = True
            raise restore(error, "party1", phase="offline") from error
        self._settle(ours - set(reply.held), gone)

    def _settle(self, missing: set[bytes], gone: set[bytes]) -> None:
        """Burn what party 1 lacks, unless a query has it: what that does not finish with, it discards itself."""
        with self._changed:
            held = self._ready | self._unconfirmed
            missing &= set(held)
            self._gone -= gone
            self._ready = {each: shape for each, shape in held.items() if each not in missing}
            self._unconfirmed = {}
            self._changed.notify_all()
        self._store.burn(missing)


def _end_if_failed(cancel: Callable[[], None], theirs: grpc.Future[Any]) -> None:
    """End our fetch if party 1's has failed before it reached the dealer at all."""
    if theirs.cancelled() or theirs.exception() is not None:
        cancel()


def _result(theirs: grpc.Future[Any], timeout: float | None = None) -> None:
    """Wait for party 1; raise what it failed with."""
    try:
        theirs.result(timeout)
    except grpc.FutureTimeoutError:
        return
    except grpc.FutureCancelledError as error:
        raise attribute(PeerLost("party1 dropped a preparation"), "party1") from error
    except grpc.RpcError as error:
        raise restore(error, "party1", phase="offline") from error
