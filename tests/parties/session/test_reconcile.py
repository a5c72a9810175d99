"""What party 0 may have party 1 drop: what it names well, in the run that is under way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dummy import says
from harness import SHAPE, Cluster, ask, tls, wait_until

from privinf.errors import MismatchError, PrivinfError, ProtocolError
from privinf.parties.rpc import methods
from privinf.parties.rpc.credentials import Peer, dial
from privinf.parties.rpc.messages import shape_message
from privinf.parties.rpc.status import restore
from privinf.parties.stock.epochs import Epochs
from privinf.v1 import party_pb2

ID, OTHER = b"an epoch of 16 B", b"another epoch..."


@pytest.fixture
def stored(tmp_path: Path, keys: Path) -> Iterator[tuple[Cluster, Peer]]:
    """Return servers that have two preparations ready, and a way to party 1."""
    options: dict[str, Any] = {"party0": {"ahead": 2, "shapes": (SHAPE,)}}
    with Cluster(tmp_path, keys, options=options) as cluster:
        with cluster.link() as link:
            wait_until(lambda: all(status.ready.get(SHAPE) == 2 for status in link.status()))
        peer = dial(cluster.address("party1"), "party1", tls(keys, "party0"), "party0")
        yield cluster, peer
        peer.close()


def refused(peer: Peer, method: methods.Method, request: Any) -> PrivinfError:
    """Return what a call ends with."""
    with pytest.raises(grpc.RpcError) as failure:
        method.on(peer)(request, timeout=10)
    return restore(failure.value, "party1")


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"epoch": b""},
        {"epoch": b"short"},
        {"epoch": ID, "held": [b""]},
        {"epoch": ID, "held": [ID + b"x"]},
        {"epoch": ID, "gone": [b"short"]},
        {"epoch": ID, "held": [ID, ID]},
        {"epoch": ID, "gone": [ID, ID]},
        {"epoch": ID, "held": [OTHER], "gone": [OTHER]},
    ],
)
def test_what_is_said_badly_burns_nothing(stored: tuple[Cluster, Peer], said: dict[str, Any]) -> None:
    cluster, peer = stored
    error = refused(peer, methods.RECONCILE, party_pb2.ReconcileRequest(**said))
    assert type(error) is ProtocolError
    with cluster.link() as link:
        assert link.status()[1].ready.get(SHAPE) == 2
        ask(link)


def test_a_run_that_is_over_burns_and_stores_nothing(stored: tuple[Cluster, Peer]) -> None:
    cluster, peer = stored
    epoch = cluster.party(1).calls._supply.store.held()[0].epoch
    ready = [record.preparation_id for record in cluster.party(1).calls._supply.store.held()]
    new = party_pb2.ReconcileRequest(epoch=OTHER, held=sorted(ready))
    assert sorted(methods.RECONCILE.on(peer)(new, timeout=10).held) == sorted(ready)
    old = party_pb2.ReconcileRequest(epoch=epoch, gone=ready)
    prefetch = party_pb2.PrefetchRequest(
        preparation_id=ID,
        identity=says("party0"),
        shape=shape_message(SHAPE),
        epoch=epoch,
    )
    for method, request in ((methods.RECONCILE, old), (methods.PREFETCH, prefetch)):
        error = refused(peer, method, request)
        assert isinstance(error, MismatchError)
        assert "another has begun since" in str(error)
    with cluster.link() as link:
        assert link.status()[1].ready.get(SHAPE) == 2


def test_runs_follow_each_other() -> None:
    epochs = Epochs()
    for epoch in (ID, ID, OTHER, OTHER):
        epochs.enter(epoch)
    with pytest.raises(MismatchError):
        epochs.enter(ID)
    epochs.enter(OTHER)
