"""Measures our workloads over real processes: a dealer, two parties and a client, on demand or with a stock ahead."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness.deployment import Deployment, of_workload
from benchmarks.harness.role import build
from benchmarks.harness.rows import MeasureError, Row, row_of
from benchmarks.harness.workload import Workload
from privinf.config import ClientConfig
from privinf.sdk.outcomes import Stats
from privinf.sdk.transport import Link

DEADLINE = 600.0
SUSTAINED = "-sustained"
QUERIES, AHEAD = 20, 2  # of a sustained run


@dataclass(frozen=True)
class Sample:
    """One query, in seconds and counts."""

    online: float
    offline: float  # waited for its preparation
    prepare: float  # making and delivering that preparation took, whenever it was
    total: float  # by the client's clock
    rounds: int
    online_bytes: int
    prep_bytes: int
    error: float

    @classmethod
    def of(cls, stats: Stats, error: float) -> Sample:
        """The slower party's seconds and the larger one's bytes."""
        parties = stats.parties
        return cls(
            max(p.online_seconds for p in parties),
            max(p.offline_seconds for p in parties),
            max(p.prepare_seconds for p in parties),
            stats.seconds,
            parties[0].rounds,
            max(p.online_bytes for p in parties),
            max(p.preparation_bytes for p in parties),
            error,
        )


class Session:
    """A workload that is being served."""

    def __init__(self, work: Workload, servers: Deployment, link: Link) -> None:
        self.work, self.servers, self.link = work, servers, link

    def ask(self) -> Sample:
        """One query with fresh shares; MeasureError if its answer is wrong."""
        left, right, stats = self.link.run(self.work.shape, self.work.shares())
        error = self.work.error(left, right)
        if not error <= self.work.bound:
            raise MeasureError(
                f"{self.work.name}: the answer is off by {error:.3g}, more than {self.work.bound}"
            )
        return Sample.of(stats, error)

    def in_stock(self) -> int:
        """Preparations that are ready at party 0."""
        return self.link.status()[0].ready.get(self.work.shape, 0)

    def peak(self, phase: str) -> int:
        """The largest process of a phase: a party online, the dealer offline, any of them in all."""
        peaks = self.servers.peaks()
        roles = {"online": ("party0", "party1"), "offline": ("dealer",), "total": tuple(peaks)}[phase]
        return max(peaks[role] for role in roles)


@contextmanager
def served(name: str, *, network: str = "loopback", tls: bool = True, ahead: int = 0) -> Iterator[Session]:
    """Serve a workload by three fresh processes; yields once the first query is answered."""
    with tempfile.TemporaryDirectory(prefix="privinf-bench-") as folder:
        work = build(name, Path(folder))
        head = of_workload(name, Path(folder))
        with (
            Deployment(
                head, Path(folder), network=network, tls=tls, ahead=ahead, shapes=[work.shape]
            ) as servers,
            Link(
                ClientConfig(servers.addresses, tls=servers.tls(), insecure_no_tls=not tls, deadline=DEADLINE)
            ) as link,
        ):
            session = Session(work, servers, link)
            session.ask()
            yield session


def measure(name: str, *, network: str = "loopback", tls: bool = True, repeat: int = 3) -> list[Row]:
    """Queries one after the other, each with a preparation made for it on demand."""
    with served(name, network=network, tls=tls) as session:
        samples = [session.ask() for _ in range(repeat)]
        return rows(session, samples, {"network": network, "system": system(tls)})


def sustained(
    name: str, *, network: str = "loopback", tls: bool = True, queries: int = QUERIES, ahead: int = AHEAD
) -> list[Row]:
    """A sequence of queries with preparations made ahead meanwhile: what each costs in the long run.

    The stock is emptied before the clock starts, and the clock runs on until it is what it was then.
    """
    with served(name, network=network, tls=tls, ahead=ahead) as session:
        for _ in range(ahead + 1):
            session.ask()
        stock, began = session.in_stock(), time.perf_counter()
        samples = [session.ask() for _ in range(queries)]
        while session.in_stock() < stock:
            time.sleep(0.01)
        each = (time.perf_counter() - began) / queries
        leaves_out = f"{session.work.leaves_out}; the start of the servers"
        about = {"network": network, "system": system(tls), "leaves_out": leaves_out}
        online, offline, total = rows(
            session, samples, about | {"workload": name + SUSTAINED}, offline="prepare"
        )
        return [online, offline, replace(total, median_s=each, min_s=each, max_s=each)]


def rows(
    session: Session, samples: list[Sample], about: dict[str, Any], *, offline: str = "offline"
) -> list[Row]:
    """The three phases of a run."""
    work, first = session.work, samples[0]
    seconds = {"online": "online", "offline": offline, "total": "total"}
    counts: dict[str, dict[str, Any]] = {
        "online": {"bytes": first.online_bytes, "rounds": first.rounds},
        "offline": {"bytes": first.prep_bytes},
        "total": {"rounds": first.rounds},
    }
    common = {
        "workload": work.name,
        "leaves_out": work.leaves_out,
        "tokens": work.shape.tokens,
        "batch": work.shape.batch,
        "max_abs_error": max(s.error for s in samples),
    } | about
    return [
        row_of(
            [getattr(s, field) for s in samples],
            **common | counts[phase] | {"phase": phase, "peak_bytes": session.peak(phase)},
        )
        for phase, field in seconds.items()
    ]


def system(tls: bool) -> str:
    """Our name in a row."""
    return "privinf" if tls else "privinf-plaintext"
